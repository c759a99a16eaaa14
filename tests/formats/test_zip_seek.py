"""Random access inside large deflated members."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Archive, Settings, seek_index
from rofuse_formats.archives.zip.deflated import DeflatedStream
from rofuse_formats.archives.zip.local import kept_flags, matching
from rofuse_formats.archives.zip.member import Checker
from rofuse_formats.archives.zip.reading import SEEKABLE
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError
from rofuse_formats.image import layout
from rofuse_formats.index import Index
from rofuse_formats.indexing import write_index
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.source import FileSource
from rofuse_formats.streams import BLOCK
from testdata.by_hand import Member, archive
from testdata.workshop import prose
from tests.formats.zip_support import MemorySource, content, node_of, opened, piece

TEXT = b"".join(prose(seed, 250_000) for seed in range(4)) * 20  # 20 MB


@pytest.fixture(scope="module")
def member() -> Member:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    return Member(b"file", TEXT, 8, compressor.compress(TEXT) + compressor.flush())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Of members that were not read to their end; an exception that was caught may still refer to them."""
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("seek-point"):
            thread.join(10)
            assert not thread.is_alive()


def stream_of(member: Member, checker: Checker) -> DeflatedStream:
    packed = member.content()
    place = PackedMember(0, len(packed), zlib.crc32(member.data), 8, kept_flags(0, b"file"))
    return DeflatedStream(MemorySource(archive(member)), place, 0, len(member.data), checker)


def test_points_are_made_on_the_first_way_through(member: Member) -> None:
    stream = stream_of(member, Checker())
    cursor = stream.cursor(0)
    while cursor.position < stream.size:
        cursor.skip(MIB)
    assert len(stream.points) >= len(TEXT) // (5 * MIB)
    assert stream.points == sorted(stream.points)
    for number, start in enumerate(stream.points):
        cursor = stream.cursor(number)
        assert cursor.position == start
        cursor.skip(1_000)
        assert cursor.read(10_000) == TEXT[start + 1_000 : start + 11_000]


def test_one_cursor_makes_them_and_if_it_is_given_up_another(member: Member) -> None:
    stream = stream_of(member, Checker())
    first, second = stream.cursor(0), stream.cursor(0)
    for cursor in (first, second):
        cursor.skip(7 * MIB)
        assert cursor.read(1_000) == TEXT[7 * MIB : 7 * MIB + 1_000]
    made = len(stream.points)
    del first, cursor
    third = stream.cursor(0)
    third.skip(18 * MIB)
    assert len(stream.points) > made
    assert len(set(stream.points)) == len(stream.points)
    assert third.read(1_000) == TEXT[18 * MIB : 18 * MIB + 1_000]


def test_after_one_pass_a_jump_is_short(member: Member) -> None:
    found = opened(archive(Member(b"before", b"x"), member))
    node = node_of(found, b"file")
    for offset in range(0, len(TEXT), MIB):
        assert b"".join(found.read(node, offset, MIB)) == TEXT[offset : offset + MIB]
    chance, took = random.Random(1), []
    for _ in range(30):
        offset = chance.randrange(len(TEXT))
        started = time.perf_counter()
        assert piece(found, b"file", offset, 4096) == TEXT[offset : offset + 4096]
        took.append(time.perf_counter() - started)
    assert sorted(took)[15] < 0.2


def test_many_readers_while_points_are_made(member: Member) -> None:
    found = opened(archive(member))
    wrong: list[int] = []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            offset = chance.randrange(len(TEXT))
            if piece(found, b"file", offset, 5_000) != TEXT[offset : offset + 5_000]:
                wrong.append(offset)

    def sequential() -> None:
        if content(found, b"file") != TEXT:
            wrong.append(-1)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(3)]
    threads.append(threading.Thread(target=sequential))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_wrong_checksum_is_found_by_who_reads_all(member: Member) -> None:
    other = member._replace(data=TEXT[:-1] + b"?")
    assert len(TEXT) >= SEEKABLE
    found = opened(archive(other))
    assert piece(found, b"file", 100, 5) == TEXT[100:105]
    with pytest.raises(DamagedError, match="failed its check"):
        content(found, b"file")
    with pytest.raises(DamagedError, match="failed its check"):
        piece(found, b"file", 100, 5)


def test_damage_within_is_an_error_from_there_on(member: Member) -> None:
    packed = bytearray(member.content())
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    found = opened(archive(member._replace(packed=bytes(packed))))
    assert piece(found, b"file", 5 * MIB, 5_000) == TEXT[5 * MIB : 5 * MIB + 5_000]
    with pytest.raises(DamagedError):
        content(found, b"file")
    with pytest.raises(DamagedError):
        piece(found, b"file", len(TEXT) - 5, 5)


# -- kept from one time to the next


def kept_by(path: Path) -> tuple[Archive, DeflatedStream]:
    """The archive and its large member, with what was kept of it."""
    archive = rofuse_formats.open(path)
    node = node_of(archive, b"file")
    word = archive.image.data[node - 1] & layout.DATA_MASK
    place = PointsFile(archive.source, _digest(path), str(archive.points_path), print)
    return archive, DeflatedStream(
        archive.stream, archive.image.member(word), word, archive.image.size[node - 1], Checker(), place
    )


