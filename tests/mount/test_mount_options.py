"""Every mount option of the library, in effect: in the mount table, in sysfs, in what the kernel then asks."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rofuse_mount import Attr, Config, Context, DirEntry, Entry, Filesystem, MountOptions
from tests.mount.conftest import NOBODY, Serve, eventually, shell, table_entry

MIB = 1 << 20
LIMIT = Path("/proc/sys/fs/fuse/max_pages_limit")
SIZE = 24 * MIB


class Large(Filesystem):
    """One large file that only its owner may read. What is logged goes to ``log``."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def init(self, ctx: Context, config: Config) -> None:
        logger = logging.getLogger("rofuse_mount")
        logger.addHandler(logging.FileHandler(self.log))
        logger.setLevel(logging.DEBUG)

    def attr(self, ino: int) -> Attr:
        if ino == 1:
            return Attr(1, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | 0o600, size=SIZE)

    def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
        return self.attr(ino)

    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
        return Entry(2, self.attr(2)) if name == b"large" else Entry()

    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterator[DirEntry]:
        if not offset:
            yield DirEntry(2, 1, stat.S_IFREG >> 12, b"large")

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
        return b"\1" * min(size, SIZE - offset)


@pytest.fixture
def log(folder: Path) -> Path:
    return folder / "log"


@pytest.fixture
def connections(fusectl: None) -> Path:
    return Path("/sys/fs/fuse/connections")


def requests(log: Path, op: str) -> list[dict[str, Any]]:
    """What the wire log has of an operation; ``debug="json"`` wrote it."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [record for record in found if record["op"] == op]


def largest_read(log: Path, file: Path) -> int:
    """Reads a file through in small steps, and says how large the largest request of the kernel's was."""
    assert shell("dd", f"if={file}", "of=/dev/null", "bs=4096").returncode == 0
    sizes: list[int] = [record["request"]["size"] for record in requests(log, "READ")]
    return max(sizes)


# --- what the mount table shows -------------------------------------------------------------


def test_name_and_type(serve: Serve, mountpoint: Path, log: Path) -> None:
    assert serve(Large(log), MountOptions(fsname="the source", subtype="greetings")).ready
    entry = table_entry(mountpoint)
    assert entry is not None
    assert (entry.source, entry.fstype) == (b"the source", b"fuse.greetings")


def test_other_users_enter_where_they_are_allowed_to(
    root: None, serve: Serve, mountpoint: Path, log: Path
) -> None:
    served = serve(Large(log))
    assert shell("ls", mountpoint, uid=NOBODY).returncode != 0
    assert shell("umount", mountpoint).returncode == 0
    served.wait()
    assert serve(Large(log), MountOptions(allow_other=True)).ready
    entry = table_entry(mountpoint)
    assert entry is not None and b"allow_other" in entry.super_options
    assert shell("ls", mountpoint, uid=NOBODY).stdout == "large\n"
    assert shell("head", "-c1", mountpoint / "large", uid=NOBODY).stdout == "\1"  # nobody checks


def test_the_kernel_checks_permissions_where_it_is_told_to(
    root: None, serve: Serve, mountpoint: Path, log: Path
) -> None:
    assert serve(Large(log), MountOptions(allow_other=True, default_permissions=True)).ready
    entry = table_entry(mountpoint)
    assert entry is not None and b"default_permissions" in entry.super_options
    assert shell("ls", mountpoint, uid=NOBODY).stdout == "large\n"
    assert "Permission denied" in shell("cat", mountpoint / "large", uid=NOBODY).stderr


