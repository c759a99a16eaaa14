"""Random reads equal the original, whatever the data, the encoder and its options."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.zstd import CODEC, entropy, frame, index, planner, points
from rofuse_formats.codecs.zstd.first_pass import FirstPass
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from tests.formats.zstd_support import (
    KIB,
    MIB,
    SHAPES,
    BytesSource,
    check_all_points,
    check_reads,
    close_points,
    decoded,
    mixed,
    read_at,
    records,
    text,
    zstd,
)

SMALL_WINDOW = "--zstd=wlog=17"


def random_offsets(size: int, count: int = 25) -> list[int]:
    return [0, size - 1, size, *random.Random(7).sample(range(size), count)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options",
    [
        ("-1",),
        ("-1", SMALL_WINDOW),
        ("--fast=5", SMALL_WINDOW),
        ("-3", SMALL_WINDOW),
        ("-3", SMALL_WINDOW, "--no-check"),
        ("-3", SMALL_WINDOW, "--check"),
        ("-9", SMALL_WINDOW),
        ("-19", "--zstd=wlog=15"),
        ("-5", "--zstd=wlog=10"),
        ("-3", "--long=18"),
    ],
    ids=" ".join,
)
def test_random_reads(shape: str, options: tuple[str, ...]) -> None:
    data = SHAPES[shape](3 * MIB)
    output, stream = close_points(zstd(data, *options))
    assert output == data
    check_all_points(stream, data)
    check_reads(stream, data, random_offsets(len(data)))
    if SMALL_WINDOW in options:
        assert len(stream.points) > 5


@pytest.mark.parametrize("options", [("--ultra", "-22"), ("--long=27",)], ids=" ".join)
def test_large_windows(options: tuple[str, ...]) -> None:
    data = mixed(2 * MIB)
    output, stream = close_points(zstd(data, *options))
    assert output == data
    check_reads(stream, data, random_offsets(len(data)))


def test_single_segment_frame_has_points() -> None:
    data = text(3 * MIB)
    compressed = zstandard.ZstdCompressor(level=19).compress(data)
    assert compressed[4] & 0x20, "made as a single segment"
    first_pass = FirstPass(BytesSource(compressed), Limits(), spacing=MIB, free_spacing=1, windows_apart=0)
    assert b"".join(first_pass) == data
    stream = CODEC.open(BytesSource(compressed), first_pass.index(), Limits())
    check_all_points(stream, data)
    assert len(stream.points) > 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 32),
    level=st.sampled_from((-5, 1, 2, 3, 4, 5, 7, 9, 12, 13, 16, 18, 19)),
    window_log=st.integers(10, 19),
    flush=st.sampled_from((0, 1_000, 30_000)),
    checksum=st.booleans(),
    frames=st.integers(1, 3),
)
def test_law_of_random_reads(
    seed: int, level: int, window_log: int, flush: int, checksum: bool, frames: int
) -> None:
    """Encoders that end blocks early (flush) leave short blocks, which repeat tables and send tables of one symbol."""
    rng = random.Random(seed)
    pieces, outputs = [], []
    for _ in range(frames):
        data = SHAPES[rng.choice(sorted(SHAPES))](rng.randrange(1, MIB), seed)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, window_log=window_log, write_checksum=checksum
        )
        encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        at = 0
        while at < len(data):
            size = rng.randrange(1, 2 * flush) if flush else len(data)
            pieces.append(encoder.compress(data[at : at + size]))
            pieces.append(encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            at += size
        pieces.append(encoder.flush())
        outputs.append(data)
    expected = b"".join(outputs)
    output, stream = close_points(b"".join(pieces), spacing=16 * KIB)
    assert output == expected
    check_all_points(stream, expected)
    check_reads(stream, expected, (rng.randrange(len(expected)) for _ in range(10)))


def seeds_of(compressed: bytes, **spacings: int) -> tuple[list[points.Boundary], list[points.Seed | None]]:
    """All boundaries that a first pass tried, and what came of them."""
    boundaries, seeds = [], []
    make_seed = points.make_seed

    def recording(
        source: Source, boundary: points.Boundary, follow: Sequence[bytes | memoryview], size: int, end: int
    ) -> points.Seed | None:
        seed = make_seed(source, boundary, follow, size, end)
        boundaries.append(boundary)
        seeds.append(seed)
        return seed

    points.make_seed = recording
    try:
        decoded(compressed, **spacings)
    finally:
        points.make_seed = make_seed
    return boundaries, seeds


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", ["-1", "-3", "-9", "-19"])
def test_hardly_a_point_fails_its_proof(shape: str, level: str) -> None:
    """A dropped point is no error, but would be a fault of ours."""
    compressed = zstd(SHAPES[shape](3 * MIB), level, SMALL_WINDOW)
    _, seeds = seeds_of(compressed, spacing=128 * KIB, windows_apart=1)
    assert len(seeds) > 5
    assert None not in seeds


def stitched(size: int) -> bytes:
    """Pieces of one page, an x between them: all literals of a block may be that x."""
    rng = random.Random(9)
    page = rng.randbytes(60_000)
    starts = (rng.randrange(len(page) - 200) for _ in range(size // 130))
    return page + b"x".join(page[start : start + rng.randrange(60, 200)] for start in starts)


def test_modes_of_tables_that_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data above reaches every way in which a table or literals can be given, before a boundary."""
    modes: set[tuple[int, int]] = set()
    literals: set[int] = set()

    def recording(block: bytes | memoryview) -> entropy.Layout:
        found = entropy.block_layout(block)
        if found.sequences:
            modes.update(enumerate(found.modes))
        literals.add(block[0] & 3)
        return found

    monkeypatch.setattr(planner, "block_layout", recording)
    for level in ("-1", "-3", "-19"):
        for shape in (*SHAPES.values(), stitched):
            decoded(zstd(shape(2 * MIB), level, SMALL_WINDOW), spacing=256 * KIB, windows_apart=1)
    encoder = zstandard.ZstdCompressor(level=1).compressobj()
    parts: list[bytes] = []
    for line in text(400 * KIB).splitlines():
        parts += (encoder.compress(line * 20), encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    decoded(b"".join((*parts, encoder.flush())), spacing=16 * KIB, windows_apart=0)
    assert literals == {0, 1, 2, 3}
    assert modes >= {
        (code, mode) for code in range(3) for mode in (entropy.PREDEFINED, entropy.FSE, entropy.REPEAT)
    }
    assert {mode for _, mode in modes} == {0, 1, 2, 3}


def test_unused_window_is_not_kept() -> None:
    """Of a window that is hardly referred to, hardly anything is stored."""
    data = b"".join(text(700 * KIB, seed) for seed in range(6))
    compressed = zstd(data, "-3", "--zstd=wlog=20")
    _, first_pass = decoded(compressed, spacing=1 * MIB, windows_apart=1)
    noise = random.Random(1).randbytes(4 * MIB)
    _, of_noise = decoded(zstd(noise, "-3", "--zstd=wlog=20"), spacing=1 * MIB, windows_apart=1)
    assert len(of_noise.index()) < 2_000
    assert 10_000 < len(first_pass.index()) < len(compressed) // 2


def test_points_between_raw_blocks_and_between_rle_blocks() -> None:
    for data in (random.Random(1).randbytes(2 * MIB), bytes(2 * MIB), b"ab" * MIB):
        output, stream = close_points(zstd(data, "-1", SMALL_WINDOW))
        assert output == data
        check_all_points(stream, data)


def test_index_is_canonical() -> None:
    compressed = zstd(text(2 * MIB), "-3", SMALL_WINDOW)
    indexes = {decoded(compressed, spacing=128 * KIB, windows_apart=1)[1].index() for _ in range(3)}
    assert len(indexes) == 1


def test_open_takes_any_bytes_like() -> None:
    compressed = zstd(text(2 * MIB), "-3", SMALL_WINDOW)
    output, first_pass = decoded(compressed, spacing=128 * KIB, windows_apart=1)
    source, index = BytesSource(compressed), first_pass.index()
    for kind in (bytes, bytearray, memoryview):
        stream = CODEC.open(source, kind(index), Limits())
        check_reads(stream, output, (1_000_000,))


def test_cursor_counts_and_ends() -> None:
    data = text(MIB)
    _, stream = close_points(zstd(data, "-3", SMALL_WINDOW))
    cursor = stream.cursor(2)
    assert cursor.position == stream.points[2]
    assert cursor.read(0) == b""
    cursor.skip(0)
    cursor.skip(1000)
    assert cursor.position == stream.points[2] + 1000
    assert cursor.read(1 << 40) == data[stream.points[2] + 1000 :]
    assert cursor.position == len(data)
    assert cursor.read(1) == b""
    cursor.skip(10)
    assert cursor.position == len(data)


def test_points_are_as_far_apart_as_asked() -> None:
    data = text(4 * MIB)
    _, first_pass = decoded(zstd(data, "-1", SMALL_WINDOW), spacing=512 * KIB, windows_apart=1)
    stream = CODEC.open(BytesSource(zstd(data, "-1", SMALL_WINDOW)), first_pass.index(), Limits())
    gaps = [b - a for a, b in zip(stream.points, stream.points[1:], strict=False)]
    assert min(gaps) >= 512 * KIB
    assert max(gaps) <= 512 * KIB + planner.CANDIDATES * 128 * KIB + 256 * KIB
    _, first_pass = decoded(zstd(data, "-1", "--zstd=wlog=19"), spacing=1, windows_apart=4)
    stream = CODEC.open(BytesSource(zstd(data, "-1", "--zstd=wlog=19")), first_pass.index(), Limits())
    assert len(stream.points) == 2


def test_nothing_is_decoded_beyond_what_was_counted() -> None:
    """An index that knows less than the source holds: the rest does not exist."""
    data = text(MIB)
    compressed = zstd(data[: MIB // 2]) + zstd(data[MIB // 2 :])
    _, first_pass = decoded(compressed[: len(compressed) - 10])
    index = bytearray(first_pass.index())
    struct.pack_into("<Q", index, 8, len(compressed))
    table = index.rindex(struct.pack("<I", zlib.crc32(decoded(compressed[:-10])[1].index()[:-4])))
    struct.pack_into("<I", index, table, zlib.crc32(index[:table]))
    stream = CODEC.open(BytesSource(compressed), bytes(index), Limits())
    assert stream.size < MIB
    assert read_at(stream, stream.size - 10, 100) == data[stream.size - 10 : stream.size]


def test_long_matches_at_repeated_offsets() -> None:
    """Blocks of few sequences leave repeated offsets of many blocks before in force."""
    data = records(4 * MIB)
    for level in ("-1", "-5", "-19"):
        output, stream = close_points(zstd(data, level, "--zstd=wlog=16"))
        assert output == data
        check_all_points(stream, data)
        assert len(stream.points) > 5


def test_a_block_that_is_damaged_right_behind_a_point_leaves_no_point() -> None:
    """Nothing follows it that could be read from there; what follows the frame can."""
    data = text(2 * MIB)
    whole = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(
            3, window_log=15, write_content_size=True
        )
    ).compress(data)
    _, sound = decoded(whole, spacing=256 * KIB)
    points = [point for point in index.read_index(len(whole), sound.index()).points if point.seed]
    assert points
    for point in points:
        broken = bytearray(whole)
        broken[point.offset + frame.BLOCK_HEADER] |= 0xFF
        broken[point.offset + frame.BLOCK_HEADER + 1 :][:20] = bytes(20)
        compressed = bytes(broken) + whole
        output, passed = decoded(compressed, spacing=256 * KIB)
        assert passed.damages
        stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
        assert len(output) == 2 * len(data)
        assert read_at(stream, len(data), 1000) == data[:1000]