def _digest(path: Path) -> bytes:
    fd = os.memfd_create("index")
    write_index(FileSource(path), fd, Settings())
    found = Index(fd).digest
    os.close(fd)
    return found


def read_through(archive: Archive) -> bytes:
    node, parts = node_of(archive, b"file"), []
    for offset in range(0, archive.image.size[node - 1], MIB):
        parts += [bytes(piece) for piece in archive.read(node, offset, MIB)]
    for thread in threading.enumerate():
        if thread.name == "points":
            thread.join()
    return b"".join(parts)


@pytest.fixture
def kept_archive(member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "it.zip"
    path.write_bytes(archive(Member(b"before", b"x"), member))
    return path


def test_after_one_pass_the_points_are_kept(kept_archive: Path) -> None:
    first, stream = kept_by(kept_archive)
    assert stream.points == [0]
    assert read_through(first) == TEXT
    _again, stream = kept_by(kept_archive)
    assert len(stream.points) >= len(TEXT) // (5 * MIB)
    for number, start in enumerate(stream.points):
        cursor = stream.cursor(number)
        assert cursor.position == start
        assert cursor.read(10_000) == TEXT[start : start + 10_000]
    assert stream.held > 1_000
    again = rofuse_formats.open(kept_archive)
    assert piece(again, b"file", 18 * MIB, 5_000) == TEXT[18 * MIB : 18 * MIB + 5_000]
    assert read_through(again) == TEXT


def test_readers_side_by_side_make_all_points(kept_archive: Path) -> None:
    """As the kernel reads ahead: the next block is asked for by another thread while the one before is decoded."""
    found = rofuse_formats.open(kept_archive)
    node, blocks = node_of(found, b"file"), iter(range(0, len(TEXT), BLOCK))

    def reader() -> None:
        for offset in blocks:
            found.read(node, offset, BLOCK)

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read_through(found)  # from what is decoded already, as far as that is still there
    _found, stream = kept_by(kept_archive)
    assert len(stream.points) >= len(TEXT) // (5 * MIB)


def test_nothing_is_kept_of_what_was_not_read_to_its_end_or_failed(
    kept_archive: Path, member: Member
) -> None:
    found, _stream = kept_by(kept_archive)
    assert len(piece(found, b"file", 0, len(TEXT) - 2 * MIB)) == len(TEXT) - 2 * MIB
    assert not os.path.exists(str(found.points_path))
    kept_archive.write_bytes(archive(member._replace(data=TEXT[:-1] + b"?")))
    found = rofuse_formats.open(kept_archive)
    with pytest.raises(DamagedError):
        read_through(found)
    assert not os.path.exists(str(found.points_path))


def test_nothing_is_kept_or_used_where_no_file_is_wanted(kept_archive: Path) -> None:
    found = rofuse_formats.open(kept_archive, keep=False)
    assert found.points_path is None
    assert read_through(found) == TEXT
    assert not os.path.exists(os.environ["XDG_CACHE_HOME"])
    salvaging = rofuse_formats.open(kept_archive, Settings(salvage=True))
    assert read_through(salvaging) == TEXT
    assert not os.path.exists(str(salvaging.points_path))


def test_of_an_archive_that_changed_nothing_is_believed(kept_archive: Path, member: Member) -> None:
    read_through(rofuse_formats.open(kept_archive))
    other = TEXT[::-1]
    packed = zlib.compressobj(1, zlib.DEFLATED, -15)
    changed = member._replace(data=other, packed=packed.compress(other) + packed.flush())
    kept_archive.write_bytes(archive(Member(b"before", b"x"), changed))
    found, stream = kept_by(kept_archive)
    assert stream.points == [0]
    assert read_through(found) == other
    _found, stream = kept_by(kept_archive)
    assert len(stream.points) > 1


def test_points_of_another_member_are_not_believed(kept_archive: Path) -> None:
    found = rofuse_formats.open(kept_archive)
    read_through(found)
    place = PointsFile(found.source, _digest(kept_archive), str(found.points_path), print)
    node = node_of(found, b"file")
    row = found.image.data[node - 1] & layout.DATA_MASK
    good, size = place.load(row), found.image.size[node - 1]
    assert good is not None
    index = seek_index.read(b"ROzip\0\0\1", good, _end(found, row), 1 << 15)
    place_of = found.image.member(row)
    wrong = [
        index._replace(size=index.size + 1),
        index._replace(word=index.word ^ 1),
        index._replace(intact=index.intact + 1),
        index._replace(points=index.points[1:2]),
        index._replace(points=[index.points[0], index.points[1]._replace(offset=5), *index.points[2:]]),
        index._replace(points=[index.points[0], index.points[1]._replace(detail=0), *index.points[2:]]),
        index._replace(points=[*index.points[:-1], index.points[-1]._replace(offset=1 << 50)]),
    ]
    for one in wrong:
        place.keep(row, seek_index.write(b"ROzip\0\0\1", one)).join()
        assert DeflatedStream(found.stream, place_of, row, size, Checker(), place).points == [0]
    place.keep(row, good).join()
    assert len(DeflatedStream(found.stream, place_of, row, size, Checker(), place).points) > 1


def _end(found: Archive, row: int) -> int:
    member = found.image.member(row)
    return matching(found.stream, member).data + member.packed
