"""The limits that the command lets its user set: what is told, which option raises it, and that it does."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.mount.command import Rofuse, failed, rofuse

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


def test_they_are_options_of_a_mount(rofuse: Rofuse, mountpoint: Path) -> None:
    archive = tarred(rofuse.folder / "a.tar.gz", "a", "b/" * 50 + "c")
    assert rofuse("-o", "max-path=100,max_xattrs=1k,max-memory=1G", archive, mountpoint).returncode == 0
    assert sorted(path.name for path in mountpoint.iterdir()) == ["a"]
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
