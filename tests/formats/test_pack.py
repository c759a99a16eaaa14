"""Packs: what is made of a tree is that tree, once, the same every time; what is damaged is told."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import stat
import time
from pathlib import Path

import pytest
import zstandard

import rofuse_formats
from rofuse_formats import Archive, Settings, cache
from rofuse_formats.archives.pack import FORMAT, superblock
from rofuse_formats.archives.pack.stream import PackStream
from rofuse_formats.archives.pack.superblock import Superblock
from rofuse_formats.carrying import write_carried
from rofuse_formats.errors import DamagedError, FormatError, UnknownFormatError, UnsupportedError
from rofuse_formats.image.dump import dump
from rofuse_formats.image.planes import joined
from rofuse_formats.opening import find_index
from rofuse_formats.packing import Options, known
from rofuse_formats.packing.comparing import compare
from rofuse_formats.source import FileSource
from rofuse_formats.verify import verify
from tests.formats.pack_support import BLOCK, content, files, opened, packed, tar_of

DIGEST_AT = superblock.SIZE - 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pack")


@pytest.fixture(scope="module")
def tar(folder: Path) -> Path:
    return tar_of(files(), folder / "it.tar")


@pytest.fixture(scope="module")
def pack(folder: Path, tar: Path) -> Path:
    return packed(tar, folder / "it.rpack")[0]


def extents(archive: Archive, path: bytes) -> list[tuple[int, int, int]]:
    node = archive.image.resolve(path)
    return [(e.logical, e.length, e.offset) for e in archive.image.extents(node)]


def test_it_holds_what_its_source_holds(tar: Path, pack: Path) -> None:
    archive = opened(pack)
    assert content(archive) == files()
    with opened(tar) as source:
        compare(source, str(pack))
    assert all(not finding.error for finding in verify(archive))


def test_what_is_there_twice_is_stored_once(pack: Path) -> None:
    archive = opened(pack)
    assert extents(archive, b"copies/one") == extents(archive, b"copies/two")
    assert len(extents(archive, b"copies/one")) == 1
    first, second, *_others = extents(archive, b"noise")
    assert extents(archive, b"exact") == [(0, BLOCK, second[2])]
    assert extents(archive, b"copies/part")[:2] == [first, second]
    stored = sum(len(data) for data in files().values())
    assert archive.stream.size < stored


def test_chunks_of_one_checksum_that_differ_are_kept_apart(
    folder: Path, tar: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "checksum", len)
    path, _ = packed(tar, folder / "alike.rpack")
    assert content(opened(path)) == files()
    assert opened(path).stream.size > opened(pack).stream.size


def test_what_is_remembered_has_an_end(folder: Path, tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "REMEMBERED", 1)
    again = folder / "few.tar.gz"
    again.write_bytes(gzip.compress(tar.read_bytes()))
    for source in tar, again:
        assert content(opened(packed(source, folder / "few.rpack")[0])) == files()


def test_zeros_are_holes(pack: Path) -> None:
    archive = opened(pack)
    assert extents(archive, b"zeros") == []
    covered = [range(logical, logical + length) for logical, length, _offset in extents(archive, b"holes")]
    assert all(3 * BLOCK not in run and 12 * BLOCK not in run for run in covered)


def test_no_file_that_fits_into_a_block_lies_in_two(pack: Path) -> None:
    archive = opened(pack)
    assert isinstance(archive.stream, PackStream)
    starts = archive.stream._starts
    for path, data in files().items():
        for _logical, length, offset in extents(archive, path.encode()):
            if len(data) <= BLOCK:
                assert sum(offset < start < offset + length for start in starts) == 0


def test_the_neighbours_of_a_small_file_come_with_it(pack: Path) -> None:
    archive = opened(pack)
    first, second = archive.image.resolve(b"many/000"), archive.image.resolve(b"many/001")
    assert not archive.is_at_hand(first, 0, 10)
    archive.read(first, 0, 10)
    assert archive.is_at_hand(second, 0, archive.image.size[second - 1])


def test_incompressible_bytes_are_those_of_the_file(pack: Path) -> None:
    archive, data = opened(pack), pack.read_bytes()
    assert files()["noise"][:BLOCK] in data
    node = archive.image.resolve(b"noise")
    piece = archive.read(node, 10, 100)[0]
    assert bytes(piece) == files()["noise"][10:110]
    assert archive.is_at_hand(node, 0, 100)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("dictionary", [False, True])
def test_the_same_tree_gives_the_same_bytes(folder: Path, jobs: int, dictionary: bool) -> None:
    """Whatever the order of its members, however many threads; compressed or not."""
    content_of = files()
    names = list(content_of)
    random.Random(jobs).shuffle(names)
    one = tar_of(content_of, folder / "one.tar")
    other = tar_of({name: content_of[name] for name in names}, folder / "other.tar")
    again = folder / "again.tar.gz"
    again.write_bytes(gzip.compress(other.read_bytes()))
    os.utime(again, (1_700_000_000, 1_700_000_000))
    found = {
        packed(source, folder / "made.rpack", jobs=number, dictionary=dictionary)[0].read_bytes()
        for source, number in ((one, 1), (other, jobs), (again, jobs))
    }
    assert len(found) == 1


@pytest.mark.parametrize("dictionary", [False, True])
def test_blocks_are_the_same_by_the_batch_and_one_by_one(
    folder: Path, tar: Path, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = packed(tar, folder / "batches.rpack", dictionary=dictionary)[0].read_bytes()
    monkeypatch.setattr(zstandard, "backend_features", set())  # as other makes of the library have it
    assert packed(tar, folder / "single.rpack", dictionary=dictionary)[0].read_bytes() == batches


def test_the_next_blocks_are_decoded_while_one_is_read(pack: Path) -> None:
    archive = opened(pack)
    nodes = [archive.image.resolve(b"many/%03d" % number) for number in range(60)]
    in_order = sorted(nodes, key=lambda node: archive.image.data[node - 1])
    first, last = in_order[0], in_order[-1]
    assert not archive.is_at_hand(last, 0, 10)
    for node in in_order[: len(in_order) // 2]:
        archive.read(node, 0, 10)
    deadline = time.monotonic() + 20
    while not archive.is_at_hand(last, 0, 10) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert archive.is_at_hand(first, 0, 10) and archive.is_at_hand(last, 0, 10)


def test_a_dictionary_makes_it_smaller(folder: Path) -> None:
    words = "import return self None for in range class def yield raise from".split()
    chance = random.Random(1)
    many = {
        f"{number:04}.py": " ".join(chance.choices(words, k=200)).encode()
        + b"# the end of a little file\n" * 3
        for number in range(400)
    }
    tar = tar_of(many, folder / "many.tar")
    without, _ = packed(tar, folder / "without.rpack")
    with_it, found = packed(tar, folder / "with.rpack", dictionary=True)
    assert found.sections[superblock.DICTIONARY].decoded
    assert with_it.stat().st_size < without.stat().st_size
    assert content(opened(with_it)) == many


def test_no_time_is_later_than_the_latest(folder: Path, tar: Path) -> None:
    path, _ = packed(tar, folder / "old.rpack", latest=1_000_000_000)
    assert set(opened(path).image.mtime) == {1_000_000_000}


def test_what_is_excluded_is_left_out(folder: Path, tar: Path) -> None:
    path, _ = packed(tar, folder / "few.rpack", exclude=(b"many", b"/copies/t*", b"n?ise"))
    left = {name for name in files() if not name.startswith("many/")} - {"copies/two", "noise"}
    assert set(content(opened(path))) == left


def test_an_empty_tree(folder: Path) -> None:
    path, found = packed(tar_of({}, folder / "nothing.tar"), folder / "nothing.rpack")
    assert found.blocks == 0
    assert list(opened(path).image.walk()) == []


def test_a_pack_of_a_pack_is_the_same(folder: Path, pack: Path) -> None:
    again, _ = packed(pack, folder / "again.rpack")
    assert again.read_bytes() == pack.read_bytes()


def test_options_that_cannot_be() -> None:
    for size in (0, 2048, 5000, 1 << 21):
        with pytest.raises(ValueError, match="blocks"):
            Options(block_size=size)
    with pytest.raises(ValueError, match="level"):
        Options(level=23)


def test_a_member_that_cannot_be_read_is_named(folder: Path) -> None:
    cut = folder / "cut.tar"
    cut.write_bytes(tar_of({"a": b"fine", "b": bytes(10_000)}, folder / "whole.tar").read_bytes()[:4000])
    with pytest.raises(FormatError, match=r"^b cannot be read"):
        packed(cut, folder / "cut.rpack")


def test_no_index_is_kept(folder: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("rofuse_formats.effort.BLINK", 0)
    assert rofuse_formats.open(pack).index_path is None
    assert cache.kept() == []


def test_the_decoded_image_of_a_large_one_is_kept(
    folder: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("rofuse_formats.carrying._LARGE", 3)
    first = rofuse_formats.open(pack)
    assert [kept.kind for kept in cache.kept()] == ["index"]
    monkeypatch.setattr(superblock, "section", None)  # nothing of the pack's own image is looked at
    second = rofuse_formats.open(pack)
    assert second.index_path == first.index_path == cache.kept()[0].path
    assert content(second) == files()


def test_an_index_that_came_with_it_is_not_used(folder: Path, pack: Path) -> None:
    """It says where blocks lie, and what they are: that is the pack's to say."""
    copied = folder / "copied.rpack"
    copied.write_bytes(pack.read_bytes())
    with opened(copied) as archive, open(f"{copied}.rofuse", "wb") as beside:
        write_carried(archive.source, beside.fileno(), FORMAT, Settings())
        assert find_index(archive.source, Settings()) == "its archive brings that itself"