def test_a_direct_mount_uses_no_helper(
    root: None, serve: Serve, mountpoint: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nonexistent")
    served = serve(Large(log), MountOptions(direct_mount=True))
    monkeypatch.setenv("PATH", path)
    assert served.ready, served.report
    assert shell("ls", mountpoint).stdout == "large\n"


# --- what the connection is -----------------------------------------------------------------


def test_max_background(serve: Serve, log: Path, connections: Path) -> None:
    served = serve(Large(log), MountOptions(max_background=37))
    assert eventually(lambda: (connections / f"{served.minor}/max_background").read_text() == "37\n")
    assert (connections / f"{served.minor}/congestion_threshold").read_text() == "27\n"


def test_max_background_by_default(serve: Serve, log: Path, connections: Path) -> None:
    served = serve(Large(log))
    assert (connections / f"{served.minor}/max_background").read_text() == "12\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_threads(serve: Serve, log: Path, threads: int) -> None:
    served = serve(Large(log), MountOptions(threads=threads))
    tasks = Path(f"/proc/{served.pid}/task")
    assert eventually(lambda: len(list(tasks.iterdir())) == threads + 1)  # and the one that waits


def test_max_write(serve: Serve, mountpoint: Path, log: Path) -> None:
    assert serve(Large(log), MountOptions(max_write=65536, debug="json")).ready
    (init,) = requests(log, "INIT")
    assert init["reply"]["max_write"] == 65536
    assert shell("ls", mountpoint).stdout == "large\n"  # and the buffers for it are large enough


def test_the_wire_log(serve: Serve, mountpoint: Path, log: Path) -> None:
    assert serve(Large(log), MountOptions(debug=True)).ready
    assert shell("cat", mountpoint / "missing").returncode == 1
    lines = log.read_text().splitlines()
    assert lines[0].startswith("INIT unique=")
    (line,) = (line for line in lines if line.startswith("LOOKUP "))
    assert line.endswith(' nodeid=1 name=b"missing" -> nodeid=0 entry_valid=1 size=0')


def test_no_log_where_none_was_asked_for(serve: Serve, mountpoint: Path, log: Path) -> None:
    assert serve(Large(log)).ready
    assert shell("ls", mountpoint).stdout == "large\n"
    assert log.read_text() == ""


# --- how large a request is -----------------------------------------------------------------


def test_max_readahead_bounds_what_is_read_ahead(serve: Serve, mountpoint: Path, log: Path) -> None:
    served = serve(Large(log), MountOptions(max_readahead=32768, debug="json"))
    (init,) = requests(log, "INIT")
    assert init["reply"]["max_readahead"] == 32768
    setting = Path(f"/sys/class/bdi/0:{served.minor}/read_ahead_kb")
    assert eventually(lambda: setting.read_text() == "32\n")
    assert largest_read(log, mountpoint / "large") == 32768


def test_reads_are_a_mebibyte_where_the_kernel_would_make_them_an_eighth(
    root: None, serve: Serve, mountpoint: Path, log: Path
) -> None:
    served = serve(Large(log), MountOptions(debug="json"))
    setting = Path(f"/sys/class/bdi/0:{served.minor}/read_ahead_kb")
    assert eventually(lambda: setting.read_text() == "1024\n")
    assert largest_read(log, mountpoint / "large") == MIB


def test_max_read_bounds_every_read(serve: Serve, mountpoint: Path, log: Path) -> None:
    assert serve(Large(log), MountOptions(max_read=65536, debug="json")).ready
    entry = table_entry(mountpoint)
    assert entry is not None and b"max_read=65536" in entry.super_options
    assert largest_read(log, mountpoint / "large") == 65536


@pytest.fixture
def raised_limit(root: None) -> Iterator[int]:
    """fs.fuse.max_pages_limit as an administrator may raise it; bytes."""
    if not LIMIT.exists():
        pytest.skip("this kernel has no fs.fuse.max_pages_limit (6.13)")
    before = LIMIT.read_text()
    LIMIT.write_text("1024")
    yield 1024 * os.sysconf("SC_PAGE_SIZE")
    LIMIT.write_text(before)


def test_reads_are_larger_still_where_the_administrator_permits(
    raised_limit: int, serve: Serve, mountpoint: Path, log: Path
) -> None:
    served = serve(Large(log), MountOptions(max_request=raised_limit, debug="json"))
    setting = Path(f"/sys/class/bdi/0:{served.minor}/read_ahead_kb")
    assert eventually(lambda: setting.read_text() == f"{raised_limit >> 10}\n")
    assert largest_read(log, mountpoint / "large") == raised_limit
