"""A directory packed while it is scanned: the same pack as that of its snapshot, and what must not go unnoticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import ENOENT
from pathlib import Path
from typing import Any

import pytest

from rofuse_formats import Settings
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.entry import ScanOptions
from rofuse_formats.errors import ChangedError
from rofuse_formats.packing import Options, write_pack_of_directory
from rofuse_formats.packing.at_once import DirectoryOrigin
from rofuse_formats.report import Report
from tests.formats.directory_support import odd_tree
from tests.formats.pack_support import BLOCK, files, packed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Of many kinds, in directories within directories, with holes of all lengths."""
    root = tmp_path / "tree"
    for name, data in files().items():
        for folder in "a", "b/deep/er", "c":
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for number, (before, hole, after) in enumerate(
        ((0, 100, 0), (5, 70_000, 0), (0, 8192, 9), (3, 1 << 21, 3))
    ):
        with (root / f"b/sparse{number}").open("wb") as file:
            file.write(b"x" * before)
            file.truncate(before + hole)
            file.seek(0, os.SEEK_END)
            file.write(b"y" * after)
    (root / "b" / "link").symlink_to("deep")
    os.link(root / "a" / "noise", root / "b" / "a name more")
    return root


def packed_at_once(
    source: Path, out: Path, exclude: tuple[str, ...] = (), **options: Any
) -> tuple[bytes, Report]:
    fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    directory = DirectorySource(source)
    try:
        settings = Settings(ScanOptions(exclude=exclude))
        how = Options(**({"block_size": BLOCK} | options))
        _head, report = write_pack_of_directory(directory, settings, fd, how)
        return out.read_bytes(), report
    finally:
        directory.close()
        os.close(fd)


@pytest.mark.parametrize(
    "options", [{}, {"jobs": 3, "block_size": 1 << 17}, {"latest": 1000}, {"exclude": (b"many", b"c/h*")}]
)
def test_it_is_the_pack_of_the_snapshot(tree: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    at_once, report = packed_at_once(tree, tmp_path / "one", **options)
    assert at_once == packed(tree, tmp_path / "two", **options)[0].read_bytes()
    assert not report.lines()


def test_so_it_is_of_every_odd_thing(tmp_path: Path) -> None:
    odd_tree(tmp_path)
    at_once, _report = packed_at_once(tmp_path / "tree", tmp_path / "one", block_size=1 << 17)
    assert at_once == packed(tmp_path / "tree", tmp_path / "two", block_size=1 << 17)[0].read_bytes()


def test_what_the_user_leaves_out_is_left_out(tree: Path, tmp_path: Path) -> None:
    at_once, _report = packed_at_once(tree, tmp_path / "one", exclude=("many", "c/h*"))
    assert at_once == packed(tree, tmp_path / "two", exclude=(b"many", b"c/h*"))[0].read_bytes()


def test_what_was_left_out_is_told(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def gone(name: Any, **options: Any) -> os.stat_result:
        if name == b"exact":
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
        return look(name, **options)

    monkeypatch.setattr(os, "stat", gone)
    _pack, report = packed_at_once(tree / "a", tmp_path / "one")
    assert report.lines() == ["1 not shown: vanished while the directory was read (first: 'exact')"]


@pytest.mark.parametrize("change", ["longer", "gone", "another"])
def test_a_file_that_changes_meanwhile_ends_it(tree: Path, change: str) -> None:
    directory = DirectorySource(tree)
    origin = DirectoryOrigin(directory, ScanOptions(), Settings().limits, None, BLOCK)
    found: Iterator[tuple[int, int, int]] = origin.files()
    node = next(node for node, _record, _size in found)
    path = tree / os.fsdecode(origin._files.path(node))
    if change == "longer":
        path.write_bytes(path.read_bytes() + b"!")
    else:
        path.rename(path.with_name("elsewhere"))
        if change == "another":
            path.write_bytes((path.with_name("elsewhere")).read_bytes())
    with pytest.raises(ChangedError, match=f"^{path.relative_to(tree)} cannot be read: it "):
        list(origin.chunks(node))
    origin.close()
    directory.close()


def test_how_much_there_is_becomes_known(tree: Path) -> None:
    directory = DirectorySource(tree)
    origin = DirectoryOrigin(directory, ScanOptions(), Settings().limits, None, BLOCK)
    files = origin.files()
    sizes = [next(files)[2]]
    assert origin.total == 0
    while origin.scan_on():
        pass
    total = origin.total
    sizes += [size for _node, _record, size in files]
    assert total == sum(sizes) > 0
    origin.close()
    directory.close()


def test_where_holes_are_is_told_by_the_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "sparse").mkdir()
    (tmp_path / "full").mkdir()
    for size in 100, 2 * BLOCK, 3 * BLOCK + 5:
        with (tmp_path / "sparse" / str(size)).open("wb") as file:
            file.truncate(size)
        (tmp_path / "full" / str(size)).write_bytes(bytes(size))
        for folder in "sparse", "full":
            os.utime(tmp_path / folder / str(size), (1, 1))
    for folder in "sparse", "full":
        os.utime(tmp_path / folder, (1, 1))
    sparse, full = (packed_at_once(tmp_path / folder, tmp_path / "out")[0] for folder in ("sparse", "full"))
    assert sparse == full == packed(tmp_path / "sparse", tmp_path / "two")[0].read_bytes()
