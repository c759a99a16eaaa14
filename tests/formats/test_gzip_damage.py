"""Damaged and hostile sources and indexes: what is not suspect is right, and everything is told."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats import seek_index
from rofuse_formats.codecs.gzip import CODEC, cursor, first_pass
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError, TruncatedError
from rofuse_formats.limits import Limits
from tests.formats.gzip_support import (
    EMPTY_BLOCK,
    block,
    blocks,
    check_all_points,
    check_reads,
    check_trusted,
    close_points,
    decoded,
    members,
    opened,
    read_at,
    small_blocks,
)
from tests.formats.zstd_support import KIB, MIB, BytesSource, mixed, text

DATA = mixed(700 * KIB)
ONE = small_blocks(DATA)
MANY = members(DATA, 50_000)
BLOCKS = blocks(DATA)
MAKES = {"one": ONE, "many": MANY, "blocks": BLOCKS}
BLOCK = 65280


def cuts(size: int) -> list[int]:
    return [*range(1, 30), *range(size - 30, size), *random.Random(5).sample(range(30, size - 30), 30)]


@pytest.mark.parametrize("compressed", MAKES.values(), ids=MAKES)
def test_truncation(compressed: bytes) -> None:
    """All that is there comes out and can be read at random; nothing is suspect; where it ended is said."""
    shortest = 0
    for cut in sorted(cuts(len(compressed))):
        output, passed = decoded(compressed[:cut])
        assert DATA.startswith(output)
        assert len(output) >= shortest
        shortest = len(output)
        assert passed.suspect == []
        if passed.damages:
            assert [type(damage) for damage in passed.damages] == [TruncatedError]
            assert passed.damages[0].offset is not None
            assert 0 <= passed.damages[0].offset <= cut
            assert str(passed.damages[0].offset) in str(passed.damages[0])
        else:
            assert compressed is not ONE  # a cut between two members is no damage
        stream = opened(compressed[:cut], passed)
        assert stream.size == len(output)
        if output:
            check_all_points(stream, output)
            assert read_at(stream, len(output) - 1, 100) == output[-1:]
    assert shortest == len(DATA)


@pytest.mark.parametrize("compressed", MAKES.values(), ids=MAKES)
def test_flipped_bits_never_give_wrong_bytes(compressed: bytes) -> None:
    chance, kept = random.Random(11), 0
    for _ in range(100):
        broken = bytearray(compressed)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        output, passed = decoded(bytes(broken))
        check_trusted(bytes(broken), output, passed, DATA)
        assert passed.damages or (output == DATA and not passed.suspect)
        kept += len(output) - sum(end - start for start, end in passed.suspect)
    assert kept >= len(DATA) * {ONE: 0, MANY: 40, BLOCKS: 85}[compressed]


def test_data_that_cannot_be_decoded() -> None:
    second = small_blocks(DATA)
    broken = bytearray(second)
    broken[len(second) // 2 : len(second) // 2 + 50] = b"\xff" * 50
    compressed = gzip.compress(DATA) + bytes(broken) + gzip.compress(DATA)
    output, passed = decoded(compressed)
    assert [type(damage) for damage in passed.damages] == [DamagedError]
    assert passed.suspect == [(len(DATA), len(output))]
    check_trusted(compressed, output, passed, DATA * 2)


@pytest.mark.parametrize("compressed", [small_blocks(DATA), gzip.compress(DATA), block(DATA[:BLOCK])])
@pytest.mark.parametrize("word", [0, 1])
def test_trailer_that_does_not_agree(compressed: bytes, word: int) -> None:
    """One wrong word leaves the size certain: decoding goes on. So it is with a point behind it."""
    data = gzip.decompress(compressed)
    broken = bytearray(compressed)
    broken[-8 + 4 * word] ^= 1
    source = gzip.compress(DATA) + bytes(broken) + gzip.compress(b"", mtime=0) + gzip.compress(DATA)
    output, passed = decoded(source, free_spacing=100 * MIB)
    assert output == DATA + data + DATA
    assert passed.suspect == [(len(DATA), len(DATA) + len(data))]
    assert len(passed.damages) == 1
    assert "fails its check at offset" in str(passed.damages[0])
    check_trusted(source, output, passed, output)
    stream = opened(source, passed)
    with pytest.raises(DamagedError, match="check"):
        stream.cursor(0).read(len(output))
    assert stream.cursor(0).read(len(DATA)) == DATA, "up to it all is well"


def test_trailer_that_agrees_in_nothing_ends_it() -> None:
    """How much of the member is missing is not known, so where the next one's output belongs is not, either."""
    source = ONE[:-8] + bytes(8) + gzip.compress(DATA)
    output, passed = decoded(source)
    assert output == DATA
    assert passed.suspect == [(0, len(DATA))]
    assert len(passed.damages) == 1


