"""A stream with stretches that are taken from elsewhere reads as one whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats import patches
from rofuse_formats.codecs import Cursor
from rofuse_formats.errors import DamagedError
from rofuse_formats.patches import Patch, Patched, Zeros, patched
from rofuse_formats.streams import BLOCK, BlockCache, decoded_stream

SIZE = 5000
BYTES = bytes(range(1, 251)) * (SIZE // 250)


class Codec:
    """Decodes to ``BYTES``, but for ranges that must not be decoded."""

    cursor_bytes = 1

    def __init__(
        self, points: list[int], broken: Sequence[tuple[int, int]] = (), data: bytes = BYTES
    ) -> None:
        self.size, self.points, self.broken, self.data = len(data), points, broken, data

    def cursor(self, point: int) -> Cursor:
        return _Decoder(self, self.points[point])


class _Decoder:
    def __init__(self, stream: Codec, position: int) -> None:
        self.stream, self.position = stream, position

    def read(self, size: int) -> bytes:
        start, self.position = self.position, min(self.position + size, len(self.stream.data))
        for broken, end in self.stream.broken:
            if start < end and broken < self.position:
                raise DamagedError("decoded what must not be decoded", start)
        return self.stream.data[start : self.position]

    def skip(self, size: int) -> None:
        self.read(size)


class Elsewhere:
    """The same bytes, upside down."""

    def __init__(self, start: int, end: int, points: list[int]) -> None:
        self.start, self.end, self.points = start, end, points

    def read(self, offset: int, size: int) -> bytes:
        assert self.start <= offset < self.end
        return BYTES[offset : min(self.end, offset + min(size, 97))].translate(FLIPPED)


FLIPPED = bytes(255 - byte for byte in range(256))


@st.composite
def stretches(draw: st.DrawFn) -> list[tuple[int, int]]:
    cuts = sorted(draw(st.sets(st.integers(0, SIZE), max_size=8)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


@given(
    stretches(), st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 1200), st.booleans()), max_size=12)
)
def test_it_reads_as_if_written_over(
    ranges: list[tuple[int, int]], steps: list[tuple[int, int, bool]]
) -> None:
    expected = bytearray(BYTES)
    for start, end in ranges:
        expected[start:end] = BYTES[start:end].translate(FLIPPED)
    codec = Codec(sorted({0, 1000, *(end for _start, end in ranges if end < SIZE)}), ranges)
    patches: list[Patch] = [
        Elsewhere(start, end, [start, *range(start + 100, end, 100)]) for start, end in ranges
    ]
    stream = patched(codec, patches)
    assert stream.points[0] == 0 and stream.points == sorted(set(stream.points))
    for position, size, jump in steps:
        cursor = stream.cursor(bisect_right(stream.points, position) - 1)
        begin = cursor.position
        if jump:
            cursor.skip(position - begin)
        else:
            assert cursor.read(position - begin) == expected[begin:position]
        assert cursor.position == position
        assert cursor.read(size) == expected[position : position + size]


def test_nothing_to_patch_is_the_stream_itself() -> None:
    codec = Codec([0])
    assert patched(codec, []) is codec
    assert patched(codec, [Zeros(SIZE, SIZE + 10)]) is codec


def test_a_cursor_that_never_decodes_is_cheap() -> None:
    codec = Codec([0])
    codec.cursor_bytes = 1 << 28
    assert patched(codec, [Zeros(0, SIZE - 1)]).cursor_bytes == 1 << 28
    assert patched(codec, [Zeros(0, 100), Zeros(100, SIZE)]).cursor_bytes <= 1 << 20


def test_of_two_patches_the_later_one_wins() -> None:
    stream = patched(Codec([0]), [Elsewhere(100, 900, [100, 500]), Zeros(300, 600)])
    assert isinstance(stream, Patched)
    flipped = BYTES.translate(FLIPPED)
    whole = BYTES[:100] + flipped[100:300] + bytes(300) + flipped[600:900] + BYTES[900:]
    assert stream.cursor(0).read(SIZE) == whole


def test_a_codec_that_falls_short_is_an_error() -> None:
    class Short(Codec):
        def __init__(self) -> None:
            super().__init__([0], data=BYTES[:1000])
            self.size = SIZE

    stream = patched(Short(), [Zeros(500, 2000)])
    with pytest.raises(DamagedError, match="ends before byte 2000"):
        stream.cursor(0).read(SIZE)


def test_what_failed_its_check_is_an_error_for_its_reader_and_for_nobody_else() -> None:
    data = bytes(range(250)) * 4000
    bad = (BLOCK + 10, 3 * BLOCK - 20)
    codec = Codec([0, bad[1]], [bad], data)
    stream = decoded_stream(codec, BlockCache(), 0, [bad], None, salvage=False)
    assert stream.pread(bad[0], 0) == data[: bad[0]]
    assert stream.pread(5000, bad[1]) == data[bad[1] : bad[1] + 5000]
    for offset, size in ((0, bad[0] + 1), (bad[0], 1), (bad[1] - 1, 100), (0, len(data))):
        with pytest.raises(DamagedError, match="--salvage"):
            stream.read(offset, size)
    codec.broken = ()
    assert decoded_stream(codec, BlockCache(), 0, [bad], None, salvage=True).pread(len(data), 0) == data


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=8))
def test_the_later_patch_wins(ranges: list[tuple[int, int]]) -> None:
    """Wherever they lie, and whatever of others they lie over."""
    expected: list[int | None] = [None] * 60
    for number, (start, size) in enumerate(ranges):
        for place in range(start, min(start + size, 60)):
            expected[place] = number
    stream = patched(Codec([0], data=BYTES[:60]), [_Numbered(n, s, s + z) for n, (s, z) in enumerate(ranges)])
    found: list[int | None] = []
    for place in range(60):
        patch = stream.patch_at(place) if isinstance(stream, Patched) else None
        found.append(None if patch is None else patch.read(place, 1)[0])
    assert found == expected


class _Numbered:
    def __init__(self, number: int, start: int, end: int) -> None:
        self.start, self.end, self.points, self._number = start, end, [start], number

    def read(self, offset: int, size: int) -> bytes:
        assert self.start <= offset < self.end
        return bytes([self._number]) * min(size, self.end - offset)


def test_many_patches_are_compared_with_those_that_they_lie_over() -> None:
    many: list[Patch] = [Zeros(4 * number, 4 * number + 2) for number in range(1000)]
    with mock.patch.object(patches, "_without", wraps=patches._without) as without:
        stream = patched(Codec([0]), [*many, Zeros(3001, 3010)])
    assert isinstance(stream, Patched) and len(stream.patches) == 1001 - 2
    assert without.call_count == 3


def test_what_is_suspect_is_refused_in_whatever_order_it_is_told() -> None:
    suspect = [(3000, 3100), (10, 20), (500, 600), (520, 530), (20, 30)]
    stream = decoded_stream(
        Codec([0, *(end for _start, end in suspect)]), BlockCache(), 0, suspect, None, False
    )
    for start, end in suspect:
        for at in (start, end - 1):
            with pytest.raises(DamagedError, match="failed its check"):
                stream.read(at, 1)
    for at, size in ((0, 10), (30, 470), (600, 2400), (3100, 1900)):
        assert b"".join(stream.read(at, size)) == BYTES[at : at + size]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda at: (at[0], sum(at))), max_size=8)
)
def test_merged_ranges_cover_the_same(ranges: list[tuple[int, int]]) -> None:
    found = patches.merged(ranges)
    assert {n for start, end in found for n in range(start, end)} == {n for r in ranges for n in range(*r)}
    assert all(end < start for (_start, end), (start, _end) in pairwise(found))
