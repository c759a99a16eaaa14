"""Reading from seek points, and the index that keeps them.

In the index a point's place is the offset of a frame, or of a block: then its detail is the frame's descriptor, and its
window, where blocks are linked, the output before it. The index's word is the size of the largest block.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from rofuse_formats import seek_index
from rofuse_formats.codecs.lz4.blocks import WINDOW, Blocks, Content
from rofuse_formats.codecs.lz4.frame import LARGEST_BLOCK, described, next_frame
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.seek_index import Point, SeekIndex
from rofuse_formats.source import Source

MAGIC = b"ROlz4\0\0\1"


def write_index(source_size: int, intact: int, size: int, largest: int, points: list[Point]) -> bytes:
    return seek_index.write(MAGIC, SeekIndex(source_size, intact, size, largest, points))


class Cursor:
    """The codec contract's Cursor."""

    def __init__(self, source: Source, index: SeekIndex, point: Point) -> None:
        self.position = point.decoded
        self._size, self._intact = index.size, index.intact
        self._blocks = _decoded_blocks(source, index.intact, point)
        self._block = memoryview(b"")  # what of the last one was not yet read

    def read(self, size: int) -> bytes:
        return b"".join(self._next(size))

    def skip(self, size: int) -> None:
        for _piece in self._next(size):
            pass

    def _next(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes in pieces."""
        left = min(size, self._size - self.position)
        while left > 0:
            if not self._block:
                self._block = memoryview(self._decode())
            piece, self._block = self._block[:left], self._block[left:]
            self.position += len(piece)
            left -= len(piece)
            yield piece

    def _decode(self) -> bytes:
        block = next(self._blocks, b"")
        if not block:
            raise DamagedError(
                f"LZ4 data ends early: {self.position} bytes decoded of {self._size}", self._intact
            )
        return block


def _decoded_blocks(source: Source, end: int, point: Point) -> Iterator[bytes]:
    """What the blocks from a point on decode to, none empty."""
    offset, frame = point.offset, described(point.detail) if point.detail else None
    if frame:
        window = point.window.unpack() if point.window else b""
        blocks = Blocks(source, frame, offset, end)
        yield from _decoded(blocks, Content(frame, whole=False, window=window))
        offset = blocks.position
    while found := next_frame(source, offset, end):
        start, frame = found
        blocks = Blocks(source, frame, start + frame.header, end)
        yield from _decoded(blocks, Content(frame, whole=True))
        offset = blocks.position


def _decoded(blocks: Blocks, content: Content) -> Iterator[bytes]:
    for block in blocks:
        data = content.decode(block)
        content.add(data)
        if data:
            yield data
    content.verify_size(blocks.position)
    content.verify_checksum(blocks.checksum, blocks.position)


class Stream:
    """The codec contract's SeekableStream."""

    def __init__(self, source: Source, data: bytes | bytearray | memoryview) -> None:
        self._source = source
        self._index = seek_index.read(MAGIC, data, source.size, WINDOW)
        _check(self._index)
        self.size = self._index.size
        self.points = [point.decoded for point in self._index.points]
        # a block as stored, and twice decoded in the library
        self.cursor_bytes = 3 * self._index.word + MIB // 4

    def cursor(self, point: int) -> Cursor:
        return Cursor(self._source, self._index, self._index.points[point])


def _check(index: SeekIndex) -> None:
    points = index.points
    ascending = all(a.offset < b.offset for a, b in pairwise(points))
    if not ascending or points[-1].offset > index.intact or index.word > LARGEST_BLOCK:
        raise IndexDamagedError("LZ4 seek index has its points in disorder")
    for point in points:
        frame = described(point.detail) if point.detail else None
        if bool(frame) != bool(point.detail) or bool(point.window) != bool(frame and frame.linked):
            raise IndexDamagedError("LZ4 seek index has a point that cannot be")
