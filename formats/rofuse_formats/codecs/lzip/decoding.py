"""Decoding lzip members.

Strategy
A member is an LZMA stream with an end marker behind a header and before a trailer of lzip's own. The library decodes it
behind a header of the .lzma format that says the same; the trailer is verified here.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

from rofuse_formats.codecs.lzip import members
from rofuse_formats.codecs.lzip.members import HEADER, MAGIC, TRAILER
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.limits import Limits
from rofuse_formats.lzma_reader import LzmaReader, check_window
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, LostError, Place, Unit

_PROPERTIES = 93  # lc 3, lp 0, pb 2: lzip has no others
_UNKNOWN_SIZE = b"\xff" * 8


class _Decoder:
    """``units.Decoder``"""

    def __init__(self, source: Source, place: Place, size: int | None, limits: Limits) -> None:
        self.findings = Findings()
        self._source, self._place, self._limits = source, place, limits
        self._single = size is not None
        self._size = self._checksum = 0  # of what the member has given so far
        self._start = place.offset
        self.window, self._reader = self._member()

    @property
    def position(self) -> int:
        return self._reader.position

    def read(self, most: int, /) -> bytes:
        while True:
            data = self._reader.read(most)
            if data:
                self._size += len(data)
                self._checksum = zlib.crc32(data, self._checksum)
                return data
            if not self._reader.ended:
                raise self._unended() or self._reader.truncated()
            end = self._end()
            if end < self._place.end:
                if self._single:
                    raise LostError(
                        f"the lzip member at offset {self._start} ends early, at {end}", self._start
                    )
                head = self._source.pread(HEADER, end)
                if members.dictionary(head):
                    self._enter(end)
                    continue
                self._followed_by(head, end)
            return b""

    def _enter(self, start: int) -> None:
        """Goes on to the member at ``start``."""
        self._size = self._checksum = 0
        self._start = start
        self.window, self._reader = self._member()

    def _member(self) -> tuple[int, LzmaReader]:
        """Dictionary size and decoder of the member that starts here."""
        start = self._start
        window = members.dictionary(self._source.pread(HEADER, start))
        if not window:
            raise DamagedError(f"there is no lzip member at offset {start}", start)
        check_window(window, f"the lzip member at offset {start}", self._limits)
        return window, LzmaReader(
            "the lzip member",
            self._source,
            start + HEADER,
            self._place.end,
            self._limits,
            format=lzma.FORMAT_ALONE,
            start=start,
            before=bytes((_PROPERTIES,)) + window.to_bytes(4, "little") + _UNKNOWN_SIZE,
        )

    def _end(self) -> int:
        """Where the member ends, of which all has been decoded. Raises DamagedError if its trailer does not say so."""
        offset = self._reader.position - self._reader.unused
        end, start = offset + TRAILER, self._start
        found = members.trailer(self._source, end) if end <= self._place.end else None
        if not found:
            raise self._unended() or TruncatedError(
                f"lzip data ends within the trailer at offset {offset}", offset
            )
        if found.size != self._size or found.length != end - start:
            raise LostError(
                f"the lzip member at offset {start} is of {self._size} bytes in {end - start}, its trailer says "
                f"{found.size} in {found.length}",
                start,
            )
        if found.checksum != self._checksum:
            raise DamagedError(f"the lzip member at offset {start} fails its CRC-32", start)
        return end

    def _unended(self) -> DamagedError | None:
        """Why a member has no end although its trailer is there: something before it is damaged, nothing cut off."""
        found = members.trailer(self._source, self._place.end)
        if not found or found.length != self._place.end - self._start:
            return None
        return LostError(
            f"the lzip member at offset {self._start} does not end where its trailer is", self._start
        )

    def _followed_by(self, head: bytes, end: int) -> None:
        """Says what follows the last member: as lzip does, it is taken for garbage, unless it looks like a header."""
        left = self._place.end - end
        if self._place.end < self._source.size:
            raise LostError(f"there is no lzip member at offset {end}, but more behind it", end)
        similar = sum(a == b for a, b in zip(head, MAGIC, strict=False))
        if MAGIC.startswith(head[: len(MAGIC)]) and len(head) < HEADER:
            self.findings.damages.append(
                TruncatedError(f"lzip data ends within the member header at offset {end}", end)
            )
        elif similar >= 2:
            self.findings.damages.append(DamagedError(f"the lzip header at offset {end} is damaged", end))
        else:
            self.findings.warnings.append(
                f"{left} bytes of garbage behind the last lzip member (offset {end})"
            )


class _Members:
    """``units.Kind``"""

    magic = b"ROlzip\0\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        return members.units(source, findings)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place, size, limits)


KIND = _Members()
