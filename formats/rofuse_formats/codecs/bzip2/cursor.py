"""Reading from seek points, and the index that keeps them.

In the index a point's place is the bit offset of a block, its detail whether that block is the first of its stream:
then the stream's combined checksum is verified when its end is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from rofuse_formats import seek_index
from rofuse_formats.codecs.bzip2.block import PIECE, Block, decode_at
from rofuse_formats.codecs.bzip2.walk import CombinedChecksumError, Walk
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.seek_index import Point, SeekIndex
from rofuse_formats.source import Source

MAGIC = b"RObzip2\1"
CURSOR_BYTES = PIECE + (6 << 20)
"""A decoder (3.7 MB), a block's bits, and what they decode to; between two reads only the last."""


def write_index(source_size: int, intact: int, size: int, points: list[Point]) -> bytes:
    return seek_index.write(MAGIC, SeekIndex(source_size, intact, size, 0, points))


class Cursor:
    """The codec contract's Cursor."""

    def __init__(self, source: Source, index: SeekIndex, point: Point, likely: Mapping[int, int]) -> None:
        self.position = point.decoded
        self._size, self._intact = index.size, index.intact
        self._pieces = _pieces(source, index.intact, point, likely)
        self._piece = memoryview(b"")  # decoded, not yet read

    def read(self, size: int) -> bytes:
        return b"".join(self._next(size))

    def skip(self, size: int) -> None:
        for _piece in self._next(size):
            pass

    def _next(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes in pieces."""
        left = min(size, self._size - self.position)
        while left > 0:
            if not self._piece:
                self._piece = memoryview(self._decode())
            piece, self._piece = self._piece[:left], self._piece[left:]
            self.position += len(piece)
            left -= len(piece)
            yield piece

    def _decode(self) -> bytes:
        piece = next(self._pieces, b"")
        if not piece:
            raise DamagedError(
                f"bzip2 data ends early: {self.position} bytes decoded of {self._size}", self._intact
            )
        return piece


def _pieces(source: Source, intact: int, point: Point, likely: Mapping[int, int]) -> Iterator[bytes]:
    def decode(start: int) -> Block:
        return decode_at(source, start, intact * 8, likely.get(start, 0))

    for found in Walk(source, decode, intact, point.offset, bool(point.detail)):
        if isinstance(found, Block):
            yield from found.pieces()
        elif isinstance(found, CombinedChecksumError):  # other damage that is passed by takes nothing away
            raise found


class Stream:
    """The codec contract's SeekableStream."""

    cursor_bytes = CURSOR_BYTES

    def __init__(self, source: Source, data: bytes | bytearray | memoryview) -> None:
        self._source = source
        self._index = seek_index.read(MAGIC, data, source.size)
        _check(self._index)
        self.size = self._index.size
        self.points = [point.decoded for point in self._index.points]
        # As a rule a block ends where the next point is: that saves the search for its end.
        self._likely = dict(pairwise(point.offset for point in self._index.points))

    def cursor(self, point: int) -> Cursor:
        return Cursor(self._source, self._index, self._index.points[point], self._likely)


def _check(index: SeekIndex) -> None:
    points = index.points
    ascending = all(a.offset < b.offset for a, b in pairwise(points))
    if not ascending or points[-1].offset > index.intact * 8 or any(point.detail > 1 for point in points):
        raise IndexDamagedError("bzip2 seek index has its points in disorder")