@pytest.mark.parametrize("place", [30, 60, -9, -4])
def test_a_damaged_block_costs_only_itself(place: int) -> None:
    data = text(10 * BLOCK)
    parts = [bytearray(block(data[at : at + BLOCK])) for at in range(0, len(data), BLOCK)]
    for number in (2, 3, 7):
        parts[number][place] ^= 0xFF
    source = b"".join(map(bytes, parts)) + EMPTY_BLOCK
    output, passed = decoded(source)
    assert len(passed.damages) == 3
    assert passed.suspect == [(2 * BLOCK, 4 * BLOCK), (7 * BLOCK, 8 * BLOCK)]
    assert len(output) == len(data)
    check_trusted(source, output, passed, data)
    assert passed.frames == len(parts) + 1


def test_an_empty_block_that_is_damaged_is_passed_over() -> None:
    broken = bytearray(EMPTY_BLOCK)
    broken[18] ^= 0xFF
    source = block(b"before") + bytes(broken) + block(b"after")
    output, passed = decoded(source, free_spacing=100 * MIB)
    assert output == b"beforeafter"
    assert (passed.suspect, len(passed.damages)) == ([], 1)
    stream = opened(source, passed)
    assert read_at(stream, 6, 10) == b"after"
    assert stream.cursor(0).read(100) == b"beforeafter"


@pytest.mark.parametrize("size", [0, 1, 25, 26, 5000, 65535])
def test_block_that_lies_about_its_size(size: int) -> None:
    """It is believed only where a member follows; gzip itself knows nothing of it."""
    lying = bytearray(block(DATA[:BLOCK]))
    struct.pack_into("<H", lying, 16, size)
    source = bytes(lying) + block(DATA[BLOCK : 2 * BLOCK])
    output, passed = decoded(source)
    assert (output, passed.damages) == (DATA[: 2 * BLOCK], [])


def test_block_that_holds_too_much() -> None:
    """Larger than bgzip's may be, it is a member as any other."""
    source = block(bytes(4 * MIB)) * 2
    output, passed = decoded(source)
    assert output == bytes(8 * MIB)
    assert not passed.damages
    broken = bytearray(source)
    broken[100:110] = b"\xff" * 10
    output, passed = decoded(bytes(broken))
    assert passed.damages
    assert len(output) <= 8 * MIB


@pytest.mark.parametrize("at", [0, 1, 2])
def test_members_behind_what_is_none_are_missed(at: int) -> None:
    """A damaged magic is no garbage: what is lost is said, not passed over."""
    for second in (gzip.compress(DATA), block(DATA[:BLOCK])):
        broken = bytearray(second)
        broken[at] ^= 0x10
        output, passed = decoded(gzip.compress(DATA) + bytes(broken))
        assert output == DATA
        assert (len(passed.damages), passed.warnings) == (1, [])
    output, passed = decoded(gzip.compress(DATA) + b"garbage" * 30_000 + gzip.compress(DATA))
    assert output == DATA
    assert (len(passed.damages), passed.warnings) == (1, [])
    assert str(210_000 + len(gzip.compress(DATA))) in str(passed.damages[0])


def test_what_only_looks_like_a_member_is_garbage() -> None:
    garbage = b"x\x1f\x8b\x08\xff\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 100 + b"\x1f\x8b\x08"
    passed = decoded(gzip.compress(DATA) + garbage)[1]
    assert (passed.damages, len(passed.warnings)) == ([], 1)
    passed = decoded(gzip.compress(DATA) + b"x" + b"\x1f\x8b\x08" * 1_000_000)[1]  # and does not take forever
    assert (passed.damages, len(passed.warnings)) == ([], 1)


def test_garbage_alone() -> None:
    output, passed = decoded(b"no gzip at all")
    assert output == b""
    assert len(passed.damages) == 1
    assert opened(b"no gzip at all", passed).cursor(0).read(10) == b""