# -- damage --------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_harmless_or_found(pack: Path, folder: Path) -> None:
    """Never other bytes, never another tree; and whoever checks it is told."""
    data, right = pack.read_bytes(), files()
    tree = list(dump(opened(pack).image))
    told = (
        superblock.read(opened(pack).source).sections[superblock.PROPERTIES].offset
    )  # for people, and harmless
    path, chance = folder / "flipped.rpack", random.Random(3)
    for at in [*range(0, 8 * superblock.SIZE, 23), *(chance.randrange(8 * len(data)) for _ in range(250))]:
        flipped = bytearray(data)
        flipped[at >> 3] ^= 1 << (at & 7)
        path.write_bytes(flipped)
        try:
            archive = opened(path)
        except FormatError:
            continue
        with archive:
            assert list(dump(archive.image)) == tree
            damaged = {finding.path.decode() for finding in verify(archive) if finding.error}
            assert damaged or at >> 3 >= told, f"bit {at}"
            for name, node in archive.image.walk():
                shown = name.decode()
                if shown in damaged:
                    with pytest.raises(DamagedError):
                        archive.read(node, 0, archive.image.size[node - 1])
                elif stat.S_ISREG(archive.image.mode[node - 1]):
                    assert b"".join(archive.read(node, 0, len(right[shown]))) == right[shown]


