"""Reading from seek points.

Strategy
At the start of a frame the source is decoded as it is, to its end. Inside a frame the rest of that frame is decoded
behind a header of our own with the point's dictionary, and what follows the frame as it is. The checksum of the frame
that was entered midway is not read; the first pass has checked it. A damaged frame is not gone through, for nothing may
come of it and yet it be refused: at a point behind it the cursor starts anew.

Rules
- Never a byte more than the first pass counted.
- A dictionary is unpacked when a cursor starts at it, checked, and dropped with the cursor.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter

from rofuse_formats.codecs.zstd.decoding import Stretch, rest_of_frame
from rofuse_formats.codecs.zstd.index import Index, Point, read_index
from rofuse_formats.codecs.zstd.points import Seed
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source

SCRATCH = 256 << 10
_decoded = attrgetter("decoded")


def unpack(seed: Seed) -> bytes:
    """The dictionary of a point. Raises IndexDamagedError."""
    import zstandard

    if zlib.crc32(seed.packed) != seed.checksum:
        raise IndexDamagedError("zstd seek index has a damaged dictionary")
    try:
        told = zstandard.get_frame_parameters(seed.packed).content_size
        if told not in (seed.size, zstandard.CONTENTSIZE_UNKNOWN):  # it would count in place of the bound
            raise IndexDamagedError("zstd seek index has a dictionary of another size")
        dictionary = zstandard.ZstdDecompressor().decompress(seed.packed, max_output_size=seed.size)
    except zstandard.ZstdError as error:
        raise IndexDamagedError("zstd seek index has a dictionary that cannot be unpacked") from error
    if len(dictionary) != seed.size:
        raise IndexDamagedError("zstd seek index has a dictionary of another size")
    return dictionary


class Cursor:
    """The codec contract's Cursor. ``anew``: the points ahead at which it starts anew."""

    def __init__(self, source: Source, point: Point, index: Index, anew: Iterator[Point]) -> None:
        self.position = point.decoded
        self._source = source
        self._size = index.size
        self._intact = index.intact
        self._max_window = index.window
        self._following = index.intact
        self._anew = anew
        self._next = next(anew, None)
        if point.seed:
            self._following = point.following
            dictionary = unpack(point.seed)
            self._stretch = rest_of_frame(source, point.offset, point.end, point.descriptor, dictionary)
        else:
            self._stretch = Stretch(source, point.offset, index.intact, index.window)

    def read(self, size: int) -> bytes:
        size = min(size, self._size - self.position)
        if size <= 0:
            return b""
        data = self._stretch.read(self._within(size))
        self.position += len(data)
        while len(data) < size:
            self._go_on()
            more = self._stretch.read(self._within(size - len(data)))
            self.position += len(more)
            data += more
        return data

    def skip(self, size: int) -> None:
        left = min(size, self._size - self.position)
        scratch = memoryview(bytearray(min(max(left, 0), SCRATCH)))
        while left > 0:
            count = self._stretch.readinto(scratch[: self._within(left)])
            self.position += count
            left -= count
            if not count:
                self._go_on()

    def _within(self, size: int) -> int:
        """How many of ``size`` bytes come before it starts anew."""
        return min(size, self._next.decoded - self.position) if self._next else size

    def _go_on(self) -> None:
        """Goes on behind the frame that was entered midway, or where it starts anew."""
        if self._next and self._next.decoded == self.position:
            start, self._next = self._next.offset, next(self._anew, None)
        else:
            start = self._following
            if start == self._intact:
                raise DamagedError(
                    f"zstd data ends early: {self.position} bytes decoded of {self._size}", start
                )
        self._following = self._intact
        self._stretch = Stretch(self._source, start, self._intact, self._max_window)


class Stream:
    """The codec contract's SeekableStream."""

    def __init__(self, source: Source, index: bytes | bytearray | memoryview, limits: Limits) -> None:
        self._source = source
        self._index = read_index(source.size, index)
        if self._index.window > limits.max_window:
            raise LimitError(
                f"a zstd frame needs a window of {self._index.window / MIB:,.0f} MiB, the limit is "
                f"{limits.max_window / MIB:,.0f} MiB; --max-window raises it"
            )
        self.size = self._index.size
        self.points = [point.decoded for point in self._index.points]
        self._anew = [point for point in self._index.points if point.anew]
        self.cursor_bytes = 2 * self._index.window + MIB

    def cursor(self, point: int) -> Cursor:
        points = self._index.points
        first = bisect_right(self._anew, points[point].decoded, key=_decoded)
        return Cursor(self._source, points[point], self._index, islice(self._anew, first, None))
