"""A large deflated member as a stream that can be sought in.

Strategy
The cursor that comes from the beginning makes seek points on its way; all others start at those that there are. If it
is given up half-way, the next one that comes from the beginning goes on with it where the last point is.

Rules
- Points are only ever appended, by one cursor at a time: who counts on one finds it there.
- They live as long as the member is open. When all of it was read and passed its check, they are kept in a file of
  their own (``points_file``); the index was written before the member was read.
- What comes from that file is believed only where it is of this member, and each point lies in it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from itertools import pairwise

from rofuse_formats import seek_index
from rofuse_formats.archives.zip import methods
from rofuse_formats.archives.zip.local import matching
from rofuse_formats.archives.zip.member import Check, Checker, MemberCursor
from rofuse_formats.deflate import libz
from rofuse_formats.deflate.decoding import Decoding
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.inflate import LARGEST_WINDOW
from rofuse_formats.deflate.points import INSIDE, SPACING, Points
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.seek_index import Point, SeekIndex
from rofuse_formats.source import Source

_MAGIC = b"ROzip\0\0\1"
_LARGEST_READ = MIB // 4
_MOST_POINTS = 1 << 11  # whatever the size that a member claims
_POINT = 512  # bytes of memory, about, besides the window


class DeflatedStream:
    """The codec contract's SeekableStream; more ``points`` may be there at any time."""

    cursor_bytes = MIB // 2

    def __init__(
        self,
        source: Source,
        member: PackedMember,
        row: int,
        size: int,
        checker: Checker,
        kept: PointsFile | None = None,
    ) -> None:
        self.size = size
        self._source, self._row, self._checker, self._kept = source, row, checker, kept
        self._start = matching(source, member).data
        self._end, self._crc = self._start + member.packed, member.crc
        self._made = Points(source, max(SPACING, size // _MOST_POINTS))
        self._lock = threading.Lock()
        self._maker: weakref.ref[_Maker] | None = None
        known = self._known()
        self.points = [point.decoded for point in known] or [0]
        self._all = known or self._made.made
        self._complete = bool(known)

    @property
    def held(self) -> int:
        """Bytes that its points take."""
        made = self._all[: len(self.points)]
        return sum(_POINT + (len(point.window.packed) if point.window else 0) for point in made)

    def cursor(self, point: int) -> MemberCursor:
        if point == 0:
            decoder = self._from_beginning()
            passed = self._passed if isinstance(decoder, _Maker) else lambda: None
            check = Check(self._checker, self._row, self._crc, passed=passed)
            return MemberCursor(decoder, 0, self.size, check)
        found = self._all[point]
        window = found.window.unpack() if found.window else b""
        reader = Reader(self._feed(), found.offset, window)
        return MemberCursor(reader, found.decoded, self.size, None)

    def _feed(self) -> Feed:
        return Feed(self._source, self._end, largest=_LARGEST_READ)

    def _from_beginning(self) -> methods.Decoder:
        with self._lock:
            if not self._complete and (self._maker is None or self._maker() is None):
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

    # -- kept

    def _passed(self) -> None:
        """All of it was read, by who made the points, and is what it should be."""
        points = self._made.finish(self.size)
        self.tell()
        self.ended()
        self._complete = True
        if self._kept is not None and len(points) > 1:
            self._kept.keep(self._row, seek_index.write(_MAGIC, SeekIndex(*self._identity(), points)))

    def _identity(self) -> tuple[int, int, int, int]:
        """Of a SeekIndex: where its data ends and begins, its size, and its checksum."""
        return self._end, self._start, self.size, self._crc

    def _known(self) -> list[Point]:
        """The points that were kept of this member; none where there are none that can be used."""
        data = self._kept.load(self._row) if self._kept is not None else None
        if data is None:
            return []
        try:
            found = seek_index.read(_MAGIC, data, self._end, LARGEST_WINDOW)
        except IndexDamagedError:
            return []
        first, last = 8 * self._start, 8 * self._end
        plausible = (
            found[:4] == self._identity()
            and found.points[0] == Point(0, 0)
            and all(first < point.offset < last and point.detail == INSIDE for point in found.points[1:])
            and all(a.offset < b.offset for a, b in pairwise(found.points))
        )
        return found.points if plausible else []


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
