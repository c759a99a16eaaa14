"""Sources of several frames, frames of every kind, limits."""

from __future__ import annotations

import shutil
import struct
import tracemalloc

import pytest
import zstandard

from rofuse_formats.codecs.zstd import CODEC, first_pass
from rofuse_formats.errors import LimitError, UnsupportedError
from rofuse_formats.limits import Limits
from tests.formats.zstd_support import (
    KIB,
    MIB,
    BytesSource,
    check_all_points,
    check_reads,
    close_points,
    decoded,
    mixed,
    text,
    zstd,
)

EMPTY = zstandard.ZstdCompressor().compress(b"")


def skippable(content: bytes, number: int = 0) -> bytes:
    return (0x184D2A50 + number).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


def check_whole(compressed: bytes, expected: bytes, frames: int) -> None:
    output, passed = decoded(compressed)
    assert output == expected
    assert not passed.damages
    assert passed.frames == frames
    assert passed.consumed == len(compressed)
    _, stream = close_points(compressed)
    check_all_points(stream, expected)
    check_reads(stream, expected, range(0, len(expected), len(expected) // 20 + 1))


def test_empty_sources() -> None:
    for compressed, frames in (
        (b"", 0),
        (EMPTY, 1),
        (EMPTY * 3, 3),
        (skippable(b"abc"), 0),
        (skippable(b"") + EMPTY, 1),
    ):
        output, passed = decoded(compressed)
        assert (output, passed.damages, passed.frames) == (b"", [], frames)
        stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
        assert (stream.size, stream.points) == (0, [0])
        assert stream.cursor(0).read(10) == b""


def test_many_frames() -> None:
    data = mixed(5 * MIB)
    sizes = (1, 10, 1000, 100_000, 300_000, 1_000_000, 5, 2_000_000)
    parts, at = [], 0
    for number, size in enumerate(sizes):
        parts.append(
            zstd(data[at : at + size], f"-{1 + number * 2}", "--check" if number % 2 else "--no-check")
        )
        at += size
    check_whole(b"".join(parts), data[:at], len(sizes))


def test_skippable_and_empty_frames_anywhere() -> None:
    data = text(2 * MIB)
    half = zstd(data[:MIB], "--zstd=wlog=17"), zstd(data[MIB:], "--zstd=wlog=17")
    compressed = b"".join((
        skippable(b"x" * 1000), EMPTY, half[0], skippable(b"", 15), skippable(bytes(3 * MIB), 3), EMPTY, EMPTY,
        half[1], EMPTY, skippable(b"end"),
    ))  # fmt: skip
    check_whole(compressed, data, 6)


@pytest.mark.skipif(not shutil.which("pzstd"), reason="pzstd is not installed")
def test_pzstd() -> None:
    data = text(24 * MIB)
    compressed = zstd(data, "-p", "4", "-1", tool="pzstd")
    output, passed = decoded(compressed)
    assert output == data
    assert passed.frames > 2
    stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
    assert len(stream.points) > 2
    check_reads(stream, data, range(0, len(data), MIB))


def test_seekable_format() -> None:
    data = text(MIB)
    frames = [
        zstandard.ZstdCompressor().compress(data[at : at + 50_000]) for at in range(0, len(data), 50_000)
    ]
    entries = b"".join(
        struct.pack("<II", len(f), min(50_000, len(data) - i * 50_000)) for i, f in enumerate(frames)
    )
    table = entries + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    check_whole(b"".join(frames) + skippable(table, 14), data, len(frames))


def test_tiny_frames_share_points() -> None:
    frame = zstandard.ZstdCompressor().compress(b"a line of text\n")
    count = 200_000
    output, passed = decoded(frame * count)
    assert output == b"a line of text\n" * count
    assert passed.frames == count
    stream = CODEC.open(BytesSource(frame * count), passed.index(), Limits())
    assert len(stream.points) == 1
    check_reads(stream, output, (0, 200_000, len(output) - 5))
    _, passed = decoded(frame * count, free_spacing=500_000)
    assert 1 < len(CODEC.open(BytesSource(frame * count), passed.index(), Limits()).points) <= 5


def test_chunks_are_neither_small_nor_large() -> None:
    for compressed in (zstd(text(5 * MIB)), zstd(text(1000)) * 5000, zstd(bytes(300 * MIB))):
        chunks = list(first_pass.FirstPass(BytesSource(compressed), Limits()))
        assert all(64 * KIB <= len(chunk) <= 4 * MIB for chunk in chunks[:-1])


def test_blocks_of_one_byte() -> None:
    encoder = zstandard.ZstdCompressor().compressobj()
    parts: list[bytes] = []
    data = text(20_000)
    for byte in data:
        parts += (encoder.compress(bytes((byte,))), encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    check_whole(b"".join((*parts, encoder.flush())), data, 1)


def test_dictionary_is_refused_by_its_id() -> None:
    samples: list[bytes | bytearray | memoryview] = [text(2000, seed) for seed in range(200)]
    dictionary = zstandard.train_dictionary(4 * KIB, samples, dict_id=4711)
    framed = zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[0])
    with pytest.raises(UnsupportedError, match="4711"):
        decoded(framed)
    passed = first_pass.FirstPass(BytesSource(zstd(b"before") + framed), Limits())
    chunks = iter(passed)
    assert next(chunks) == b"before"
    with pytest.raises(UnsupportedError, match="4711"):
        next(chunks)


@pytest.mark.parametrize("log", [28, 31, 38, 41])
def test_window_over_the_limit_is_refused(log: int) -> None:
    """The header alone decides: nothing is allocated."""
    framed = b"\x28\xb5\x2f\xfd\0" + bytes((log - 10 << 3,)) + b"\1\0\0"
    with pytest.raises(LimitError, match="--max-window"):
        decoded(framed)
    with pytest.raises(LimitError, match="--max-window"):
        decoded(zstd(b"before") + framed)


def test_single_segment_over_the_limit_is_refused() -> None:
    framed = b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little") + b"\1\0\0"
    with pytest.raises(LimitError, match="--max-window"):
        decoded(framed)


def test_limit_can_be_raised_and_holds_for_an_index_too() -> None:
    compressed = zstd(text(100_000), "--long=28", "--zstd=wlog=28")
    passed = first_pass.FirstPass(BytesSource(compressed), Limits(max_window=256 * MIB))
    assert b"".join(passed) == text(100_000)
    index = passed.index()
    assert CODEC.open(BytesSource(compressed), index, Limits(max_window=256 * MIB)).cursor(0).read(5) == text(
        5
    )
    with pytest.raises(LimitError, match="--max-window"):
        CODEC.open(BytesSource(compressed), index, Limits())


@pytest.mark.parametrize("magic", [0x1EB52FFD, 0xFD2FB522, 0xFD2FB527])
def test_legacy_versions_are_refused(magic: int) -> None:
    with pytest.raises(UnsupportedError, match=r"0\.8"):
        decoded(magic.to_bytes(4, "little") + bytes(100))


def test_bomb_that_is_damaged_comes_in_chunks_too() -> None:
    """What is fed once more, up to the damaged block, becomes no more at once than the first time."""
    block = (1 << 1 | 128 * KIB << 3).to_bytes(3, "little") + b"x"
    broken = (1 | 2 << 1 | 9 << 3).to_bytes(3, "little") + b"\xff" * 9
    bomb = b"\x28\xb5\x2f\xfd\0\x58" + block * 1004 + broken
    passed = first_pass.FirstPass(BytesSource(bomb), Limits())
    tracemalloc.start()
    try:
        size = sum(map(len, passed))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 1004 * 128 * KIB
    assert len(passed.damages) == 1
    assert peak < 32 * MIB
