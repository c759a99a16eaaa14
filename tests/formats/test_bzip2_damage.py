"""Damaged bzip2: whole blocks before the damage, its place, and nothing wrong that is not called suspect."""

from __future__ import annotations

import bz2
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats import seek_index
from rofuse_formats.codecs.bzip2 import CODEC
from rofuse_formats.codecs.bzip2.bits import BLOCK, END, marks
from rofuse_formats.codecs.bzip2.cursor import MAGIC
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError, TruncatedError
from rofuse_formats.limits import Limits
from rofuse_formats.seek_index import Point, SeekIndex, Window
from tests.formats.bzip2_support import Bits, decoded, opened, where
from tests.formats.codec_support import KIB, BytesSource, check_all_points, outside, read_at
from tests.formats.zstd_support import mixed

__all__ = ["where"]  # all of them are also run with a process beside

DATA = mixed(350 * KIB)
WHOLE = bz2.compress(DATA, 1)
STREAMS = bz2.compress(DATA[: 120 * KIB], 1) + bz2.compress(b"") + bz2.compress(DATA[120 * KIB :], 1)
SEEN = list(marks(BytesSource(WHOLE), 0, len(WHOLE) * 8))
STARTS = [offset for offset, _mark in SEEN]
SECOND = len(bz2.compress(DATA[: 120 * KIB], 1)) + len(bz2.compress(b""))


def flipped(data: bytes, bit: int) -> bytes:
    broken = bytearray(data)
    broken[bit >> 3] ^= 128 >> (bit & 7)
    return bytes(broken)


def sizes(data: bytes) -> list[int]:
    """Decoded offsets at which blocks begin, and the end."""
    output, passed = decoded(data)
    return [*opened(data, passed).points, len(output)]


EDGES = sizes(WHOLE)


def test_there_is_something_to_break() -> None:
    assert [mark for _offset, mark in SEEN] == [BLOCK] * (len(EDGES) - 1) + [END]
    assert len(EDGES) > 3


@pytest.mark.parametrize("compressed", [WHOLE, STREAMS], ids=["one", "many"])
def test_truncation(compressed: bytes) -> None:
    size = len(compressed)
    rng = random.Random(5)
    longest = 0
    for cut in sorted([*range(1, 20), *range(size - 12, size), *rng.sample(range(20, size - 12), 30)]):
        output, passed = decoded(compressed[:cut])
        assert DATA.startswith(output)
        assert len(output) >= longest
        longest = len(output)
        (damage,) = passed.damages
        assert isinstance(damage, TruncatedError if cut > 3 else DamagedError)
        assert damage.offset is not None and damage.offset <= cut
        assert passed.suspect == []
        check_all_points(opened(compressed[:cut], passed), output)
    assert longest == len(DATA)


def test_whole_blocks_come_out_of_a_truncated_source() -> None:
    """Also where the mark that ends the last of them is cut."""
    for block, start in enumerate(STARTS[1:], 1):
        for bits_more in (0, 1, 7, 8, 40, 47, 48, 70):
            cut = start + bits_more + 7 >> 3
            output, passed = decoded(WHOLE[:cut])
            assert output == DATA[: EDGES[block]], (block, bits_more)
            assert isinstance(passed.damages[0], TruncatedError)


def test_flipped_bits() -> None:
    rng = random.Random(11)
    for _ in range(60):
        broken = flipped(STREAMS, rng.randrange(len(STREAMS) * 8))
        output, passed = decoded(broken)
        assert passed.damages or output == DATA
        assert all(damage.offset is not None for damage in passed.damages)
        for start, end in outside(passed.suspect, len(output)):
            assert output[start:end] == DATA[start:end]
        check_all_points(opened(broken, passed), output, passed.suspect)


def test_flipped_bit_in_a_block_loses_what_follows_and_nothing_before() -> None:
    for block in range(1, len(EDGES) - 1):
        output, passed = decoded(flipped(WHOLE, STARTS[block] + 3000))
        assert output == DATA[: EDGES[block]]
        (damage,) = passed.damages
        assert damage.offset == STARTS[block] >> 3
        assert not isinstance(damage, TruncatedError)
        assert passed.suspect == []


@pytest.mark.parametrize("bit", [0, 1, 20, 47])
def test_flipped_bit_in_a_mark_spares_the_block_before(bit: int) -> None:
    for block in range(1, len(STARTS)):
        broken = flipped(WHOLE, STARTS[block] + bit)
        output, passed = decoded(broken)
        assert output == DATA[: EDGES[block]]
        (damage,) = passed.damages
        assert damage.offset == STARTS[block] >> 3
        check_all_points(opened(broken, passed), output)


