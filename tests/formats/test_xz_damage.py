"""xz, damaged and hostile: what is intact comes, at its place; what is in doubt says so; claims cost nothing."""

from __future__ import annotations

import lzma
import random
import time
import zlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs import named
from rofuse_formats.codecs.xz import layout
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError, TruncatedError
from rofuse_formats.limits import MOST_DAMAGES, Limits
from tests.formats.units_support import (
    MIB,
    Decoded,
    check_damaged,
    check_flips,
    check_reads,
    check_truncation,
    clean,
    cuts,
    needs,
    read_at,
    run,
)
from tests.formats.xz_support import CHECKS, block, of_parts, stream
from tests.formats.zstd_support import BytesSource, mixed

DATA = mixed(360_000)
PARTS = [DATA[:150_000], DATA[150_000:150_100], DATA[150_100:300_000], DATA[300_000:]]
BLOCKS = of_parts(PARTS, preset=0)
ONE = lzma.compress(DATA, preset=0)
STREAMS = of_parts(PARTS[:2], preset=0) + bytes(8) + of_parts(PARTS[2:], lzma.CHECK_SHA256, preset=0)
SOURCES = {"blocks": BLOCKS, "one": ONE, "streams": STREAMS}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_truncation(source: bytes) -> None:
    check_truncation("xz", source, DATA, cuts(len(source)))