@pytest.mark.parametrize("compressed", MAKES.values(), ids=MAKES)
def test_source_that_changes_after_it_was_indexed(compressed: bytes) -> None:
    """The cursor says so or gives bytes; it never hangs and never raises what it did not promise."""
    stream = close_points(compressed)[1]
    chance, source = random.Random(12), stream._source
    assert isinstance(source, BytesSource)
    for _ in range(100):
        broken = bytearray(compressed)
        at = chance.randrange(len(broken))
        broken[at : at + 20] = chance.randbytes(len(broken[at : at + 20]))
        source.data = bytes(broken)
        try:
            data = read_at(stream, chance.randrange(stream.size - 10_000), 10_000)
        except DamagedError as damage:
            assert damage.offset is not None
        else:
            assert len(data) == 10_000
    source.data = compressed[: len(compressed) // 3]
    with pytest.raises(DamagedError):
        read_at(stream, stream.size - 100, 100)


def test_more_than_was_counted() -> None:
    """An index that knows less than the source holds: a sound one would have known it all."""
    index = decoded(ONE)[1].index()
    read = seek_index.read(cursor.MAGIC, index, len(ONE), 1 << 15)
    forged = seek_index.write(cursor.MAGIC, read._replace(size=MIB // 2, points=read.points[:1]))
    stream = CODEC.open(BytesSource(ONE), forged, Limits())
    with pytest.raises(DamagedError, match="changed"):
        stream.cursor(0).read(MIB)


def test_bomb_comes_in_chunks() -> None:
    """200 MiB of zeros in 200 KiB: memory is bounded, what is asked for comes."""
    encoder = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = b"".join(encoder.compress(bytes(MIB)) for _ in range(200)) + encoder.flush()
    chunks = iter(first_pass.FirstPass(BytesSource(bomb)))
    for _ in range(50):
        assert len(next(chunks)) <= 4 * MIB


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_bytes_after_a_header(data: st.DataObject) -> None:
    """Nonsense gives bytes and damage, never anything else; what is trusted reads the same again."""
    start: Callable[[bytes], bytes] = data.draw(st.sampled_from((gzip.compress, block)))
    head = start(b"first")
    nonsense = data.draw(st.binary(max_size=200))
    source = head + b"\x1f\x8b\x08" + data.draw(st.sampled_from((b"\0\0\0\0\0\0\xff", b""))) + nonsense
    output, passed = decoded(source, spacing=10)
    assert output.startswith(b"first")
    assert passed.damages
    check_trusted(source, output, passed, output)


# Indexes


def index_of(compressed: bytes) -> bytes:
    return _indexes.setdefault(compressed, decoded(compressed)[1].index())


_indexes: dict[bytes, bytes] = {}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_index_is_noticed(data: st.DataObject) -> None:
    broken = bytearray(index_of(ONE))
    at = data.draw(st.integers(0, len(broken) - 1))
    match data.draw(st.integers(0, 2)):
        case 0:
            broken[at] ^= 1 << data.draw(st.integers(0, 7))
        case 1:
            del broken[at:]
        case _:
            broken[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    try:
        stream = CODEC.open(BytesSource(ONE), bytes(broken), Limits())
    except IndexDamagedError:
        return
    assert stream.size == len(DATA)
    for number, start in enumerate(stream.points):
        try:
            assert stream.cursor(number).read(3000) == DATA[start : start + 3000]
        except (IndexDamagedError, DamagedError):
            pass


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_forged_index_is_refused_or_harmless(data: st.DataObject) -> None:
    """With its checksum put right, a nonsense table is still found out, or read without harm."""
    broken = bytearray(index_of(ONE))
    count = seek_index.HEADER.unpack_from(broken)[-1]
    end = seek_index.HEADER.size + count * seek_index.RECORD.size
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(8, end - 1))] = data.draw(st.integers(0, 255))
    struct.pack_into("<I", broken, end, zlib.crc32(broken[:end]))
    try:
        stream = CODEC.open(BytesSource(ONE), bytes(broken), Limits())
    except IndexDamagedError:
        return
    assert stream.points == sorted(set(stream.points))
    for number in range(min(5, len(stream.points))):
        try:
            stream.cursor(number).read(3000)
        except FormatError:
            pass


def test_index_of_another_source_or_codec() -> None:
    index = index_of(ONE)
    with pytest.raises(IndexDamagedError, match="another size"):
        CODEC.open(BytesSource(ONE + b"x"), index, Limits())
    with pytest.raises(IndexDamagedError, match="version"):
        CODEC.open(BytesSource(ONE), b"x" + index[1:], Limits())
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(ONE), b"", Limits())


def test_points_that_cannot_be() -> None:
    read = seek_index.read(cursor.MAGIC, index_of(ONE), len(ONE), 1 << 15)
    first, second, *rest = read.points
    for points in (
        [first._replace(offset=3), second],
        [first, second._replace(detail=2)],
        [first, second._replace(offset=8 * len(ONE) + 1)],
        [first, second._replace(offset=0)],
        [first._replace(window=second.window), *rest],
    ):
        forged = seek_index.write(cursor.MAGIC, read._replace(points=points))
        with pytest.raises(IndexDamagedError, match="cannot be"):
            CODEC.open(BytesSource(ONE), forged, Limits())
    check_reads(CODEC.open(BytesSource(ONE), index_of(ONE), Limits()), DATA, (300_000,))
