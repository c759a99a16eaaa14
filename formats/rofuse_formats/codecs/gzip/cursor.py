"""Reading from seek points.

Strategy
At the start of a member its header is read and its data decoded; inside a member decoding starts at a block, behind its
window. Either way it goes on through the members that follow.

Rules
- Never a byte more than the first pass counted.
- A member that was decoded from its start is held against its trailer; of one entered midway the first pass has done
  so.
- A window is unpacked when a cursor starts at it, checked, and dropped.
"""

from __future__ import annotations

from itertools import pairwise

from rofuse_formats import seek_index
from rofuse_formats.codecs.gzip import member
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.inflate import LARGEST_WINDOW, ZLIB, fastest
from rofuse_formats.deflate.points import INSIDE, START
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.seek_index import Point, SeekIndex
from rofuse_formats.source import Source

MAGIC = b"ROgzip\0\1"
LARGEST_READ = MIB // 4
SCRATCH = MIB // 4


class Cursor:
    """The codec contract's Cursor."""

    def __init__(self, source: Source, point: Point, index: SeekIndex, starts: dict[int, int]) -> None:
        self.position = point.decoded
        self._size = index.size
        self._sound = bool(index.word)  # nothing was damaged: the last member, too, is whole
        self._library = fastest() if self._sound else ZLIB
        self._starts = starts
        self._feed = Feed(source, index.intact, largest=LARGEST_READ)
        self._next = point.offset // 8  # where the next member is, while there is no reader
        self._reader: Reader | None = None
        self._check: member.Check | None = None
        if point.detail == INSIDE:
            window = point.window.unpack() if point.window else b""
            self._reader = Reader(self._feed, point.offset, window, self._library)

    def read(self, size: int) -> bytes:
        parts, size = [], min(size, self._size - self.position)
        while size > 0:
            data = self._some(size)
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        size = min(size, self._size - self.position)
        while size > 0:
            size -= len(self._some(min(size, SCRATCH)))

    def _some(self, size: int) -> bytes:
        """Some bytes, at most ``size``, which there must be."""
        data = b""
        while not data:
            reader = self._reader or self._enter()
            data = reader.read(size)
            if not data:
                self._leave(reader)
        self.position += len(data)
        if self._check:
            self._check.add(data)
            if self.position == self._size and self._sound:
                self._finish()
        return data

    def _enter(self) -> Reader:
        """Begins with the next member. A point that is there is believed more than what comes first in the source: of a
        damaged member without output, nothing tells but that point."""
        offset = self._starts.get(self.position, self._next)
        offset = member.after_padding(self._feed, max(offset, self._next))
        header = member.header(self._feed, offset)
        self._reader = Reader(self._feed, 8 * (offset + header.length), library=self._library)
        self._check = member.Check()
        return self._reader

    def _leave(self, reader: Reader) -> None:
        """A member is at its end."""
        trailer = reader.offset
        if self._check and not all(self._check.agrees(self._feed, trailer)):
            raise member.failed_check(trailer)
        self._reader = self._check = None
        self._next = trailer + member.TRAILER.size

    def _finish(self) -> None:
        """The last byte was read: nobody would come to ask for the check of its member."""
        reader = self._reader
        if reader and reader.read(1):
            message = f"gzip data does not end after {self._size} bytes; it was changed"
            raise DamagedError(message, reader.offset)
        if reader:
            self._leave(reader)


class Stream:
    """The codec contract's SeekableStream."""

    cursor_bytes = MIB

    def __init__(self, source: Source, index: bytes | bytearray | memoryview) -> None:
        self._source = source
        self._index = seek_index.read(MAGIC, index, source.size, LARGEST_WINDOW)
        _verify(self._index)
        self.size = self._index.size
        self.points = [point.decoded for point in self._index.points]
        self._starts = {
            point.decoded: point.offset // 8 for point in self._index.points if point.detail == START
        }

    def cursor(self, point: int) -> Cursor:
        return Cursor(self._source, self._index.points[point], self._index, self._starts)


def _verify(index: SeekIndex) -> None:
    """Raises IndexDamagedError for points that cannot be."""
    ascending = all(a.offset < b.offset for a, b in pairwise(index.points))
    plausible = all(
        point.offset <= 8 * index.intact
        and (point.detail == INSIDE or (point.detail == START and not point.offset % 8 and not point.window))
        for point in index.points
    )
    if not (ascending and plausible):
        raise IndexDamagedError("seek index has a point that cannot be")