def test_combined_checksum_that_fails() -> None:
    """The first stream is suspect, the second one is not, and a point lies between."""
    first = len(bz2.compress(DATA[: 120 * KIB], 1))
    broken = flipped(STREAMS, first * 8 - 20)
    output, passed = decoded(broken)
    assert output == DATA
    assert passed.suspect == [(0, 120 * KIB)]
    assert "checksum" in str(passed.damages[0])
    wide = decoded(broken, spacing=1 << 30)[1]
    stream = opened(broken, wide)
    assert stream.points == [0, 120 * KIB]
    assert stream.cursor(1).read(1 << 30) == DATA[120 * KIB :]
    with pytest.raises(DamagedError, match="checksum"):
        stream.cursor(0).read(len(DATA))


@pytest.mark.parametrize("order", [(0, 2), (0, 1, 1, 2), (1, 0, 2)], ids=str)
def test_blocks_that_are_missing_doubled_or_moved(order: tuple[int, ...]) -> None:
    forged = Bits()
    forged.take(WHOLE, 0, STARTS[0])
    for block in [*order, *range(3, len(STARTS))]:
        forged.take(WHOLE, STARTS[block], ([*STARTS, len(WHOLE) * 8])[block + 1])
    output, passed = decoded(forged.bytes())
    assert output != DATA
    assert passed.suspect == [(0, len(output))]
    assert len(passed.damages) == 1


def test_header_that_is_damaged_between_streams() -> None:
    for bit in (0, 10, 23, 24):
        output, passed = decoded(flipped(STREAMS, SECOND * 8 + bit))
        assert output == DATA
        assert passed.suspect == [] and passed.warnings == []
        (damage,) = passed.damages
        assert damage.offset == SECOND
        check_all_points(opened(flipped(STREAMS, SECOND * 8 + bit), passed), DATA)
    output, passed = decoded(flipped(STREAMS, SECOND * 8 + 40))
    assert output == DATA[: 120 * KIB]
    assert passed.damages and not passed.warnings


@pytest.mark.parametrize("source", [b"", b"no bzip2 at all", b"BZh9", b"BZh9" + bytes(40), b"BZh"])
def test_no_bzip2(source: bytes) -> None:
    output, passed = decoded(source)
    assert output == b"" and len(passed.damages) == 1
    assert opened(source, passed).size == 0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.booleans(), st.integers(0, 7))
def test_any_bytes_behind_a_mark(content: bytes, header: bool, shift: int) -> None:
    start = (BLOCK << 8 - shift).to_bytes(7, "big")
    source = bz2.compress(b"before") * header + b"BZh9" + start + content
    output, passed = decoded(source)
    assert output == b"before" * header
    assert passed.damages


def test_source_that_changes_after_it_was_indexed() -> None:
    source = BytesSource(STREAMS)
    stream = CODEC.open(source, decoded(STREAMS)[1].index(), Limits())
    rng = random.Random(12)
    for _ in range(40):
        source.data = flipped(STREAMS, rng.randrange(len(STREAMS) * 8))
        offset = rng.randrange(len(DATA) - 60_000)
        try:
            data = read_at(stream, offset, 60_000)
        except DamagedError as damage:
            assert damage.offset is not None
        else:
            assert data == DATA[offset : offset + 60_000]
    source.data = STREAMS[: len(STREAMS) // 3]
    with pytest.raises(DamagedError):
        read_at(stream, len(DATA) - 100, 100)


# Indexes


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_index_is_noticed(data: st.DataObject) -> None:
    broken = bytearray(INDEX)
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(WHOLE), bytes(broken), Limits())
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(WHOLE), INDEX[:at], Limits())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_forged_index_is_refused_or_harmless(data: st.DataObject) -> None:
    """With its checksum put right."""
    end = seek_index.HEADER.size + (len(EDGES) - 1) * seek_index.RECORD.size
    broken = bytearray(INDEX)
    broken[data.draw(st.integers(8, end - 1))] = data.draw(st.integers(0, 255))
    seek_index.CHECKSUM.pack_into(broken, end, zlib.crc32(broken[:end]))
    try:
        stream = CODEC.open(BytesSource(WHOLE), bytes(broken), Limits())
    except IndexDamagedError:
        return
    for number in range(len(stream.points)):
        try:
            stream.cursor(number).read(3000)
        except FormatError:
            pass


INDEX = decoded(WHOLE)[1].index()


@pytest.mark.parametrize(
    "index",
    [
        SeekIndex(len(WHOLE), len(WHOLE), 10, 0, [Point(0, 32, 2)]),
        SeekIndex(len(WHOLE), len(WHOLE), 10, 0, [Point(0, len(WHOLE) * 8 + 1)]),
        SeekIndex(len(WHOLE), len(WHOLE), 10, 0, [Point(0, 32), Point(1, 32)]),
        SeekIndex(len(WHOLE), len(WHOLE) + 1, 10, 0, [Point(0, 32)]),
        SeekIndex(len(WHOLE), len(WHOLE), 10, 0, [Point(0, 32, 0, Window.pack(b"w"))]),
    ],
)
def test_index_that_cannot_be(index: SeekIndex) -> None:
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(WHOLE), seek_index.write(MAGIC, index), Limits())
