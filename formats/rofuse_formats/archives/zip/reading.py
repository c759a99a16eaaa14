"""Reading members at random: the Members of ``rofuse_formats.entry``.

Strategy
A stored member is a slice of the stream. A small one is decoded whole, once, and checked: given out at once where all
of it is asked for (the kernel keeps it then), else it lies in the block cache, under a key of its own. A large one is a
compressed stream in a stream, and read like one: from cursors, which ``DecodedStream`` keeps, and if it is deflated
from seek points, which are made when it is decoded for the first time. The checksum is reckoned by the cursor that
comes by all of it.

Rules
- The local header is read when a member is first read: it says where the data begins, and must be of that member.
- What failed its check is never read again, unless ``salvage`` is set.
- No more is decoded than the size that the central directory claims.
- Cursors and seek points of large members share ``CURSOR_BUDGET``; those used least recently are closed, but one may be
  open always.
- Large stored members are not checked when they are read: their bytes never pass through here. ``verify`` does it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from rofuse_formats.archives.zip import local, methods, records
from rofuse_formats.archives.zip.local import KEPT_ENCRYPTED, KEPT_STRONG, matching
from rofuse_formats.archives.zip.member import Checker, MemberStream, opened
from rofuse_formats.copying import Copier
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, FormatError, PasswordError, TruncatedError
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.settings import Settings
from rofuse_formats.streams import BLOCK, CURSOR_BUDGET, BlockCache, DecodedStream, Stream

if TYPE_CHECKING:
    from rofuse_formats.archives.zip.deflated import DeflatedStream

SMALL = MIB
"""Bytes of a member up to which it is decoded whole."""

SEEKABLE = 8 * MIB
"""Bytes of a deflated member from which on seek points are worth making."""

DEFLATE_RATIO = 1032
"""Bytes that one of deflate can become: 258 for each two bits (RFC 1951 3.2.5). Whoever claims more lies, and need not
be decoded up to where it shows."""

_SHARE = CURSOR_BUDGET // 8  # what the cursors of a large member may hold; more where it needs more for two
_KNOWN = 1 << 16  # stored members whose place is remembered
_LOCKS = 64
_OVERHEAD = 64  # bytes by which a small member may be larger than what is in it
_TRIED = 8  # encrypted members, one of which must take the password


class ZipMembers:
    def __init__(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None
    ) -> None:
        self._stream, self._cache, self._settings, self._kept = stream, cache, settings, kept
        self._checker = Checker(settings.salvage)
        self._places: dict[int, int] = {}  # where the data of a stored member begins, by row
        self._large: OrderedDict[int, tuple[DecodedStream, MemberStream | DeflatedStream]] = OrderedDict()
        self._lock = threading.Lock()  # of _large; never held while anything is read
        self._decoding = [threading.Lock() for _ in range(_LOCKS)]  # of small members, shared by their rows

    def read(self, member: PackedMember, row: int, size: int, offset: int, count: int, /) -> list[memoryview]:
        self._checker.ask(row)
        if count == size <= SMALL and member.method in (records.DEFLATE, records.STORED):
            data = self._at_once(member, row, size)
            if data is not None:
                return [memoryview(data)]
        if member.method == records.STORED and not member.flags & KEPT_ENCRYPTED:
            return self._stored(member, row, size, offset, count)
        if member.method == records.DEFLATE and size > member.packed * DEFLATE_RATIO + DEFLATE_RATIO:
            raise DamagedError(
                f"claims to have {size} bytes, more than {member.packed} can become", member.at
            )
        if size <= SMALL:
            return self._small(member, row, size, offset, count)
        return self._opened(member, row, size).read(offset, count)

    def is_at_hand(self, member: PackedMember, size: int, /) -> bool:
        is_small = size <= BLOCK and member.packed <= BLOCK
        return (is_small or member.method == records.STORED) and self._stream.is_at_hand(
            member.at, member.packed
        )

    def check(self, member: PackedMember, row: int, size: int, /) -> None:
        if member.method != records.STORED or member.flags & KEPT_ENCRYPTED or size <= SMALL:
            return  # it was checked when all of it was read
        crc, copier = 0, Copier()
        try:
            for offset in range(0, size, SMALL):
                for piece in self._stored(member, row, size, offset, min(SMALL, size - offset)):
                    crc = self._checker.crc(bytes(copier.own(piece)), crc)
        finally:
            copier.close()
        self._checker.check(row, crc, member.crc)

    def try_password(self, members: Iterable[PackedMember], /) -> None:
        encrypted = (member for member in members if member.flags & KEPT_ENCRYPTED)
        refused = None
        for member in islice(encrypted, _TRIED):
            try:
                opened(self._stream, member, self._settings.scan.password)
                return
            except PasswordError as error:
                refused = error
            except FormatError:
                continue  # whoever reads it will be told
        if refused is not None:
            raise refused

    def _at_once(self, member: PackedMember, row: int, size: int) -> bytes | None:
        """All of a small member by one read; None where it is not as small members usually are, or must be looked at
        more closely to say what is wrong with it."""
        is_stored = member.method == records.STORED
        is_odd = (
            member.packed > size + _OVERHEAD
            if not is_stored
            else member.packed != size or row in self._places
        )
        if is_odd or member.flags & (KEPT_ENCRYPTED | KEPT_STRONG):
            return None
        packed = local.packed(self._stream, member)
        if packed is None:
            return None
        data = packed if is_stored else methods.inflated(packed, size)
        if len(data) != size:
            return None
        self._checker.check(row, self._checker.crc(data), member.crc)
        return data

    # -- stored

    def _stored(self, member: PackedMember, row: int, size: int, offset: int, count: int) -> list[memoryview]:
        place = self._places.get(row)
        if place is None:
            place = self._place(member, row, size)
        pieces = self._stream.read(place + offset, count)
        if sum(map(len, pieces)) != count:
            raise TruncatedError("the archive ends before the data of this member", place + offset)
        return pieces

    def _place(self, member: PackedMember, row: int, size: int) -> int:
        """Where the data begins; looked at when a member is first read, and small members are checked then."""
        if member.packed != size:
            raise DamagedError(f"is stored in {member.packed} bytes and claims to have {size}", member.at)
        place = matching(self._stream, member).data
        if size <= SMALL:
            data = self._stream.pread(size, place)
            if len(data) != size:
                raise TruncatedError("the archive ends before the data of this member", place)
            self._checker.check(row, self._checker.crc(data), member.crc)
        if len(self._places) >= _KNOWN:
            self._places.clear()
        self._places[row] = place
        return place

    # -- small

    def _small(self, member: PackedMember, row: int, size: int, offset: int, count: int) -> list[memoryview]:
        found = self._cached(row, offset, count)
        if found is not None:
            return found
        with self._decoding[row % _LOCKS]:
            found = self._cached(row, offset, count)
            if found is not None:
                return found
            data = self._whole(member, row, size)
            for start in range(0, size, BLOCK):
                piece = data if size <= BLOCK else data[start : start + BLOCK]
                self._cache.put((-1 - row, start // BLOCK), piece)
        return [memoryview(data)[offset : offset + count]]

    def _cached(self, row: int, offset: int, count: int) -> list[memoryview] | None:
        pieces, end = [], offset + count
        while offset < end:
            block, skipped = divmod(offset, BLOCK)
            data = self._cache.get((-1 - row, block))
            if data is None:
                return None
            piece = memoryview(data)[skipped : skipped + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return pieces

    def _whole(self, member: PackedMember, row: int, size: int) -> bytes:
        feed, method, crc = opened(self._stream, member, self._settings.scan.password)
        decoder = methods.decoder(method, feed, size, self._settings.limits)
        data = decoder.read(size)
        if len(data) != size:
            parts, missing = [data], size - len(data)
            while missing:
                data = decoder.read(missing)
                if not data:
                    raise DamagedError(f"its data ends after {size - missing} of {size} bytes", member.at)
                parts.append(data)
                missing -= len(data)
            data = b"".join(parts)
        self._checker.check(row, self._checker.crc(data), crc, feed)
        return data

    # -- large

    def _opened(self, member: PackedMember, row: int, size: int) -> DecodedStream:
        with self._lock:
            known = self._large.get(row)
            if known is not None:
                self._large.move_to_end(row)
                return known[0]
        stream = self._seekable(member, row, size)
        opened = DecodedStream(stream, self._cache, -1 - row, budget=_SHARE)
        with self._lock:
            found, _stream = self._large.setdefault(row, (opened, stream))
            while len(self._large) > 1 and sum(_cost(one) for _, one in self._large.values()) > CURSOR_BUDGET:
                self._large.popitem(last=False)
        return found

    def _seekable(self, member: PackedMember, row: int, size: int) -> MemberStream | DeflatedStream:
        if member.method == records.DEFLATE and not member.flags & KEPT_ENCRYPTED and size >= SEEKABLE:
            from rofuse_formats.archives.zip.deflated import DeflatedStream  # has much to import

            return DeflatedStream(self._stream, member, row, size, self._checker, self._kept)
        return MemberStream(self._stream, member, row, size, self._settings, self._checker)


def _cost(stream: MemberStream | DeflatedStream) -> int:
    """Bytes that a large member takes while it is open."""
    return max(_SHARE, 2 * stream.cursor_bytes) + stream.held
