"""Random access inside large deflated members."""

from __future__ import annotations

import random
import threading
import time
import zlib

import pytest

from rofuse_formats.archives.zip.deflated import SEEKABLE, DeflatedStream
from rofuse_formats.archives.zip.local import kept_flags
from rofuse_formats.archives.zip.member import Checker
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB
from testdata.by_hand import Member, archive
from testdata.workshop import prose
from tests.formats.zip_support import MemorySource, content, node_of, opened, piece

TEXT = b"".join(prose(seed, 250_000) for seed in range(4)) * 20  # 20 MB


@pytest.fixture(scope="module")
def member() -> Member:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    return Member(b"file", TEXT, 8, compressor.compress(TEXT) + compressor.flush())


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
