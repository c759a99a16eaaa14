"""Decoding .lzma files."""

from __future__ import annotations

import lzma
from collections.abc import Iterator

from rofuse_formats.codecs.lzma.header import HEADER, header
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.lzma_reader import LITTLE, LzmaReader, check_window
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit, undivided


class _Decoder:
    """``units.Decoder``"""

    def __init__(self, source: Source, place: Place, limits: Limits) -> None:
        found = header(source.pread(HEADER.size + 1, 0))
        if not found:
            raise DamagedError("there is no .lzma header", 0)
        self.window = found.dictionary
        check_window(self.window, "the .lzma stream", limits)
        self.findings = Findings()
        self._end = place.end
        self._reader = LzmaReader("the .lzma stream", source, 0, place.end, limits, format=lzma.FORMAT_ALONE)

    @property
    def position(self) -> int:
        return self._reader.position

    def read(self, most: int, /) -> bytes:
        data = self._reader.read(min(most, LITTLE))
        if not data:
            if not self._reader.ended:
                raise self._reader.truncated()
            end = self.position - self._reader.unused
            if end < self._end:
                self.findings.warnings.append(
                    f"{self._end - end} bytes of garbage behind the .lzma stream (offset {end})"
                )
        return data


class _Stream:
    """``units.Kind``"""

    magic = b"ROlzma\0\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        found = header(source.pread(HEADER.size + 1, 0))
        yield undivided(source, found.size if found else -1)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place, limits)


KIND = _Stream()
