"""The limits that the command lets its user set: what is told, which option raises it, and that it does."""

from __future__ import annotations

import errno
import io
import json
import resource
import tarfile
import zipfile
from pathlib import Path

import pytest

from rofuse_mount.memory import lacks_memory
from tests.mount.command import Rofuse, failed, rofuse
from tests.mount.probes import ask

__all__ = ["rofuse"]


def tarred(path: Path, *names: str, xattrs: int = 0) -> Path:
    """An archive of empty files; ``xattrs``: bytes of an extended attribute that each of them has."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as file:
        for name in names:
            member = tarfile.TarInfo(name)
            if xattrs:
                member.pax_headers = {"SCHILY.xattr.user.x": "x" * xattrs}
            file.addfile(member, io.BytesIO())
    return path


def test_entries(rofuse: Rofuse) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a", "b", "c", "d")
    assert "--max-entries" in failed(
        rofuse("ls", "--max-entries", 4, archive), 1
    )  # with the root they are five
    assert rofuse("ls", "--max-entries", 5, archive).stdout.split() == ["a", "b", "c", "d"]


def test_the_length_of_a_path(rofuse: Rofuse) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a", "b/" * 50 + "c")
    result = rofuse("ls", "--max-path", 100, archive)
    assert (result.returncode, result.stdout) == (0, "a\n")
    assert "not shown: a path of more than 100 bytes" in result.stderr
    assert rofuse("ls", "--max-path", 101, archive).stdout.split() == ["a", "b"]


def test_what_was_left_out_is_not_left_out_for_ever(rofuse: Rofuse) -> None:
    """A kept index is of no use to who allows more, or less."""
    archive = tarred(rofuse.folder / "a.tar.gz", "a", "b/" * 50 + "c")
    assert rofuse("index", "--max-path", 100, archive).returncode == 0
    assert rofuse("ls", archive).stdout.split() == ["a", "b"]
    assert rofuse("ls", "--max-path", 100, archive).stdout.split() == ["a"]


def test_extended_attributes(rofuse: Rofuse) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a", xattrs=1000)
    result = rofuse("stat", "--json", "--max-xattrs", 999, archive, "a")
    assert (result.returncode, '"xattrs": {}' in result.stdout) == (0, True)
    assert "user.x" in rofuse("stat", "--json", "--max-xattrs", "1K", archive, "a").stdout


def test_memory_of_indexing(rofuse: Rofuse) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", *(f"{number}/{number:0200}" for number in range(20_000)))
    for most in ("1M", "12M"):  # for less than the stack of a thread, and for more
        said = failed(rofuse("ls", "--max-memory", most, archive), 1)
        assert f"more than {most[:-1]} MiB of memory; --max-memory raises the limit" in said
    assert rofuse("ls", "--max-memory", "128M", archive).returncode == 0


def test_memory_of_an_image_that_is_brought_along(rofuse: Rofuse) -> None:
    """By a pack, or by an index that came with the archive, which is then as good as none."""
    names = [f"{number:0200}" for number in range(20_000)]
    archive = tarred(rofuse.folder / "a.tar.gz", *names)
    assert rofuse("pack", "-q", archive, rofuse.folder / "a.rpack").returncode == 0
    said = failed(rofuse("ls", "--max-memory", "1M", rofuse.folder / "a.rpack"), 1)
    assert "more than 1 MiB of memory; --max-memory raises the limit" in said
    assert len(rofuse("ls", "--max-memory", "128M", rofuse.folder / "a.rpack").stdout.split()) == 20_000
    assert rofuse("index", "--index-here", archive).returncode == 0
    said = failed(rofuse("ls", "--max-memory", "1M", archive), 1)  # when it is indexed anew
    assert "more than 1 MiB of memory; --max-memory raises the limit" in said
    assert len(rofuse("ls", "--max-memory", "128M", archive).stdout.split()) == 20_000


def test_how_a_lack_of_memory_is_told() -> None:
    for error in (
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        SystemError("error return without exception set"),
        SystemError("<built-in function x> returned NULL without setting an exception"),
    ):
        assert lacks_memory(error)
    for other in (SystemError("bad argument"), RuntimeError(), OSError(errno.EIO, "")):
        assert not lacks_memory(other)


def test_memory_of_a_server(rofuse: Rofuse, mountpoint: Path) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a")
    limits = []
    for words in ([], ["--max-memory", "64M"]):
        assert rofuse(*words, archive, mountpoint).returncode == 0
        server = json.loads(rofuse("status", "--json", mountpoint).stdout)["server_pid"]
        limits.append(resource.prlimit(server, resource.RLIMIT_DATA)[0])
        assert ask("reading", mountpoint / "a") == ""
        assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert limits[0] == resource.RLIM_INFINITY and 64 << 20 <= limits[1] < 256 << 20


def test_they_are_options_of_a_mount(rofuse: Rofuse, mountpoint: Path) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a", "b/" * 50 + "c")
    assert rofuse("-o", "max-path=100,max_xattrs=1k,max-memory=1G", archive, mountpoint).returncode == 0
    assert sorted(path.name for path in mountpoint.iterdir()) == ["a"]
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def linked(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as file:
        for member in members:
            file.addfile(member)
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    ("option", "few", "enough"),
    [("--max-name", 11, 12), ("--max-depth", 2, 3), ("--max-target", 4, 5)],
)
def test_names_depth_and_targets(rofuse: Rofuse, option: str, few: int, enough: int) -> None:
    archive = linked(
        rofuse.folder / "a.tar",
        *map(tarfile.TarInfo, ("a", "b/c/d/file", "name-of-many")),
        link("to", "12345"),
    )
    whole = rofuse("find", archive).stdout.split()
    result = rofuse("find", option, few, archive)
    lost = set(whole) - set(result.stdout.split())
    assert result.returncode == 0 and lost
    assert "1 not shown: " in result.stderr and f"which {option} raises" in result.stderr
    assert rofuse("find", option, enough, archive).stdout.split() == whole


def test_the_size_of_an_index(rofuse: Rofuse) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", *(f"f{number:0100}" for number in range(1000)))
    said = failed(rofuse("ls", "--max-index", "64k", archive), 1)
    assert "takes an index of 0." in said and "--max-index raises the limit" in said
    assert len(rofuse("ls", "--max-index", "1M", archive).stdout.split()) == 1000


def test_a_stream_that_becomes_too_much(rofuse: Rofuse) -> None:
    """36 KB of zstd that are 1.1 GiB of one letter."""
    bomb = rofuse.folder / "bomb.zst"
    head = bytes.fromhex("28b52ffd0038")  # RFC 8878: a window of 128 KiB
    block = (0b10 | (1 << 17) << 3).to_bytes(3, "little") + b"x"  # 131,072 times over
    last = (0b11 | (1 << 17) << 3).to_bytes(3, "little") + b"x"
    bomb.write_bytes(head + block * 8999 + last)
    said = failed(rofuse("ls", "--max-ratio", 20_000, bomb), 1)
    assert "becomes more than 20,000 times the 36,006 bytes" in said and "--max-ratio raises" in said
    assert rofuse("ls", bomb).stdout == "bomb\n"


def test_a_member_that_claims_too_much(rofuse: Rofuse, mountpoint: Path) -> None:
    """It is told before any of it is decoded, and to its reader alone."""
    archive = rofuse.folder / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("good", b"good\n")
        file.writestr("huge", b"0" * 5000)
    data = bytearray(archive.read_bytes())
    for start, size_at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = data.rindex(start)
        data[at + size_at : at + size_at + 4] = (2 << 30).to_bytes(4, "little")
    archive.write_bytes(data)
    assert rofuse("--log-file", rofuse.folder / "log", archive, mountpoint).returncode == 0
    assert (ask("reading", mountpoint / "huge"), ask("reading", mountpoint / "good")) == ("EFBIG", "")
    assert "huge" in (told := (rofuse.folder / "log").read_text()) and "--max-ratio raises" in told
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    said = rofuse("cat", "--max-ratio", 1 << 40, archive, "huge").stderr
    assert "--max-ratio" not in said and "huge" in said
