"""A large deflated member as a stream that can be sought in.

Strategy
The cursor that comes from the beginning makes seek points on its way; all others start at those that there are. If it
is given up half-way, the next one that comes from the beginning goes on with it where the last point is.

Rules
- Points are only ever appended, by one cursor at a time: who counts on one finds it there.
- They live as long as the member is open; they are not kept in the index, which was written before the member was read.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

from rofuse_formats.archives.zip import methods
from rofuse_formats.archives.zip.local import matching
from rofuse_formats.archives.zip.member import Check, Checker, MemberCursor
from rofuse_formats.deflate import libz
from rofuse_formats.deflate.decoding import Decoding
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.points import SPACING, Points
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.entry import PackedMember
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

SEEKABLE = 2 * SPACING
"""Bytes of a member from which on points are worth making."""

_LARGEST_READ = MIB // 4
_MOST_POINTS = 1 << 11  # whatever the size that a member claims
_POINT = 512  # bytes of memory, about, besides the window


class DeflatedStream:
    """The codec contract's SeekableStream; more ``points`` may be there at any time."""

    cursor_bytes = MIB // 2

    def __init__(self, source: Source, member: PackedMember, row: int, size: int, checker: Checker) -> None:
        self.size = size
        self.points = [0]
        self._source, self._row, self._checker = source, row, checker
        self._start = matching(source, member).data
        self._end, self._crc = self._start + member.packed, member.crc
        self._made = Points(source, max(SPACING, size // _MOST_POINTS))
        self._lock = threading.Lock()
        self._maker: weakref.ref[_Maker] | None = None

    @property
    def held(self) -> int:
        """Bytes that its points take."""
        made = self._made.made[: len(self.points)]
        return sum(_POINT + (len(point.window.packed) if point.window else 0) for point in made)

    def cursor(self, point: int) -> MemberCursor:
        if point == 0:
            check = Check(self._checker, self._row, self._crc)
            return MemberCursor(self._from_beginning(), 0, self.size, check)
        found = self._made.made[point]
        window = found.window.unpack() if found.window else b""
        reader = Reader(self._feed(), found.offset, window)
        return MemberCursor(reader, found.decoded, self.size, None)

    def _feed(self) -> Feed:
        return Feed(self._source, self._end, largest=_LARGEST_READ)

    def _from_beginning(self) -> methods.Decoder:
        with self._lock:
            if self._maker is None or self._maker() is None:
                inflater = libz.inflater()
                if inflater is not None:
                    maker = _Maker(self, Decoding(self._feed(), self._start, inflater, self._made))
                    self._maker = weakref.ref(maker)
                    return maker
        return Reader(self._feed(), 8 * self._start)

    def tell(self) -> None:
        """Lets be used what points were made."""
        made = self._made.made
        for number in range(len(self.points), len(made)):
            self.points.append(made[number].decoded)

    def ended(self) -> None:
        """No more points will come."""
        self._made.close()


class _Maker:
    """A decoder that makes points."""

    def __init__(self, stream: DeflatedStream, decoding: Decoding) -> None:
        self._stream = stream
        self._pieces: Iterator[bytes] = iter(decoding)
        self._piece = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._piece:
            piece = next(self._pieces, None)
            self._stream.tell()
            if piece is None:
                self._stream.ended()
                return b""
            self._piece = memoryview(piece)
        data, self._piece = self._piece[:size], self._piece[size:]
        return bytes(data)
