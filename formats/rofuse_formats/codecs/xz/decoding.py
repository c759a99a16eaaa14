"""Decoding xz blocks.

Strategy
One block is decoded as a stream of its own: a header before it, and after it the index and footer of a stream that has
only this block. So the library proves that the block is as long, and decodes to as much, as its index says. Where it
takes that index for more of the block, the block is longer than it should be, and what comes out is none of it.

A run of blocks is decoded behind such a header, and simply ends with its last block: by then the library has verified
the check of each. A run may go on into the streams that follow; then it began with the first block of its own, so that
the index behind that is of the blocks which the library has seen.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator

from rofuse_formats.codecs.xz import blocks, layout
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.lzma_reader import LITTLE, LzmaReader, check_window
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

PIECE = MIB
_WHAT = "the xz block"


class _Decoder:
    """``units.Decoder``"""

    def __init__(self, source: Source, place: Place, size: int | None, limits: Limits) -> None:
        start = source.pread(min(layout.LARGEST_BLOCK_HEADER, place.length), place.offset)
        self.window = layout.block_header(start, place.offset).window
        check_window(self.window, f"{_WHAT} at offset {place.offset}", limits)
        self.findings = Findings()
        self._source, self._place, self._limits = source, place, limits
        self._single = size is not None
        check, after = place.detail & 15, b""
        self._most = PIECE if check else LITTLE  # without a check, what comes before an error counts
        if size is not None:
            unpadded = place.length - (place.detail >> 4 & 3)
            after = layout.stream_ending(layout.encoded(unpadded) + layout.encoded(size), 1, check)
        self._reader = self._stream(place.offset, layout.stream_header(check), after)

    @property
    def position(self) -> int:
        return self._reader.position

    def read(self, most: int, /) -> bytes:
        while True:
            data = self._reader.read(min(most, self._most))
            if data and self._reader.is_beyond:  # decoded from the index that we made
                raise self._longer()
            if data:
                return data
            if not self._reader.ended:
                return self._at_end_of_place()
            start = self.position - self._reader.unused
            start = blocks.after_zeros(self._source, start, self._place.end)
            if self._single or start == self._place.end:
                return b""
            self._reader = self._stream(start)

    def _stream(self, start: int, before: bytes = b"", after: bytes = b"") -> LzmaReader:
        return LzmaReader(
            _WHAT,
            self._source,
            start,
            self._place.end,
            self._limits,
            format=lzma.FORMAT_XZ,
            before=before,
            after=after,
        )

    def _at_end_of_place(self) -> bytes:
        if self._place.detail & blocks.CUT:
            raise self._reader.truncated()
        if self._single:
            raise self._longer()
        return b""

    def _longer(self) -> DamagedError:
        offset = self._place.offset
        return DamagedError(f"{_WHAT} at offset {offset} is longer than the index says", offset)


class _Blocks:
    """``units.Kind``"""

    magic = b"ROxz\0\0\0\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        return blocks.units(source, findings)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place, size, limits)


KIND = _Blocks()
