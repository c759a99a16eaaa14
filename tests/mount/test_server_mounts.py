"""The server under a real kernel: mounting, reading, every way to end, accidents on the way."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rofuse_mount import mounting
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Attr, Buffer, Context, DirEntry, Entry, MountOptions, StatFS
from tests.mount.conftest import SECONDS, Serve, eventually, shell, table_entry

HELLO = b"hello, world\n"


class Memory(Filesystem):
    """A directory of files: name to content."""

    def __init__(self, **files: bytes) -> None:
        self.files = list(files.items()) or [("hello", HELLO)]
        self.destroyed = 0

    def destroy(self, ctx: Context) -> None:
        self.destroyed += 1

    def size(self, ino: int) -> int:
        return len(self.files[ino - 2][1])

    def attr(self, ino: int) -> Attr:
        if ino == 1:
            return Attr(1, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | 0o644, size=self.size(ino), mtime_ns=10**18 + 5)

    def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
        return self.attr(ino)

    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
        for ino, (known, _) in enumerate(self.files, 2):
            if known == name.decode():
                return Entry(ino, self.attr(ino))
        raise FileNotFoundError

    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterator[DirEntry]:
        names = [
            (1, b"."),
            (1, b".."),
            *((ino, name.encode()) for ino, (name, _) in enumerate(self.files, 2)),
        ]
        for cookie, (ino, name) in enumerate(names[offset:], offset + 1):
            yield DirEntry(ino, cookie, stat.S_IFDIR >> 12 if ino == 1 else stat.S_IFREG >> 12, name)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Buffer | Sequence[Buffer]:
        return self.files[ino - 2][1][offset : offset + size]

    def statfs(self, ctx: Context, ino: int) -> StatFS:
        return StatFS(blocks=7, files=len(self.files))


def holding(path: Path) -> subprocess.Popen[bytes]:
    """A process with its working directory in the mount, so that it is busy."""
    process = subprocess.Popen(["sleep", "1000"], cwd=path)
    assert eventually(lambda: os.readlink(f"/proc/{process.pid}/cwd") == str(path))
    return process


# --- what users see -------------------------------------------------------------------------


def test_ordinary_tools_read_it(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory(hello=HELLO, big=bytes(range(256)) * 5000))
    assert served.ready
    assert shell("ls", mountpoint).stdout.split() == ["big", "hello"]
    assert shell("cat", mountpoint / "hello").stdout == HELLO.decode()
    assert shell("stat", "-c", "%s %a %Y", mountpoint / "big").stdout == "1280000 644 1000000000\n"
    listing = shell("find", mountpoint, "-printf", "%s %y %P\n").stdout.split("\n")
    assert sorted(listing) == ["", "0 d ", "1280000 f big", "13 f hello"]
    assert len(shell("od", "-An", "-v", "-tx1", "-w256", mountpoint / "big").stdout.split("\n")) == 5001
    assert shell("stat", "-f", "-c", "%b %c", mountpoint).stdout == "7 2\n"
    assert "No such file" in shell("cat", mountpoint / "missing").stderr


def test_the_mount_table_shows_source_type_and_flags(serve: Serve, mountpoint: Path) -> None:
    source = "/archives/with space, comma\\backslash\nand ünicode.tar"
    assert serve(Memory(), MountOptions(fsname=source)).ready
    entry = table_entry(mountpoint)
    assert entry is not None
    assert entry.source == source.encode()
    assert entry.fstype == b"fuse.rofuse"
    assert {b"ro", b"nosuid", b"nodev"} <= entry.options
    assert entry.major == 0


def test_writing_is_refused_as_on_any_read_only_file_system(serve: Serve, mountpoint: Path) -> None:
    assert serve(Memory()).ready
    assert "Read-only" in shell("touch", mountpoint / "new").stderr
    assert "Read-only" in shell("rm", "-f", mountpoint / "hello").stderr


def test_readahead_is_raised_where_that_is_permitted(serve: Serve, root: None) -> None:
    served = serve(Memory(), MountOptions(max_request=1 << 19))
    assert served.minor is not None
    setting = Path(f"/sys/class/bdi/0:{served.minor}/read_ahead_kb")
    assert eventually(lambda: setting.read_text() == "512\n")


def test_a_regular_file_can_be_mounted_on(serve: Serve, folder: Path) -> None:
    class OneFile(Memory):
        def attr(self, ino: int) -> Attr:
            return Attr(1, stat.S_IFREG | 0o644, size=len(HELLO))

        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            return HELLO[offset : offset + size]

    path = folder / "file"
    path.write_text("underneath")
    assert serve(OneFile(), path=path).ready
    assert shell("cat", path).stdout == HELLO.decode()
    assert shell("umount", path).returncode == 0
    assert path.read_text() == "underneath"


# --- every way to end -----------------------------------------------------------------------


@pytest.mark.parametrize("command", [["umount"], ["fusermount3", "-u"], ["umount", "-l"]])
def test_unmounting_from_outside_ends_the_server_cleanly(
    serve: Serve, mountpoint: Path, command: list[str]
) -> None:
    served = serve(Memory())
    assert shell(*command, mountpoint).returncode == 0
    assert served.wait() == 0
    assert served.rest_of_report() == "ended signal=None destroyed=1"
    assert table_entry(mountpoint) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts_and_ends_cleanly(serve: Serve, mountpoint: Path, number: int) -> None:
    served = serve(Memory())
    served.kill(number)
    status = served.wait()
    assert (status, served.rest_of_report()) == (0, f"ended signal={number} destroyed=1")
    assert table_entry(mountpoint) is None


def test_a_signal_ends_a_busy_mount_too(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory())
    holder = holding(mountpoint)
    try:
        served.kill(signal.SIGTERM)
        assert served.wait() == 0
        assert table_entry(mountpoint) is None
        assert os.listdir(mountpoint) == []
    finally:
        holder.kill()
        holder.wait()


def test_unmounting_a_busy_mount_says_so_and_leaves_it(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory())
    holder = holding(mountpoint)
    try:
        with pytest.raises(mounting.BusyError, match="busy"):
            mounting.unmount(mountpoint)
        assert shell("cat", mountpoint / "hello").stdout == HELLO.decode()
    finally:
        holder.kill()
        holder.wait()
    mounting.unmount(mountpoint)
    assert served.wait() == 0


def test_a_lazily_detached_mount_serves_its_users_to_the_end(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory())
    reader = subprocess.Popen(
        ["sh", "-c", "read go; cat hello"],
        cwd=mountpoint,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: os.readlink(f"/proc/{reader.pid}/cwd") == str(mountpoint))
    mounting.unmount(mountpoint, lazy=True)
    assert table_entry(mountpoint) is None
    assert not served.ended()
    assert reader.communicate("go\n", SECONDS)[0] == HELLO.decode()
    assert served.wait() == 0


def test_an_aborted_connection_leaves_no_dead_mount(serve: Serve, mountpoint: Path, fusectl: None) -> None:
    served = serve(Memory())
    assert served.minor is not None
    assert mounting.abort(served.minor)
    assert served.wait() == 0
    assert table_entry(mountpoint) is None


def test_a_killed_server_leaves_a_dead_mount_that_is_seen_and_cleared(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory())
    served.kill(signal.SIGKILL)
    assert served.wait() == -signal.SIGKILL
    assert "not connected" in shell("ls", mountpoint).stderr
    assert mounting.is_dead(os.fsencode(mountpoint))
    with pytest.raises(mounting.DeadMountError, match="dead mount"):
        mounting.mount(mountpoint, "again")
    mounting.unmount(mountpoint)
    assert table_entry(mountpoint) is None
    assert serve(Memory()).ready


def test_auto_unmount_clears_up_after_a_killed_server(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory(), auto_unmount=True)
    assert served.ready, served.report
    assert shell("cat", mountpoint / "hello").stdout == HELLO.decode()
    served.kill(signal.SIGKILL)
    assert eventually(lambda: table_entry(mountpoint) is None)


def test_auto_unmount_and_an_ordinary_end(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory(), auto_unmount=True)
    assert shell("umount", mountpoint).returncode == 0
    assert served.wait() == 0


def test_a_mountpoint_that_was_made_is_removed_again(serve: Serve, folder: Path) -> None:
    path = folder / "made"
    served = serve(Memory(), path=path, make_mountpoint=True)
    assert served.ready
    assert shell("umount", path).returncode == 0
    assert served.wait() == 0
    assert not path.exists()


def test_a_mountpoint_that_was_there_stays(serve: Serve, mountpoint: Path) -> None:
    served = serve(Memory(), make_mountpoint=True)
    assert shell("umount", mountpoint).returncode == 0
    assert served.wait() == 0
    assert mountpoint.is_dir()


# --- accidents ------------------------------------------------------------------------------


def test_a_handler_that_raises_is_eio_and_the_server_lives(serve: Serve, mountpoint: Path) -> None:
    class Broken(Memory):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            if ino == 2:
                raise RuntimeError("a bug")
            return HELLO[offset : offset + size]

    assert serve(Broken(bad=HELLO, good=HELLO)).ready
    assert "Input/output error" in shell("cat", mountpoint / "bad").stderr
    assert shell("cat", mountpoint / "good").stdout == HELLO.decode()


def test_a_mapped_file_that_is_truncated_under_a_read_is_eio(
    serve: Serve, folder: Path, mountpoint: Path
) -> None:
    archive = folder / "archive"
    archive.write_bytes(b"x" * (1 << 20))

    class Mapped(Memory):
        def init(self, ctx: Context, config: object) -> None:
            with archive.open("rb") as file:
                self.map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

        def size(self, ino: int) -> int:
            return 1 << 20

        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> memoryview | bytes:
            return self.map[offset : offset + size] if ino == 2 else b"y" * size

    served = serve(Mapped(stored=b"", other=b""))
    assert served.ready
    head = shell("head", "-c", "4096", mountpoint / "stored")
    assert head.stdout == "x" * 4096
    os.truncate(archive, 0)
    assert "Input/output error" in shell("tail", "-c", "4096", mountpoint / "stored").stderr
    assert shell("head", "-c", "4", mountpoint / "other").stdout == "yyyy"
    assert not served.ended()


def test_four_threads_answer_slow_requests_at_once(serve: Serve, mountpoint: Path) -> None:
    class Meeting(Memory):
        def init(self, ctx: Context, config: object) -> None:
            self.together = threading.Barrier(4)

        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            self.together.wait(SECONDS)
            return HELLO

    assert serve(Meeting(a=HELLO, b=HELLO, c=HELLO, d=HELLO), MountOptions(threads=4)).ready
    readers = [subprocess.Popen(["cat", mountpoint / name], stdout=subprocess.PIPE) for name in "abcd"]
    assert [reader.communicate(timeout=SECONDS)[0] for reader in readers] == [HELLO] * 4


# --- where mounting is refused --------------------------------------------------------------


def test_mountpoints_that_cannot_be_are_told_apart(fuse: None, folder: Path) -> None:
    full = folder / "full"
    full.mkdir()
    (full / "file").touch()
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    for path, reason in [
        (folder / "missing", "does not exist"),
        (full, "not empty"),
        (fifo, "not a directory"),
        (full / "file" / "below", "Not a directory"),
    ]:
        with pytest.raises(mounting.MountpointError, match=reason) as caught:
            mounting.mount(path, "source")
        assert str(path) in str(caught.value)


def test_nonempty_allows_hiding_what_is_there(serve: Serve, mountpoint: Path) -> None:
    (mountpoint / "hidden").touch()
    assert serve(Memory(), nonempty=True).ready
    assert shell("ls", mountpoint).stdout == "hello\n"


def test_our_own_mounts_are_not_stacked(serve: Serve, mountpoint: Path) -> None:
    assert serve(Memory(), MountOptions(fsname="/first.tar")).ready
    with pytest.raises(mounting.MountpointError, match=r"/first\.tar is mounted there"):
        mounting.mount(mountpoint, "second")


def test_unmounting_what_is_no_mount_of_ours(folder: Path) -> None:
    with pytest.raises(mounting.MountpointError, match="not a mountpoint"):
        mounting.unmount(folder)
    with pytest.raises(mounting.MountpointError, match="not a mountpoint"):
        mounting.unmount(folder / "missing")
    with pytest.raises(mounting.MountpointError, match="type proc"):
        mounting.unmount("/proc")


def test_a_mount_is_found_through_links_and_dots(serve: Serve, folder: Path, mountpoint: Path) -> None:
    served = serve(Memory())
    (folder / "link").symlink_to("mnt")
    mounting.unmount(f"{folder}/./link/../mnt/../link")
    assert served.wait() == 0


# --- an ordinary user -----------------------------------------------------------------------


@pytest.fixture
def owned(mountpoint: Path, user: int) -> Path:
    os.chown(mountpoint, user, user)
    return mountpoint


def test_a_user_mounts_and_unmounts_through_the_helper(serve: Serve, owned: Path, user: int) -> None:
    source = "/archives/a,b\\c d\ne.tar"
    served = serve(Memory(), MountOptions(fsname=source), uid=user)
    assert served.ready, served.report
    assert shell("cat", owned / "hello", uid=user).stdout == HELLO.decode()
    entry = table_entry(owned)
    assert entry is not None
    assert (entry.source, entry.fstype) == (source.encode(), b"fuse.rofuse")
    assert {b"ro", b"nosuid", b"nodev"} <= entry.options
    assert b"user_id=%d" % user in entry.super_options
    assert "Permission denied" in shell("ls", owned).stderr  # root is another user
    assert shell("fusermount3", "-u", owned, uid=user).returncode == 0
    assert served.wait() == 0
    assert table_entry(owned) is None


@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_a_users_mount(serve: Serve, owned: Path, user: int, busy: bool) -> None:
    served = serve(Memory(), uid=user)
    holder = subprocess.Popen(["sleep", "1000"], cwd="/")
    if busy:
        holder.kill()
        holder.wait()
        holder = subprocess.Popen(["sh", "-c", f"cd {owned} && exec sleep 1000"], user=user, group=user)
        assert eventually(lambda: os.readlink(f"/proc/{holder.pid}/cwd") == str(owned))
    try:
        served.kill(signal.SIGTERM)
        assert served.wait() == 0
        assert table_entry(owned) is None
    finally:
        holder.kill()
        holder.wait()


def test_a_user_may_not_mount_on_what_is_not_theirs(serve: Serve, mountpoint: Path, user: int) -> None:
    served = serve(Memory(), uid=user)
    assert served.report.startswith("MountpointError")
    assert "no write access" in served.report


def test_a_user_without_permission_is_told_of_run(serve: Serve, owned: Path, user: int) -> None:
    if b"\nuser_allow_other" in Path("/etc/fuse.conf").read_bytes():
        pytest.skip("allow_other is allowed to users here")
    served = serve(Memory(), MountOptions(allow_other=True), uid=user)
    assert served.report.startswith("NotPermittedError")
    assert "user_allow_other" in served.report
    assert "rofuse-mount run" in served.report


def test_a_user_may_not_mount_directly(serve: Serve, owned: Path, user: int) -> None:
    served = serve(Memory(), MountOptions(direct_mount=True), uid=user)
    assert served.report.startswith("NotPermittedError")
    assert "rofuse-mount run" in served.report


def test_a_closed_device_is_told_apart(serve: Serve, owned: Path, user: int) -> None:
    os.chmod("/dev/fuse", 0o600)
    served = serve(Memory(), uid=user)
    assert served.report.startswith("NotPermittedError: /dev/fuse cannot be opened")


def test_a_missing_helper_is_told_apart(
    serve: Serve, owned: Path, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    served = serve(Memory(), uid=user)
    assert served.report.startswith("MissingHelperError")
    assert "fuse3" in served.report


def test_a_missing_device_is_told_apart(monkeypatch: pytest.MonkeyPatch, mountpoint: Path) -> None:
    monkeypatch.setattr("rofuse_mount.device.PATH", "/nonexistent/fuse")
    with pytest.raises(mounting.NotPermittedError, match="modprobe fuse") as caught:
        mounting.mount(mountpoint, "source")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOENT
