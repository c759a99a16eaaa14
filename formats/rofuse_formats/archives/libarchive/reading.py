"""Reading members that libarchive decodes: the Members of ``rofuse_formats.entry``.

Rules
- Of a file of up to ``WHOLE`` bytes nothing is given out before all of it was decoded and checked. A larger one is
  given out as it comes, and not at all any more once it has failed its check; its end is never given out before it.
- A helper process is started when something is read that no spool has.
"""

from __future__ import annotations

from collections.abc import Iterable

from rofuse_formats.archives.libarchive.decoding import REMEMBERED, Decoding
from rofuse_formats.archives.libarchive.keeping import Keeper
from rofuse_formats.archives.libarchive.magic import place_of
from rofuse_formats.archives.libarchive.process import Helper
from rofuse_formats.archives.libarchive.records import NAMES, NOT_HELD, STORED
from rofuse_formats.checksum import crc32
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, IndexDamagedError, TruncatedError, UnsupportedError
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.settings import Settings
from rofuse_formats.streams import BlockCache, Stream

WHOLE = 32 * MIB
SMALL = MIB
"""Bytes of a stored member up to which it is checked before any of it is given out."""
_KNOWN = 1 << 16  # stored members that are known to be good
_STEP = MIB  # bytes read at once: some of what a pass without a spool remembers
_WITHOUT_SPOOL = REMEMBERED // 4


class LibarchiveMembers:
    def __init__(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None
    ) -> None:
        self._stream, self._cache, self._settings, self._kept = stream, cache, settings, kept
        self._decodings: dict[int, Decoding] = {}
        self._checked: set[int] = set()  # rows of stored members

    def read(self, member: PackedMember, row: int, size: int, offset: int, count: int, /) -> list[memoryview]:
        if member.flags & NOT_HELD:
            raise UnsupportedError("the archive describes this file and does not hold it")
        if member.flags & STORED:
            return self._stored(member, row, size, offset, count)
        decoding = self._decoding(member.method)
        start, end = member.at + offset, member.at + offset + count
        whole = member.at, member.at + size
        is_whole = size <= (WHOLE if decoding.is_spooling() else _WITHOUT_SPOOL)
        pieces = []
        while start < end:
            stop = min(start + _STEP, end)
            pieces.append(decoding.read(start, stop, whole[1] if is_whole else stop, whole))
            start = stop
        return pieces

    def _stored(self, member: PackedMember, row: int, size: int, offset: int, count: int) -> list[memoryview]:
        """As it lies in the archive. A small one is checked when it is first read, a large one by ``check``."""
        if size <= SMALL and row not in self._checked:
            self.check(member, row, size)
            if len(self._checked) >= _KNOWN:
                self._checked.clear()
            self._checked.add(row)
        pieces = self._stream.read(member.at + offset, count)
        if sum(map(len, pieces)) != count:
            raise TruncatedError("the archive ends before the data of this member", member.at + offset)
        return pieces

    def check(self, member: PackedMember, row: int, size: int, /) -> None:
        if not member.flags & STORED:
            return  # it was checked when it was decoded
        crc = 0
        for offset in range(0, size, SMALL):
            data = self._stream.pread(min(SMALL, size - offset), member.at + offset)
            if not data:
                raise TruncatedError("the archive ends before the data of this member", member.at + offset)
            crc = crc32(data, crc)
        if crc != member.crc and not self._settings.salvage:
            raise DamagedError("its data failed its check; --salvage reads it all the same", member.at)

    def close(self) -> None:
        for decoding in self._decodings.values():
            decoding.close()

    def try_password(self, members: Iterable[PackedMember], /) -> None:
        """libarchive tells a wrong password only when it decodes: who reads will be told."""

    def _decoding(self, method: int) -> Decoding:
        found = self._decodings.get(method)
        if found is None:
            made = Decoding(
                lambda: self._helper(method),
                lambda: Keeper(self._settings, self._kept),
                self._cache,
                self._settings.salvage,
            )
            found = self._decodings.setdefault(method, made)
        return found

    def _helper(self, method: int) -> Helper:
        kind = NAMES.get(method)
        if kind is None:
            raise IndexDamagedError("the index names a format that is not known here")
        scan, place = self._settings.scan, place_of(self._stream.pread)
        return Helper(
            self._stream,
            kind,
            self._settings.limits,
            start=place.start if place is not None else 0,
            password=scan.password,
            encoding=scan.encoding,
        )
