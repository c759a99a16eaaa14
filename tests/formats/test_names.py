"""What an archive says to scripts: ``stat``, ``walk``, ``open``, and patterns."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from errno import ELOOP, ENXIO
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_formats import Archive
from rofuse_formats.errors import DamagedError
from rofuse_formats.globbing import Pattern, expand
from tests.archive_tree import tree_of
from tests.formats.test_conformance import FOLDER, SHOWN, names, opened
from tests.tars import write_tar

Make = Callable[..., Archive]

LINK, DIRECTORY = tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def archive(**members: dict[str, Any]) -> Archive:
        path = write_tar(tmp_path / "a.tar", members.items())
        return rofuse_formats.open(path, keep=False)

    return archive


@pytest.fixture
def tree(make: Make) -> Archive:
    members: dict[str, dict[str, Any]] = {
        "d/deep/file": {"content": b"content"},
        "d/deep/.hidden": {},
        "d/other.c": {"uid": 7, "gid": 8, "uname": "ann", "mode": 0o4711},
        "to-deep": {"type": LINK, "linkname": "d/deep"},
        "absolute": {"type": LINK, "linkname": "/d/deep/file"},
        "d/up": {"type": LINK, "linkname": "../../../d/other.c"},
        "a-loop": {"type": LINK, "linkname": "a-loop"},
        "nowhere": {"type": LINK, "linkname": "no/such"},
        "dev": {"type": tarfile.CHRTYPE, "devmajor": 3, "devminor": 4},
        "[x]": {"content": b"x"},
        os.fsdecode(b"n\xff\n"): {},
    }
    return make(**members)


@pytest.mark.parametrize("path", SHOWN, ids=names(SHOWN))
def test_every_entry_says_what_the_image_says(path: Path) -> None:
    archive = opened(path)
    expected = tree_of(archive)
    seen = {b"."}
    for entry in archive.walk():
        record = expected[entry.raw_path]
        seen.add(entry.raw_path)
        assert os.fsencode(entry.path) == entry.raw_path
        said = (entry.type, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.nlink)
        assert said == (record.kind, record.mode, record.uid, record.gid, record.mtime_ns, record.nlink)
        assert entry.size == (record.size or 0)
        assert (entry.target is None) == (record.target is None)
        device = None if entry.rdev is None else (os.major(entry.rdev), os.minor(entry.rdev))
        assert device == record.rdev
        assert tuple(sorted((os.fsencode(k), v) for k, v in entry.xattrs.items())) == record.xattrs
        assert archive.stat(entry.path).ino == entry.ino
    assert seen == set(expected)


def test_a_stat_asks_for_few_names(tree: Archive) -> None:
    entry = tree.stat("/d//./other.c")
    assert (entry.path, entry.name, entry.mode, entry.uname, entry.gname) == (
        "d/other.c",
        "other.c",
        0o4711,
        "ann",
        None,
    )
    assert (entry.is_file, entry.is_dir, entry.stored) == (True, False, 0)
    assert tree.stat("").path == tree.stat(b"/").path == tree.stat(Path("d/..")).path == ""
    assert tree.stat("dev").rdev == os.makedev(3, 4)
    assert repr(tree.stat("d")) == "<Entry 'd' dir>"


@pytest.mark.parametrize(
    ("path", "follow", "found"),
    [
        ("to-deep", False, "to-deep"),
        ("to-deep", True, "d/deep"),
        ("to-deep/", False, "d/deep"),
        ("to-deep/file", False, "d/deep/file"),
        ("to-deep/../other.c", False, "d/other.c"),
        ("absolute", True, "d/deep/file"),
        ("d/up", True, "d/other.c"),
        ("../../d", False, "d"),
    ],
)
def test_links_are_followed_within_the_archive(path: str, follow: bool, found: str, tree: Archive) -> None:
    assert tree.stat(path, follow=follow).path == found


def test_what_is_not_there(tree: Archive) -> None:
    for path in ("no", "d/no", "d/deep/no/more", "nowhere/x"):
        with pytest.raises(FileNotFoundError, match="in the archive"):
            tree.stat(path)
    for path in ("d/other.c/x", "d/other.c/", "absolute/x"):
        with pytest.raises(NotADirectoryError):
            tree.stat(path)
    with pytest.raises(OSError, match="symbolic links") as loop:
        tree.open("a-loop")
    assert loop.value.errno == ELOOP
    assert tree.stat("nowhere").target == "no/such"
    with pytest.raises(NotADirectoryError):
        tree.walk("d/other.c")
    with pytest.raises(IsADirectoryError):
        tree.open("d")
    with pytest.raises(OSError, match="no file in the archive but a char") as device:
        tree.open("dev")
    assert device.value.errno == ENXIO


def test_a_walk_begins_where_it_is_told(tree: Archive) -> None:
    assert [entry.path for entry in tree.walk("to-deep")] == ["d/deep/file", "d/deep/.hidden"]


@pytest.mark.parametrize("name", ["basic-gnu.tar", "basic-gnu.tar.zst", "sample.tar.zst"])
def test_a_file_is_read_as_any_other(name: str) -> None:
    archive = rofuse_formats.open(FOLDER / name, keep=False)
    entry = max((entry for entry in archive.walk() if entry.is_file), key=lambda entry: entry.size)
    whole = b"".join(bytes(piece) for piece in archive.read(entry.ino, 0, entry.size))
    with archive.open(entry.path) as file:
        assert file.read() == whole
        assert file.read() == b""
        assert file.seek(-5, os.SEEK_END) == len(whole) - 5
        assert file.read(100) == whole[-5:]
        file.seek(7)
        assert (file.read(3), file.tell()) == (whole[7:10], 10)
        assert file.seek(len(whole) + 10) == len(whole) + 10
        assert file.read() == b""
        with pytest.raises(OSError, match="before the beginning"):
            file.seek(-1)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_text_and_lines(make: Make) -> None:
    archive = make(f={"content": "né\nzwei\n".encode()})
    with io.TextIOWrapper(archive.open("f"), encoding="utf-8") as lines:
        assert list(lines) == ["né\n", "zwei\n"]


def test_an_archive_that_was_cut_is_an_error_and_no_signal(make: Make, tmp_path: Path) -> None:
    archive = make(f={"content": bytes(1 << 20)})
    file = archive.open("f")
    os.truncate(tmp_path / "a.tar", 4096)
    with pytest.raises(DamagedError, match="shorter"):
        file.read()
    file.close()


def found(archive: Archive, pattern: str) -> list[str]:
    return [os.fsdecode(path) for path, _node in expand(archive, os.fsencode(pattern))]


def test_patterns(tree: Archive) -> None:
    assert found(tree, "d/deep/*") == ["d/deep/.hidden", "d/deep/file"]
    assert found(tree, "*/*.c") == ["d/other.c"]
    assert found(tree, "to-d*/f*") == ["d/deep/file"]
    assert found(tree, "d/*/") == ["d/deep"]
    assert found(tree, "[a-c]*") == ["a-loop", "absolute"]
    assert found(tree, "[[]x]") == ["[x]"]
    assert found(tree, "n?\n") == [os.fsdecode(b"n\xff\n")]
    assert found(tree, "d/other.c/*") == found(tree, "no/*") == found(tree, "yes*") == []


def test_a_pattern_of_a_whole_path() -> None:
    assert Pattern(b"*/src/*.c").matches(b"a/b/src/d/e.c")
    assert not Pattern(b"*.c").matches(b"a.cc")
    assert Pattern(b"?\xff").matches("é".encode() + b"\xff")
