"""Random reads equal the original; indexes and cursors keep the contract; what happens without libz or isal."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.gzip import CODEC, cursor, first_pass
from rofuse_formats.deflate import inflate, libz
from rofuse_formats.deflate.points import INSIDE
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.seek_index import read
from tests.formats.gzip_support import (
    blocks,
    check_all_points,
    check_reads,
    close_points,
    decoded,
    members,
    opened,
    read_at,
    small_blocks,
    tool,
)
from tests.formats.zstd_support import KIB, MIB, SHAPES, BytesSource, records, text


def random_offsets(size: int, count: int = 25) -> list[int]:
    return [0, size - 1, size, *random.Random(7).sample(range(size), count)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", [1, 6, 9])
def test_random_reads(shape: str, level: int) -> None:
    data = SHAPES[shape](MIB)
    output, stream = close_points(small_blocks(data, level))
    assert output == data
    assert len(stream.points) > 5
    check_all_points(stream, data)
    check_reads(stream, data, random_offsets(len(data)))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_law_of_random_reads(seed: int) -> None:
    """Members of any kind one after the other, zeros between some."""
    chance = random.Random(seed)
    parts, expected = [], b""
    for _ in range(chance.randrange(1, 6)):
        data = SHAPES[chance.choice(sorted(SHAPES))](chance.randrange(300 * KIB), seed)
        make = chance.choice((small_blocks, blocks, gzip.compress, lambda data: members(data, 5000)))
        parts.append(make(data) + bytes(chance.choice((0, 0, 1, 1000))))
        expected += data
    output, stream = close_points(b"".join(parts), spacing=16 * KIB)
    assert output == expected
    check_all_points(stream, expected)
    check_reads(stream, expected, (chance.randrange(len(expected) + 1) for _ in range(10)))


def test_points_are_as_far_apart_as_asked() -> None:
    data = records(4 * MIB)
    stream = close_points(small_blocks(data, 1), spacing=512 * KIB)[1]
    gaps = [b - a for a, b in zip(stream.points, stream.points[1:], strict=False)]
    assert len(gaps) == 7
    assert all(512 * KIB <= gap <= 544 * KIB for gap in gaps)


def test_index_is_small_and_canonical() -> None:
    compressed = tool("gzip", text(MIB) * 12)
    passes = [first_pass.FirstPass(BytesSource(compressed)) for _ in range(2)]
    assert all(sum(map(len, each)) == 12 * MIB for each in passes)
    index = passes[0].index()
    assert index == passes[1].index()
    assert len(index) < len(compressed) // 100
    assert len(opened(compressed, passes[0]).points) == 3


def test_open_takes_any_bytes_like() -> None:
    data = text(MIB)
    compressed = small_blocks(data)
    index = decoded(compressed)[1].index()
    for kind in (bytes, bytearray, memoryview):
        check_reads(CODEC.open(BytesSource(compressed), kind(index), Limits()), data, (700_000,))


@pytest.mark.parametrize("make", [small_blocks, blocks, lambda data: members(data, 10_000)])
def test_cursor_counts_and_ends(make: type) -> None:
    data = text(MIB)
    stream = close_points(make(data))[1]
    here = stream.cursor(2)
    assert here.position == stream.points[2]
    assert here.read(0) == b""
    here.skip(0)
    here.skip(1000)
    assert here.position == stream.points[2] + 1000
    assert here.read(1 << 40) == data[stream.points[2] + 1000 :]
    assert here.position == len(data)
    assert here.read(1) == b""
    here.skip(10)
    assert here.position == len(data)
    here = stream.cursor(0)
    here.skip(1 << 40)
    assert here.position == len(data)


@pytest.mark.parametrize("make", [small_blocks, blocks, lambda data: members(data, 100_000)])
def test_cursor_verifies_members_that_it_read_from_their_start(make: type) -> None:
    """The source changes in a place that only the check sees: a literal of a stored block."""
    data = random.Random(1).randbytes(MIB)
    compressed = make(data)
    for at in (1000, len(data) - 1000):
        at = next(place for place in range(at, at + 900) if data[place : place + 20] in compressed)
        stream = close_points(compressed)[1]
        source = stream._source
        assert isinstance(source, BytesSource)
        place = compressed.index(data[at : at + 20])
        source.data = compressed[:place] + bytes((compressed[place] ^ 1,)) + compressed[place + 1 :]
        with pytest.raises(DamagedError, match="check"):
            stream.cursor(0).read(len(data))
        with pytest.raises(DamagedError, match="check"):
            stream.cursor(0).skip(len(data))


# What may be missing


@pytest.fixture
def no_libz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libz, "library", lambda: None)


@pytest.mark.usefixtures("no_libz")
def test_without_libz_long_members_are_unseekable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_pass, "LONG", 500_000)
    data = text(2 * MIB) * 2
    parts = (gzip.compress(data[:300_000]), small_blocks(data[300_000 : 3 * MIB], 1), blocks(data[3 * MIB :]))
    compressed = b"".join(parts)
    passed = first_pass.FirstPass(BytesSource(compressed), free_spacing=1)
    chunks = [(passed.unseekable, chunk) for chunk in passed]
    assert b"".join(chunk for _, chunk in chunks) == data
    assert b"".join(chunk for unseekable, chunk in chunks if unseekable) == data[300_000 : 3 * MIB]
    assert len(passed.warnings) == 1
    assert "libz" in passed.warnings[0]
    stream = opened(compressed, passed)
    assert stream.points[:3] == [0, 300_000, 3 * MIB]
    assert not any(point.detail == INSIDE for point in stream._index.points)
    check_all_points(stream, data)


@pytest.mark.usefixtures("no_libz")
def test_without_libz_short_members_are_as_ever() -> None:
    data = text(MIB)
    for compressed in (gzip.compress(data), members(data, 10_000), blocks(data)):
        output, passed = decoded(compressed)
        assert (output, passed.damages, passed.warnings) == (data, [], [])
        assert not passed.unseekable
        check_reads(opened(compressed, passed), data, random_offsets(len(data)))


@pytest.mark.usefixtures("no_libz")
@pytest.mark.parametrize("most", [100_000, 8 * MIB])
def test_without_libz_damage_is_told(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(first_pass, "LONG", most)
    data = text(3 * MIB)
    compressed = gzip.compress(data)
    output, passed = decoded(compressed[: len(compressed) // 2])
    assert data.startswith(output)
    assert len(output) > MIB
    assert [type(damage).__name__ for damage in passed.damages] == ["TruncatedError"]
    assert passed.suspect == []
    output, passed = decoded(compressed[:-8] + bytes(4) + compressed[-4:] + gzip.compress(data))
    assert output == data * 2
    assert passed.suspect == [(0, len(data))]
    assert (
        len(data) in opened(compressed[:-8] + bytes(4) + compressed[-4:] + gzip.compress(data), passed).points
    )


def test_isal_and_zlib_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = text(MIB)
    for compressed in (small_blocks(data), blocks(data)):
        output, passed = decoded(compressed)
        index = passed.index()
        monkeypatch.setattr(inflate, "fastest", lambda: inflate.ZLIB)
        monkeypatch.setattr(cursor, "fastest", lambda: inflate.ZLIB)
        again, passed = decoded(compressed)
        assert (again, passed.index()) == (output, index)
        check_all_points(opened(compressed, passed), data)
        monkeypatch.undo()


def test_cursor_bytes_are_honest() -> None:
    """What a cursor holds after a long read and before the next, libraries' own tables (some 200 KiB) aside."""
    data = random.Random(1).randbytes(4 * MIB)
    stream = close_points(gzip.compress(data, 1))[1]
    here = stream.cursor(0)
    here.skip(3 * MIB)
    assert len(here._feed.data) <= cursor.LARGEST_READ
    assert stream.cursor_bytes >= 2 * cursor.LARGEST_READ + 300_000


def test_a_point_in_a_member_is_kept_in_bits() -> None:
    data = text(MIB)
    compressed = small_blocks(data)
    points = read(cursor.MAGIC, decoded(compressed)[1].index(), len(compressed), 1 << 15).points
    assert len({point.offset % 8 for point in points}) > 3
    assert read_at(close_points(compressed)[1], 500_000, 10) == data[500_000:500_010]