@needs["xz"]
@pytest.mark.parametrize("options", ["--block-size=100000", "--x86 --lzma2=preset=0", "--check=none -0"])
def test_truncation_of_what_xz_made(options: str) -> None:
    source = run(DATA, "xz", "-c", *options.split())
    check_truncation("xz", source, DATA, range(1, len(source), len(source) // 15))


def test_whole_blocks_of_a_cut_source_are_points() -> None:
    source = of_parts([DATA[:100_000]] * 20, preset=0)
    cut = len(source) // 2
    decoded = Decoded("xz", source[:cut])
    assert 900_000 <= len(decoded.data) < 1_100_000
    assert len(decoded.stream().points) >= 2
    (damage,) = decoded.passed.damages
    assert isinstance(damage, TruncatedError) and damage.offset == cut


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_flipped_bits(source: bytes) -> None:
    assert check_flips("xz", source, DATA, 100) < 10


def broken(source: bytes, offset: int, value: bytes = b"\xaa\x55" * 10) -> bytes:
    return source[:offset] + value + source[offset + len(value) :]


@pytest.mark.parametrize("check", CHECKS)
def test_what_follows_a_broken_block_is_intact(check: int) -> None:
    first = len(layout.stream_header(0)) + len(block(PARTS[0], check, preset=0)[0])
    source = of_parts(PARTS, check, preset=0)
    start, end = 150_100, 300_000
    third = first + len(block(PARTS[1], check, preset=0)[0])
    decoded = Decoded("xz", broken(source, third + 50_000))
    assert len(decoded.data) == len(DATA)
    assert len(decoded.damages) == 1 and f"offset {third} " in decoded.damages[0]
    ((suspect, suspect_end),) = decoded.passed.suspect
    assert suspect_end == end
    if check == lzma.CHECK_NONE:  # what came before the error is taken for intact
        assert start <= suspect < end
        check_damaged(decoded, None)
        assert decoded.data[:start] + decoded.data[end:] == DATA[:start] + DATA[end:]
    else:
        assert suspect == start
        check_damaged(decoded, DATA)


@pytest.mark.parametrize("check", CHECKS[1:])
def test_a_check_that_fails(check: int) -> None:
    """Nothing of the block is to be given out, by a cursor neither."""
    end = layout.HEADER + len(block(PARTS[0], check, preset=0)[0])
    source = of_parts(PARTS, check, preset=0)
    decoded = Decoded("xz", broken(source, end - 1, bytes((source[end - 1] ^ 1,))))
    assert len(decoded.data) == len(DATA)
    assert decoded.passed.suspect == [(0, len(PARTS[0]))]
    check_damaged(decoded, DATA)
    cursor = decoded.stream().cursor(0)
    with pytest.raises(DamagedError, match="offset 12"):
        cursor.read(len(PARTS[0]))


def test_broken_neighbours_are_one_suspect_range() -> None:
    source = of_parts([DATA[:1000]] * 5, check=lzma.CHECK_CRC32, preset=0)
    size = len(block(DATA[:1000], lzma.CHECK_CRC32, preset=0)[0])
    for number in (1, 2):
        source = broken(source, layout.HEADER + number * size + size // 2, b"\xaa\x55")
    decoded = Decoded("xz", source)
    assert decoded.passed.suspect == [(1000, 3000)]
    assert len(decoded.damages) == 2


def test_damaged_header_footer_and_index_cost_nothing() -> None:
    """Each is said by another: the footer, the blocks themselves."""
    second = STREAMS.index(layout.MAGIC, 1)
    for offset in (
        7,  # flags of the first header
        second + 8,  # checksum of the second
        len(STREAMS) - 5,  # footer's backward size
        len(STREAMS) - 1,
        len(STREAMS) - layout.FOOTER - 3,  # the last index
        second - 8 - layout.FOOTER - 3,  # the first index
        second - 8 - layout.FOOTER + 1,  # the first footer
    ):
        decoded = Decoded("xz", broken(STREAMS, offset, bytes((STREAMS[offset] ^ 0x20,))))
        assert decoded.data == DATA, offset
        assert len(decoded.damages) == 1 and not decoded.passed.suspect, offset
        check_reads(decoded, count=5)


def test_index_of_other_blocks() -> None:
    good = [block(part, preset=0) for part in PARTS]
    swapped = [(data, record) for (data, _), (_, record) in zip(good, [*good[1:], good[0]], strict=True)]
    decoded = Decoded("xz", stream(swapped))
    assert decoded.damages
    check_damaged(decoded, DATA)


@pytest.mark.parametrize("claim", [1 << 40, 1 << 60, (1 << 63) - 1])
def test_claims_that_no_block_can_hold_are_not_filled(claim: int) -> None:
    good = block(DATA[:1000], preset=0)
    lie = good[0], layout.encoded(layout.integer(good[1], 0)[0]) + layout.encoded(claim)
    started = time.monotonic()
    decoded = Decoded("xz", stream([good, lie, good]))
    assert decoded.data == DATA[:1000]
    assert str(claim) in decoded.damages[0]
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("claim", [0, 999, 1001, 500_000])
def test_claims_that_are_wrong(claim: int) -> None:
    """More is filled up, less is not believed; what follows is at the place that the index gives it, or nowhere."""
    good = block(DATA[:1000], preset=0)
    lie = good[0], layout.encoded(layout.integer(good[1], 0)[0]) + layout.encoded(claim)
    decoded = Decoded("xz", stream([good, lie, good]))
    assert decoded.damages
    assert decoded.data[:1000] == DATA[:1000]
    ends = [end for _start, end in decoded.passed.suspect]
    if claim > 1000:
        assert decoded.passed.suspect == [(1000, 1000 + claim)]
        assert decoded.data[1000 + claim :] == DATA[:1000]
    else:
        assert not ends or ends == [len(decoded.data)]


@pytest.mark.parametrize("check", CHECKS)
def test_what_proves_the_size_of_a_block_is_no_part_of_it(check: int) -> None:
    """A stored chunk that claims 100 bytes more than there are: the first of them is LZMA2's mark of the end, and the
    index that the decoder is given behind the block is not taken for the others."""
    stored, good = random.Random(5).randbytes(500), block(DATA[:1000], check, preset=0)
    data, record = block(stored, check, preset=0)
    at = layout.block_header(data, 0).length
    assert data[at : at + 3] == b"\1" + (499).to_bytes(2, "big") and data[at + 3 + 500] == 0
    lie = data[: at + 1] + (599).to_bytes(2, "big") + data[at + 3 :]
    claim = layout.encoded(layout.integer(record, 0)[0]) + layout.encoded(600)
    decoded = Decoded("xz", stream([good, (lie, claim), good], check))
    assert len(decoded.damages) == 1 and f"offset {layout.HEADER + len(good[0])} " in decoded.damages[0]
    intact = 1000 if check else 1501
    assert decoded.passed.suspect == [(intact, 1600)]
    assert decoded.data[:intact] == (DATA[:1000] + stored + b"\0")[:intact]
    assert decoded.data[1600:] == DATA[:1000]
    check_damaged(decoded, None)


def test_bomb_comes_in_chunks() -> None:
    """A gigabyte of zeros, claimed to be three bytes: memory is bounded, and the claim is held to."""
    compressor = lzma.LZMACompressor(preset=0)
    whole = b"".join([*(compressor.compress(bytes(MIB)) for _ in range(200)), compressor.flush()])
    start = whole.rindex(b"\0\1", 0, -layout.FOOTER)
    data = whole[layout.HEADER : start]
    record = layout.encoded(len(data)) + layout.encoded(3)
    decoded = Decoded("xz", stream([(data, record)]))
    assert decoded.data == b"" and decoded.damages


@pytest.mark.parametrize(
    ("garbage", "message"),
    [
        (b"x", "1 bytes after"),
        (b"garbage" * 100, "700 bytes after"),
        (b"\xfd7zX", "ends within the stream header"),
    ],
)
def test_what_follows_the_last_stream(garbage: bytes, message: str) -> None:
    for source in (BLOCKS + garbage, BLOCKS + bytes(16) + garbage):
        decoded = Decoded("xz", source)
        assert decoded.data == DATA and not decoded.passed.suspect
        (damage,) = decoded.damages
        assert message in damage
        check_reads(decoded, count=5)


def test_padding_of_another_length_is_told() -> None:
    decoded = Decoded("xz", BLOCKS + bytes(7) + STREAMS + bytes(1))
    assert decoded.data == DATA * 2 and not decoded.damages
    assert len(decoded.passed.warnings) == 2 and "7 bytes" in decoded.passed.warnings[0]
    check_reads(decoded, count=5)


def test_too_many_damages_end_it() -> None:
    """Each takes memory, and nobody wants what is left."""
    bad = bytearray(block(b"x" * 10, preset=0)[0])
    bad[-1] ^= 1
    record = block(b"x" * 10, preset=0)[1]
    decoded = Decoded("xz", stream([(bytes(bad), record)] * 9000))
    assert MOST_DAMAGES <= len(decoded.damages) < 6000
    assert "enough" in decoded.damages[-1]
    assert decoded.passed.suspect == [(0, len(decoded.data))]


def test_many_empty_blocks_are_passed_over() -> None:
    source = of_parts([b""] * 5000 + [b"end"], preset=0)
    decoded = clean("xz", source, b"end")
    assert len(decoded.index) < 200
    cut = Decoded("xz", source[:-20])
    assert cut.data == b"end" and cut.damages


def test_source_that_changes_after_it_was_indexed() -> None:
    decoded, rng = Decoded("xz", BLOCKS), random.Random(12)
    stream_ = decoded.stream()
    for _ in range(60):
        decoded.source.data = broken(BLOCKS, rng.randrange(len(BLOCKS) - 20), rng.randbytes(20))
        try:
            offset = rng.randrange(stream_.size - 10_000)
            data = read_at(stream_, offset, 10_000)
        except DamagedError as damage:
            assert damage.offset is not None
        else:
            assert len(data) == 10_000
    decoded.source.data = BLOCKS[: len(BLOCKS) // 3]
    with pytest.raises(DamagedError):
        read_at(stream_, stream_.size - 100, 100)


# Indexes


@cache
def whole_index() -> bytes:
    return Decoded("xz", BLOCKS).index


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_forged_seek_index_is_refused_or_harmless(data: st.DataObject) -> None:
    """With its checksum put right, nonsense is still found out, or read without harm."""
    index = bytearray(whole_index())
    end = len(index) - 4
    at = data.draw(st.integers(8, end - 1))
    index[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        index[end:] = zlib.crc32(index[:end]).to_bytes(4, "little")
    try:
        stream_ = named("xz").open(BytesSource(BLOCKS), bytes(index), Limits())
    except FormatError:
        return
    for number in range(len(stream_.points)):
        try:
            assert len(stream_.cursor(number).read(3000)) <= 3000
        except FormatError:
            pass


def test_index_of_another_source_or_codec() -> None:
    index = Decoded("xz", BLOCKS).index
    with pytest.raises(IndexDamagedError, match="another size"):
        named("xz").open(BytesSource(BLOCKS + b"x"), index, Limits())
    with pytest.raises(IndexDamagedError, match="version"):
        named("lzip").open(BytesSource(BLOCKS), index, Limits())
    with pytest.raises(IndexDamagedError):
        named("xz").open(BytesSource(BLOCKS), b"", Limits())
