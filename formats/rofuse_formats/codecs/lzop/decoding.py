"""Decoding lzop blocks, each as a whole: all its checksums are verified before a byte of it is given out."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import adler32, crc32

from rofuse_formats.codecs.lzop import blocks
from rofuse_formats.codecs.lzop.blocks import ADLER_DECODED, ADLER_STORED, CRC_DECODED, CRC_STORED
from rofuse_formats.codecs.lzop.library import decompressed
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

_LENGTHS = 8
_USUAL_BLOCK = 256 << 10


class _Decoder:
    """``units.Decoder``"""

    window = _USUAL_BLOCK

    def __init__(self, source: Source, place: Place) -> None:
        self.position = place.offset
        self.findings = Findings()
        self._source, self._place = source, place
        self._data, self._given = b"", 0

    def read(self, most: int, /) -> bytes:
        if self.position == self._place.offset:
            self._data = self._decoded()
            self.position, self.window = self._place.end, len(self._data)
        data = self._data[self._given : self._given + most]
        self._given += len(data)
        return data

    def _decoded(self) -> bytes:
        place = self._place
        data = self._source.pread(place.length, place.offset)
        found = blocks.block(data[:_LENGTHS], place.detail) if len(data) >= _LENGTHS else None
        if found is None or found.before + found.stored != len(data):
            raise DamagedError(f"there is no lzop block at offset {place.offset}", place.offset)
        sums = [int.from_bytes(data[at : at + 4], "big") for at in range(_LENGTHS, found.before, 4)]
        stored = data[found.before :]
        is_stored = found.stored == found.size
        decoded = stored if is_stored else decompressed(stored, found.size)
        made = iter(sums)
        is_right = decoded is not None
        for check, function, checked in (
            (ADLER_DECODED, adler32, decoded),
            (CRC_DECODED, crc32, decoded),
            (ADLER_STORED, adler32, None if is_stored else stored),
            (CRC_STORED, crc32, None if is_stored else stored),
        ):
            if place.detail & check and checked is not None:
                is_right &= next(made, -1) == function(checked)
        if decoded is None or not is_right:
            raise DamagedError(f"the lzop block at offset {place.offset} is damaged", place.offset)
        return decoded


class _Blocks:
    """``units.Kind``"""

    magic = b"ROlzop\0\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        return blocks.units(source, findings)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place)


KIND = _Blocks()
