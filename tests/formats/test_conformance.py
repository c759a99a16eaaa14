"""What every format and every codec must pass: each archive of ``testdata`` is the tree that another tool found in it.

A new format or codec is covered by putting archives of it there; nothing here names one.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Archive, ScanOptions, Settings, cache
from rofuse_formats.carrying import carrier
from rofuse_formats.errors import FormatError
from rofuse_formats.image.dump import dump, load
from rofuse_formats.opening import find_index
from rofuse_formats.source import FileSource
from tests.archive_tree import digest, tree_of
from tests.trees import difference, read_expected

FOLDER = Path(__file__).parents[2] / "testdata"
BAD = "should-fail-"


def expectation(path: Path) -> Path:
    return path.with_name(path.name.split(".")[0] + ".expected")


ARCHIVES = sorted(p for p in FOLDER.iterdir() if p.suffix not in (".expected", ".py") and p.is_file())
GOOD = [path for path in ARCHIVES if not path.name.startswith(BAD)]
DAMAGED = [path for path in ARCHIVES if path.name.startswith(BAD)]
SHOWN = [path for path in ARCHIVES if expectation(path).exists()]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def settings(path: Path, strict: bool = False) -> Settings:
    return Settings(ScanOptions(ignore_zeros="ignore-zeros" in path.name), strict=strict)


def opened(path: Path) -> Archive:
    return rofuse_formats.open(path, settings(path), keep=False)


def test_there_is_something_to_test() -> None:
    assert len(GOOD) > 50
    assert len(DAMAGED) > 10


@pytest.mark.parametrize("path", SHOWN, ids=names(SHOWN))
def test_it_is_the_tree_that_another_tool_found(path: Path) -> None:
    assert difference(read_expected(expectation(path)), tree_of(opened(path))) == []


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_it_opens_strictly(path: Path) -> None:
    archive = rofuse_formats.open(path, settings(path, strict=True), keep=False)
    assert archive.report.damage == []


@pytest.mark.parametrize("path", DAMAGED, ids=names(DAMAGED))
def test_damage_is_refused_or_told(path: Path) -> None:
    with pytest.raises(FormatError) as refused:
        rofuse_formats.open(path, settings(path, strict=True), keep=False)
    assert "\n" not in str(refused.value)
    if expectation(path).exists():
        assert opened(path).report.damage
    else:
        with pytest.raises(FormatError):
            opened(path)


@pytest.mark.parametrize("path", SHOWN, ids=names(SHOWN))
def test_its_dump_gives_the_same_image_back(path: Path) -> None:
    image = opened(path).image
    assert b"".join(bytes(piece) for piece in load(dump(image)).finish()) == image.buffer


@pytest.mark.parametrize("path", SHOWN, ids=names(SHOWN))
def test_its_image_is_the_same_every_time(path: Path) -> None:
    assert opened(path).image.buffer == opened(path).image.buffer


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_a_kept_index_says_the_same(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its archive, but of one that brings its image: that is believed where only we write."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy = tmp_path / path.name
    shutil.copy2(path, copy)
    source = FileSource(copy)
    place = Path(cache.place(str(copy), here=carrier(source) is None))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.touch()  # asks for the index there; empty, so damaged
    assert "shorter" in str(find_index(source, settings(copy)))
    fresh = rofuse_formats.open(copy, settings(copy), keep=False)
    fd = os.open(place, os.O_WRONLY)
    from rofuse_formats.indexing import write_index

    write_index(source, fd, settings(copy))
    os.close(fd)
    again = rofuse_formats.open(copy, settings(copy))
    assert again.index_path == str(place)
    assert again.image.buffer == fresh.image.buffer
    assert tree_of(again) == tree_of(fresh)


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_reads_anywhere_by_many_at_once(path: Path) -> None:
    archive = opened(path)
    files = [(node, archive.image.size[node - 1]) for _path, node in archive.image.walk()]
    files = [(node, size) for node, size in files if 0 < size < 1 << 24 and archive.image.extents(node)]
    whole = {node: b"".join(archive.read(node, 0, size)) for node, size in files}
    wrong: list[tuple[int, int, int]] = []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for _round in range(20):
            for node, size in chance.sample(files, min(5, len(files))):
                offset, length = chance.randrange(size + 2), chance.choice((1, 511, 4096, 150_000))
                got = b"".join(archive.read(node, offset, length))
                if got != whole[node][offset : offset + length]:
                    wrong.append((node, offset, length))

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(digest(archive, node) for node, _size in files)
