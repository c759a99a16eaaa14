"""Damaged and hostile sources and indexes: intact bytes first, then an error that names a place, never wrong bytes."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.zstd import CODEC, frame, index
from rofuse_formats.codecs.zstd.first_pass import FirstPass
from rofuse_formats.codecs.zstd.points import Seed
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.patches import Zeros, patched
from tests.formats.zstd_support import (
    KIB,
    MIB,
    BytesSource,
    check_all_points,
    close_points,
    decoded,
    mixed,
    read_at,
    text,
    zstd,
)

DATA = mixed(2 * MIB)
OPTIONS = ("-3", "--zstd=wlog=17", "--check")
WHOLE = zstd(DATA, *OPTIONS)
FRAMES = zstd(DATA[:MIB], *OPTIONS) + zstd(DATA[MIB : MIB + 1000], *OPTIONS) * 20 + zstd(DATA[MIB:], *OPTIONS)
FRAMES_DATA = DATA[:MIB] + DATA[MIB : MIB + 1000] * 20 + DATA[MIB:]


def cuts(size: int) -> list[int]:
    return [*range(1, 30), *range(size - 12, size), *random.Random(5).sample(range(30, size - 12), 40)]


@pytest.mark.parametrize(
    ("compressed", "expected"), [(WHOLE, DATA), (FRAMES, FRAMES_DATA)], ids=["one", "many"]
)
def test_truncation(compressed: bytes, expected: bytes) -> None:
    """Whole blocks come out; what came out can be read at random; where it ended is said."""
    shortest = 0
    for cut in sorted(cuts(len(compressed))):
        output, passed = decoded(compressed[:cut], spacing=128 * KIB, free_spacing=1, windows_apart=1)
        assert expected.startswith(output)
        assert len(output) >= shortest
        shortest = len(output)
        if not passed.damages:
            assert compressed is FRAMES  # a cut between two frames is no damage
        else:
            assert passed.damages[0].offset is not None
            assert 0 <= passed.damages[0].offset <= cut
            assert str(passed.damages[0].offset) in str(passed.damages[0])
        stream = CODEC.open(BytesSource(compressed[:cut]), passed.index(), Limits())
        assert stream.size == len(output)
        if output:
            check_all_points(stream, output)
            assert read_at(stream, len(output) - 1, 100) == output[-1:]
    assert shortest > len(expected) * 0.9


def test_flipped_bits_never_give_wrong_bytes_without_damage() -> None:
    rng = random.Random(11)
    for _ in range(150):
        broken = bytearray(FRAMES)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        try:
            output, passed = decoded(bytes(broken), spacing=128 * KIB, windows_apart=1)
        except FormatError:
            continue
        assert passed.damages or output == FRAMES_DATA
        stream = CODEC.open(BytesSource(bytes(broken)), passed.index(), Limits())
        suspect_from = min((start for start, _end in passed.suspect), default=len(output))
        for start in (0, len(output) // 2, max(0, len(output) - 5)):
            if start + 1000 > suspect_from:  # not to be read through
                continue
            assert read_at(stream, start, 1000) == output[start : start + 1000]


def test_source_that_changes_after_it_was_indexed() -> None:
    """The cursor says so or gives bytes; it never hangs and never raises what it did not promise."""
    _, stream = close_points(WHOLE)
    rng = random.Random(12)
    source = stream._source
    assert isinstance(source, BytesSource)
    for _ in range(100):
        broken = bytearray(WHOLE)
        at = rng.randrange(len(broken))
        broken[at : at + 20] = rng.randbytes(len(broken[at : at + 20]))
        source.data = bytes(broken)
        try:
            data = read_at(stream, rng.randrange(stream.size - 10_000), 10_000)
        except DamagedError as damage:
            assert damage.offset is not None
        else:
            assert len(data) == 10_000
    source.data = WHOLE[: len(WHOLE) // 3]
    with pytest.raises(DamagedError):
        read_at(stream, stream.size - 100, 100)


def test_checksum_that_fails() -> None:
    broken = WHOLE[:-1] + bytes((WHOLE[-1] ^ 1,))
    output, passed = decoded(broken)
    assert output == DATA
    assert passed.damages
    assert passed.damages[0].offset == len(WHOLE) - 4


def test_checksum_of_an_empty_frame_that_fails() -> None:
    """Nothing came of the frame, so nothing is suspect: what follows it can be read, from its first byte."""
    empty = bytearray(zstd(b"", "--check"))
    empty[-1] ^= 1
    for before in (b"", DATA[: 5 * KIB]):
        compressed = (zstd(before) if before else b"") + bytes(empty) + WHOLE
        output, passed = decoded(compressed)
        assert output == before + DATA
        assert len(passed.damages) == 1
        stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
        assert read_at(stream, len(before), 1000) == DATA[:1000]


@pytest.mark.parametrize(
    "garbage", [b"\0", b"\0" * 5000, b"garbage", b"\x28\xb5", b"\x50\x2a\x4d\x18\xff\xff\xff\xff"]
)
def test_what_follows_the_last_frame(garbage: bytes) -> None:
    output, passed = decoded(WHOLE + garbage)
    assert output == DATA
    assert passed.damages
    assert passed.damages[0].offset == len(WHOLE)
    stream = CODEC.open(BytesSource(WHOLE + garbage), passed.index(), Limits())
    assert read_at(stream, len(DATA) - 10, 100) == DATA[-10:]
    if garbage[:1] != b"\x28" and garbage[:1] != b"\x50":
        assert f"{len(garbage)} bytes after the last frame" in str(passed.damages[0])


def test_garbage_alone() -> None:
    output, passed = decoded(b"no zstd at all")
    assert output == b""
    assert passed.damages


def block(kind: int, size: int, content: bytes = b"", last: int = 0) -> bytes:
    return (last | kind << 1 | size << 3).to_bytes(3, "little") + content


HEADER = b"\x28\xb5\x2f\xfd\0\x58"  # a window of 2 MiB


@pytest.mark.parametrize(
    "frame",
    [
        HEADER + block(3, 0),
        HEADER + block(2, (1 << 21) - 1) + bytes(1 << 21),
        HEADER + block(1, (1 << 21) - 1, b"x"),
        HEADER + block(0, 200_000, bytes(200_000), 1),
        HEADER + block(2, 1, b"\0", 1),
        HEADER + block(2, 5, b"\xff" * 5, 1),
        b"\x28\xb5\x2f\xfd\x20\x05" + block(0, 3, b"abc", 1),  # fewer bytes than its content size
        b"\x28\xb5\x2f\xfd\x20\x02" + block(0, 3, b"abc", 1),  # more
        b"\x28\xb5\x2f\xfd\xc0\x58" + b"\xfe" * 8 + block(0, 3, b"abc", 1),
        b"\x28\xb5\x2f\xfd\x08\x58" + block(0, 3, b"abc", 1),  # a reserved bit
    ],
)
def test_hostile_frames(frame: bytes) -> None:
    for compressed in (frame, zstd(b"before") + frame, frame + zstd(b"after")):
        output, passed = decoded(compressed)
        assert passed.damages
        assert len(output) <= 128 * KIB + 10
        stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
        told = bytearray(output)
        for start, end in passed.suspect:
            told[start:end] = bytes(end - start)
        sound = patched(stream, [Zeros(*suspect) for suspect in passed.suspect])
        assert sound.cursor(0).read(1 << 30) == told


def test_bomb_comes_in_chunks() -> None:
    """32,000 blocks of 128 KiB in 128 KB of source: memory is bounded, what is asked for comes."""
    bomb = HEADER + block(1, 128 * KIB, b"x") * 32_000 + block(0, 0, b"", 1)
    chunks = iter(FirstPass(BytesSource(bomb), Limits()))
    for _ in range(100):
        assert len(next(chunks)) <= 4 * MIB


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_blocks(data: st.DataObject) -> None:
    """Frames put together from raw, RLE and nonsense blocks: intact bytes, and the index agrees with them."""
    blocks, expected, certain = [HEADER], b"", True  # of what comes after nonsense nothing is
    for number in data.draw(st.lists(st.integers(0, 5), max_size=30)):
        if number < 3:
            content = data.draw(st.binary(max_size=50)) * data.draw(st.integers(1, 2000))
            blocks.append(block(0, len(content), content))
            expected += content if certain else b""
        elif number < 5:
            size = data.draw(st.integers(0, 128 * KIB))
            blocks.append(block(1, size, b"r"))
            expected += b"r" * size if certain else b""
        else:
            blocks.append(data.draw(st.binary(min_size=1, max_size=100)))
            certain = False
    compressed = b"".join(blocks)
    try:
        output, passed = decoded(compressed, spacing=4096, free_spacing=1, windows_apart=0)
    except FormatError:
        return
    assert passed.damages or not certain  # no last block, unless nonsense says that it is one
    assert output == expected if certain else output.startswith(expected)
    stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
    check_all_points(stream, output)


# Indexes


def made() -> tuple[bytes, bytes]:
    _, passed = decoded(WHOLE, spacing=128 * KIB, windows_apart=1)
    return WHOLE, passed.index()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_index_is_noticed(data: st.DataObject) -> None:
    compressed, whole = made_once()
    broken = bytearray(whole)
    at = data.draw(st.integers(0, len(broken) - 1))
    match data.draw(st.integers(0, 2)):
        case 0:
            broken[at] ^= 1 << data.draw(st.integers(0, 7))
        case 1:
            del broken[at:]
        case _:
            broken[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    try:
        stream = CODEC.open(BytesSource(compressed), bytes(broken), Limits())
    except IndexDamagedError:
        return
    assert stream.size == len(DATA)
    for number, start in enumerate(stream.points):
        try:
            assert stream.cursor(number).read(3000) == DATA[start : start + 3000]
        except (IndexDamagedError, DamagedError):
            pass


_made: list[tuple[bytes, bytes]] = []


def made_once() -> tuple[bytes, bytes]:
    if not _made:
        _made.append(made())
    return _made[0]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_forged_index_is_refused_or_harmless(data: st.DataObject) -> None:
    """With its checksum put right, a nonsense table is still found out, or read without harm."""
    compressed, whole = made_once()
    count = struct.unpack_from("<Q", whole, 40)[0]
    end = index.HEADER.size + count * index.RECORD.size
    broken = bytearray(whole)
    at = data.draw(st.integers(8, end - 1))
    broken[at] = data.draw(st.integers(0, 255))
    struct.pack_into("<I", broken, end, zlib.crc32(broken[:end]))
    try:
        stream = CODEC.open(BytesSource(compressed), bytes(broken), Limits())
    except FormatError:
        return
    assert stream.points == sorted(set(stream.points))
    for number in range(len(stream.points)):
        try:
            stream.cursor(number).read(3000)
        except FormatError:
            pass


def test_index_of_another_source_or_codec() -> None:
    compressed, whole = made_once()
    with pytest.raises(IndexDamagedError, match="another size"):
        CODEC.open(BytesSource(compressed + b"x"), whole, Limits())
    with pytest.raises(IndexDamagedError, match="version"):
        CODEC.open(BytesSource(compressed), b"x" + whole[1:], Limits())
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(compressed), b"", Limits())


def test_dictionary_that_unpacks_to_another_size() -> None:
    """A forged dictionary of a gigabyte of zeros is unpacked no further than it may be."""
    compressed, whole = made_once()
    read = index.read_index(len(compressed), whole)
    point = next(point for point in read.points if point.seed)
    assert point.seed
    packed = zstandard.ZstdCompressor().compress(bytes(64 * MIB))
    point.seed = point.seed._replace(packed=packed, checksum=zlib.crc32(packed))
    stream = CODEC.open(BytesSource(compressed), index.write_index(len(compressed), read), Limits())
    with pytest.raises(IndexDamagedError, match="another size"):
        stream.cursor(read.points.index(point))


def test_dictionary_that_is_none() -> None:
    compressed, whole = made_once()
    read = index.read_index(len(compressed), whole)
    point = next(point for point in read.points if point.seed)
    assert point.seed
    dictionary = b"\x37\xa4\x30\xec" + b"\xff" * 200  # the magic of a formatted one, and nonsense
    packed = zstandard.ZstdCompressor().compress(dictionary)
    point.seed = Seed(packed, len(dictionary), zlib.crc32(packed))
    stream = CODEC.open(BytesSource(compressed), index.write_index(len(compressed), read), Limits())
    with pytest.raises(DamagedError):
        stream.cursor(read.points.index(point)).read(1)


def test_text_survives_the_helpers() -> None:
    assert len(text(1000)) == 1000


@pytest.mark.parametrize("checksum", [True, False])
def test_behind_a_damaged_frame_whose_size_is_known_it_goes_on(checksum: bool) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, write_content_size=True, write_checksum=checksum
    )
    compress = zstandard.ZstdCompressor(compression_params=parameters).compress
    parts = [text(700_000, seed) for seed in range(3)]
    frames = [bytearray(compress(part)) for part in parts]
    at = _block_at(frames[1], 2)
    frames[1][at + frame.BLOCK_HEADER : at + frame.BLOCK_HEADER + 60] = bytes(60)
    broken = b"".join(frames)
    output, passed = decoded(broken)
    assert len(passed.damages) == 1
    ((start, end),) = passed.suspect
    assert end == 1_400_000
    assert start == (700_000 if checksum else 700_000 + 128 * KIB)  # but for the last block before the damage
    assert output == b"".join(parts)[:start] + output[start:end] + parts[2]
    assert output[700_000 + 256 * KIB : end] == bytes(700_000 - 256 * KIB)
    stream = CODEC.open(BytesSource(broken), passed.index(), Limits())
    assert 1_400_000 in stream.points
    assert read_at(stream, 1_400_000, 700_000) == parts[2]


@pytest.mark.parametrize("empty", range(4))
def test_empty_blocks_before_the_damage_tell_nothing_of_what_is_before_them(empty: int) -> None:
    """A decoder that gives out the block before them may have looked at the one behind them."""
    size = b"\x28\xb5\x2f\xfd\x60" + (1000 - 256).to_bytes(2, "little")
    whole = block(1, 15, b"x") + block(1, 10, b"y") + block(0, 0) * empty
    broken = size + whole + block(2, 9, b"\xff" * 9, 1)
    output, passed = decoded(broken)
    assert passed.suspect == [(15, 1000)]
    assert output == b"x" * 15 + b"y" * 10 + bytes(975)
    stream = CODEC.open(BytesSource(broken), passed.index(), Limits())
    assert patched(stream, [Zeros(15, 1000)]).cursor(0).read(1000) == b"x" * 15 + bytes(985)


def _block_at(data: bytearray, number: int) -> int:
    header = frame.frame_header(bytes(data[:18]), 0)
    assert header
    at = header.header
    for _ in range(number):
        at += frame.BLOCK_HEADER + frame.block_header(bytes(data), at)[2]
    return at


def test_a_frame_that_claims_much_more_than_its_blocks_can_hold_is_not_filled_up() -> None:
    data = bytearray(zstandard.ZstdCompressor(level=3).compress(text(300_000)))
    header = frame.frame_header(bytes(data[:18]), 0)
    assert header and header.content == 300_000
    data[header.header - 4 : header.header] = (100 << 20).to_bytes(4, "little")
    data[_block_at(data, 1) + frame.BLOCK_HEADER] = 0xFF
    output, passed = decoded(bytes(data))
    assert passed.damages and len(output) <= 300_000


def test_a_damaged_frame_that_ends_beyond_the_source_is_not_passed_over() -> None:
    data = bytearray(b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51")  # of nothing, with a checksum
    data[6] ^= 8  # its one block claims a byte
    output, passed = decoded(bytes(data))
    assert (output, len(passed.damages)) == (b"", 1)
    assert CODEC.open(BytesSource(bytes(data)), passed.index(), Limits()).cursor(0).read(1) == b""
