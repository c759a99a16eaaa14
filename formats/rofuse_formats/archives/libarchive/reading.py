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
from rofuse_formats.archives.libarchive.process import Helper
from rofuse_formats.archives.libarchive.records import LISTED, NAMES, NOT_HELD
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import IndexDamagedError, UnsupportedError
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.settings import Settings
from rofuse_formats.streams import BlockCache, Stream

WHOLE = 32 * MIB
_STEP = MIB  # bytes read at once: some of what a pass without a spool remembers
_WITHOUT_SPOOL = REMEMBERED // 4


class LibarchiveMembers:
    def __init__(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None
    ) -> None:
        self._stream, self._cache, self._settings, self._kept = stream, cache, settings, kept
        self._decodings: dict[int, Decoding] = {}

    def read(self, member: PackedMember, row: int, size: int, offset: int, count: int, /) -> list[memoryview]:
        if member.flags & NOT_HELD:
            raise UnsupportedError("the archive describes this file and does not hold it")
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

    def check(self, member: PackedMember, row: int, size: int, /) -> None:
        """All is checked when it is decoded."""

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
        kind = NAMES.get(method & ~LISTED)
        if kind is None:
            raise IndexDamagedError("the index names a format that is not known here")
        scan = self._settings.scan
        return Helper(
            self._stream,
            kind,
            self._settings.limits,
            password=scan.password,
            encoding=scan.encoding,
            listed=bool(method & LISTED),
        )
