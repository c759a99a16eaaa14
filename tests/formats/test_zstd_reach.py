"""Matches that reach behind the window: the library lets some pass, and a seek point's decoder gives other bytes."""

from __future__ import annotations

import pytest
import zstandard

from rofuse_formats.codecs.zstd import frame, reach
from rofuse_formats.codecs.zstd.points import Tables
from tests.formats.zstd_support import KIB, MIB, SHAPES, BytesSource, check_law, text


def framed(data: bytes, window_log: int, step: int, level: int = 3) -> bytes:
    """A frame that tells its size, in blocks of ``step`` bytes at most."""
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=len(data))
    parts = []
    for at in range(0, len(data), step):
        parts.append(encoder.compress(data[at : at + step]))
        parts.append(encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return b"".join((*parts, encoder.flush()))


def renamed(compressed: bytes, window_log: int) -> bytes:
    """The frame with another window in its header."""
    damaged = bytearray(compressed)
    damaged[5] = window_log - 10 << 3
    return bytes(damaged)


def whole(compressed: bytes, window: int = 0) -> reach.Run:
    """All blocks of a frame."""
    header = frame.frame_header(compressed[: frame.LONGEST_HEADER], 0)
    assert header
    return reach.Run(header.header, len(compressed), window or header.window, Tables())


@pytest.mark.parametrize("seed", range(6))
def test_points_of_a_frame_that_names_half_its_window(seed: int) -> None:
    data = text(20_000, seed)
    compressed = renamed(framed(data, 11, 900), 10)
    output, passed = check_law(compressed, spacing=1500, free_spacing=1, windows_apart=1)
    assert (output, passed.damages) == (data, [])  # the library's buffer has room for all of it


def test_points_of_a_frame_with_the_largest_blocks() -> None:
    data = text(MIB)
    compressed = renamed(framed(data, 18, 128 * KIB), 17)
    output, _ = check_law(compressed, spacing=200 * KIB, free_spacing=1, windows_apart=1)
    assert output == data


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", [1, 3, 9, 17])
@pytest.mark.parametrize("step", [500, 128 * KIB])
def test_intact_frames_do_not_and_named_smaller_do(shape: str, level: int, step: int) -> None:
    data = SHAPES[shape](300 * KIB)
    compressed = framed(data, 15, step, level)
    source = BytesSource(compressed)
    assert not reach.reaches_behind(source, whole(compressed))
    assert reach.reaches_behind(source, whole(compressed, 60))


def test_the_bound_is_exact() -> None:
    """A match as far away as the window is large is within it."""
    far = text(2000, 1)
    compressed = framed(far + bytes(2096) + far[:1000], 16, 128 * KIB)
    source = BytesSource(compressed)
    assert not reach.reaches_behind(source, whole(compressed, 4096))
    assert reach.reaches_behind(source, whole(compressed, 4095))


def test_what_cannot_be_read_counts_as_one() -> None:
    compressed = framed(text(10_000), 15, 1000)
    run = whole(compressed)
    assert reach.reaches_behind(BytesSource(compressed[:-10]), run)
    assert reach.reaches_behind(BytesSource(compressed), run._replace(tables=Tables(offsets=5)))


def test_so_does_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = framed(text(100_000), 15, 1000)
    monkeypatch.setattr(reach, "MOST_WORK", 100)
    assert reach.reaches_behind(BytesSource(compressed), whole(compressed))


def test_blocks_of_one_sequence_count_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the tables ready takes longer than what is written with them."""
    encoder = zstandard.ZstdCompressor().compressobj()
    compressed = encoder.compress(b"abcdefgh" * 3) + encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    header = frame.frame_header(compressed[: frame.LONGEST_HEADER], 0)
    assert header
    compressed = compressed[: header.header] + 1000 * compressed[header.header :] + encoder.flush()
    source = BytesSource(compressed)
    assert not reach.reaches_behind(source, whole(compressed))
    monkeypatch.setattr(reach, "MOST_WORK", 10_000)
    assert reach.reaches_behind(source, whole(compressed))