def test_a_pack_whose_image_is_not_in_planes_is_read(pack: Path, folder: Path) -> None:
    """As those of the first days: the feature says so."""
    data = pack.read_bytes()
    source = opened(pack).source
    found = superblock.read(source)
    image = joined(superblock.section(source, found, superblock.IMAGE))
    place = superblock.Section(len(data), len(image), len(image), superblock.checksum(image))
    sections = (place, *found.sections[1:])
    head = found._replace(total=len(data) + len(image), sections=sections, incompatible=0).packed()
    path = folder / "plain.rpack"
    path.write_bytes(head + data[superblock.SIZE :] + image)
    with opened(path) as plain, opened(pack) as planed:
        assert list(dump(plain.image)) == list(dump(planed.image))
        assert not [finding for finding in verify(plain) if finding.error]


def test_a_cut_pack_is_refused(pack: Path, folder: Path) -> None:
    path, data = folder / "cut.rpack", pack.read_bytes()
    for length in (20, superblock.SIZE - 1, superblock.SIZE, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            opened(path)


def sealed(data: bytes, path: Path, **fields: int) -> Path:
    """``data`` with other fields in its superblock, whose checksum is right."""
    places = {"version": (16, 4), "incompatible": (24, 8), "compatible": (32, 8), "blocks": (48, 8)}
    copy = bytearray(data)
    for name, value in fields.items():
        at, width = places[name]
        copy[at : at + width] = value.to_bytes(width, "little")
    end = superblock.SIZE - 8
    copy[end : superblock.SIZE] = superblock.checksum(bytes(copy[:end])).to_bytes(8, "little")
    path.write_bytes(copy)
    return path


def test_what_a_later_version_adds_is_refused_or_ignored(pack: Path, folder: Path) -> None:
    data, path = pack.read_bytes(), folder / "later.rpack"
    with pytest.raises(UnsupportedError, match=r"features .0x40. that a later version knows"):
        opened(sealed(data, path, incompatible=0x40))
    with pytest.raises(UnsupportedError, match="version 2"):
        opened(sealed(data, path, version=2))
    assert content(opened(sealed(data, path, compatible=0x40))) == files()
    with pytest.raises(DamagedError):
        opened(sealed(data, path, blocks=1 << 40))
    path.write_bytes(data.replace(b"ROFUSE.pack", b"ROFUSE.kcap"))
    with pytest.raises(UnknownFormatError, match="not known to this version"):
        opened(path)


def test_a_compressed_pack_is_refused_clearly(pack: Path, folder: Path) -> None:
    path = folder / "it.rpack.gz"
    path.write_bytes(gzip.compress(pack.read_bytes()))
    with pytest.raises(UnsupportedError, match="decompress it first"):
        opened(path)


def test_the_digest_is_that_of_all_behind_the_superblock(pack: Path) -> None:
    found: Superblock = superblock.read(FileSource(pack))
    data = pack.read_bytes()
    assert (
        found.digest == hashlib.sha256(data[superblock.SIZE :]).digest() == data[DIGEST_AT : DIGEST_AT + 32]
    )
    assert found.total == len(data)
