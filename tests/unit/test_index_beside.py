"""An index that came with its archive, from a stranger who made its checksums right."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from struct import pack_into
from typing import Any, cast

import pytest

import rofuse_formats
from rofuse_formats import Settings, cache
from rofuse_formats import index as index_file
from rofuse_formats.errors import FormatError, IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.indexing import write_index
from rofuse_formats.limits import Limits
from rofuse_formats.opening import find_index
from rofuse_formats.source import FileSource
from tests.fuzz.targets.index import repaired

TESTDATA = Path(__file__).parents[2] / "testdata"
NAMES = [
    "basic-gnu.tar",
    "basic-gnu.tar.zst",
    "hardlinks-posix.tar",
    "zip-basic-infozip.zip",
    "la-7z-links.7z",
]


def with_index(folder: Path, name: str) -> tuple[Path, bytes]:
    """An archive, and the index that belongs beside it."""
    archive = folder / name
    shutil.copyfile(TESTDATA / name, archive)
    beside = Path(cache.beside(str(archive)))
    fd = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        write_index(FileSource(archive), fd, Settings())
    finally:
        os.close(fd)
    return beside, beside.read_bytes()


def is_used(archive: Path) -> bool:
    found = find_index(FileSource(archive), Settings())
    if isinstance(found, str):
        return False
    os.close(found.fd)
    return True


def section(data: bytes, wanted: bytes) -> tuple[int, int]:
    """Offset and size."""
    header, entry = index_file._HEADER, index_file._SECTION
    end = header.size + header.unpack_from(data)[2] * entry.size
    for tag, offset, size, _checksum in entry.iter_unpack(data[header.size : end]):
        if tag.rstrip(b"\0") == wanted:
            return int(offset), int(size)
    raise AssertionError(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_one_is_used(name: str, tmp_path: Path) -> None:
    with_index(tmp_path, name)
    assert is_used(tmp_path / name)


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("*.tar")), ids=lambda path: path.name)
def test_whatever_a_builder_makes_is_good(path: Path) -> None:
    try:
        archive = rofuse_formats.open(path, keep=False)
    except FormatError:
        return
    check_form(archive.image, Limits())


@pytest.mark.parametrize("name", NAMES)
def test_a_made_up_one_is_refused_or_read(name: str, tmp_path: Path) -> None:
    """Nothing that it says leads to anything but bytes of the archive, and errors that are told."""
    beside, good = with_index(tmp_path, name)
    at, size = section(good, b"IMAGE")
    chance = random.Random(11)
    used = 0
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 3)):
            place = at + chance.randrange(size)
            data[place] = chance.choice((data[place] ^ 1 << chance.randrange(8), 0xFF, 0))
        beside.write_bytes(repaired(bytes(data)))
        beside.chmod(0o600)
        found = find_index(FileSource(tmp_path / name), Settings())
        if isinstance(found, str):
            continue
        os.close(found.fd)
        used += 1
        ask(Image(found.index.image))
    assert used


def ask(image: Image) -> None:
    """Everything, of every inode: none of it raises anything."""
    for _path, node in image.walk():
        image.extents(node)
        image.xattrs(node)
        image.times(node)
        image.path(node)
        image.owner_names(image.owner[node - 1])
        if image.mode[node - 1] >> 12 == 0o12 and not image.is_packed(node):
            assert image.target(node)


def test_one_whose_numbers_lead_astray_is_not_used(tmp_path: Path) -> None:
    beside, good = with_index(tmp_path, "zip-basic-infozip.zip")
    at, size = section(good, b"IMAGE")
    columns, _heaps, _counts = layout.places(good[at : at + size], size)
    for column, value in (("data", 2 << 62 | 10_000), ("data", 3 << 62), ("owner", 999), ("child", 999)):
        data = bytearray(good)
        for (name, code, _table, _extra), (start, length) in zip(layout.COLUMNS, columns, strict=True):
            for place in range(start, start + length, layout.WIDTH[code]) if name == column else ():
                pack_into(f"<{code}", data, at + place, value)
        beside.write_bytes(repaired(bytes(data)))
        assert not is_used(tmp_path / "zip-basic-infozip.zip")
        archive = rofuse_formats.open(tmp_path / "zip-basic-infozip.zip", keep=False)
        assert len(list(archive.image.walk())) > 3


@pytest.mark.parametrize("name", ["sample.tar.zst", "la-7z-links.7z"])
@pytest.mark.parametrize("value", [None, [], "x", -1, 1 << 70, float("inf"), [[1, 2, 3]], ["../x"]])
def test_a_made_up_description_is_noticed(name: str, value: object, tmp_path: Path) -> None:
    """Whatever stands for one of its parts, or for all: the archive is shown as it is."""
    beside, _good = with_index(tmp_path, name)
    archive = tmp_path / name
    shown = [entry.path for entry in rofuse_formats.open(archive, keep=False).walk()]
    index = Index(fd := os.open(beside, os.O_RDONLY))
    os.close(fd)
    image, seeks = bytes(index.image), [bytes(seek) for seek in index.seeks]
    for meta in (value, *({**index.meta, key: value} for key in index.meta if key != "place")):
        fd = os.open(beside, os.O_RDWR | os.O_TRUNC)
        index_file.write(fd, cast("dict[str, Any]", meta), [image], seeks)
        os.close(fd)
        with rofuse_formats.open(archive) as opened:
            assert [entry.path for entry in opened.walk()] == shown


def test_a_description_of_ten_thousand_brackets_is_none() -> None:
    nested = b"[" * 10_000
    fd = os.memfd_create("index")
    header, entry = index_file._HEADER, index_file._SECTION
    table = header.pack(index_file.MAGIC, index_file.VERSION, 1)
    start = header.size + entry.size + index_file._CHECKSUM.size
    os.write(fd, repaired(table + entry.pack(b"META", start, len(nested), 0) + bytes(8) + nested))
    with pytest.raises(IndexDamagedError):
        Index(fd)
    os.close(fd)


def test_a_description_that_is_larger_than_any_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gibibyte of brackets would take twenty of memory."""
    _beside, good = with_index(tmp_path, "basic-gnu.tar")
    size = section(good, b"META")[1]
    monkeypatch.setattr(index_file, "LARGEST_META", size)
    assert is_used(tmp_path / "basic-gnu.tar")
    monkeypatch.setattr(index_file, "LARGEST_META", size - 1)
    assert not is_used(tmp_path / "basic-gnu.tar")


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that belongs to another user than us, as its index does."""
    beside, _good = with_index(tmp_path, "basic-gnu.tar")
    archive, me = tmp_path / "basic-gnu.tar", os.geteuid()
    if not me:
        os.chown(beside, 4321, 4321)
        os.chown(archive, 4321, 4321)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    return archive


def test_one_that_its_owner_changes_later_stays_as_it_was_checked(strange: Path) -> None:
    """Neither what was found good nor the process that reads it is at the mercy of another user."""
    with rofuse_formats.open(strange) as archive:
        assert archive.index_path
        shown = [entry.path for entry in archive.walk()]
        beside = Path(cache.beside(str(strange)))
        beside.write_bytes(b"\xff" * beside.stat().st_size)
        assert [entry.path for entry in archive.walk()] == shown
        os.truncate(beside, 0)
        assert [entry.path for entry in archive.walk()] == shown


def test_one_that_is_larger_than_any_index_may_be_is_not_read(strange: Path) -> None:
    beside = Path(cache.beside(str(strange)))
    size = beside.stat().st_size
    assert is_used(strange)
    found = find_index(FileSource(strange), Settings(limits=Limits(max_index=size - 1)))
    assert found == "it is larger than --max-index allows"
    os.truncate(beside, 1 << 42)
    assert not is_used(strange)


@pytest.mark.parametrize(
    "place", ["rofuse_formats.index.json.loads", "rofuse_formats.image.checking.check_form"]
)
def test_one_that_there_is_no_memory_for_leaves_nothing_open(
    place: str, strange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a copy of it in memory."""

    def fails(*arguments: object) -> None:
        raise MemoryError

    source = FileSource(strange)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(place, fails)
    with pytest.raises(MemoryError):
        find_index(source, Settings())
    assert len(os.listdir("/proc/self/fd")) == len(before)
