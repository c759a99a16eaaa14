"""Decoding Brotli.

Rules
- The library gives out no more than it was asked for and one buffer: input that it has not used waits in it.
- What the library had decoded in the call in which it met an error is lost, so it is called for little at a time. Bytes
  behind the stream are such an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rofuse_formats.errors import DamagedError, MissingLibraryError, TruncatedError
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit, undivided

PIECE = 64 << 10
LARGEST_WINDOW = 1 << 24
_ENOUGH = 1 << 20  # decoded bytes of a head that tell


def _library() -> Any:
    try:
        import brotli
    except ModuleNotFoundError as error:
        raise MissingLibraryError("decoding .br needs the Python package brotli") from error
    return brotli


def decodes(head: bytes) -> bool:
    """Whether ``head`` is how a Brotli stream may begin. Where the library is missing, the file's name must do: what
    decodes it says so."""
    try:
        brotli = _library()
    except MissingLibraryError:
        return bool(head)
    decompressor, size, data = brotli.Decompressor(), 0, head
    try:
        while size < _ENOUGH and (output := decompressor.process(data, output_buffer_limit=PIECE)):
            size, data = size + len(output), b""
    except brotli.error:
        return False
    return bool(head)


def window(head: bytes) -> int:
    """Bytes of the window of a stream that begins with ``head`` (RFC 7932 section 9.1)."""
    bits = head[0] if head else 0
    if not bits & 1:
        log = 16
    elif bits & 0x0E:
        log = 17 + (bits >> 1 & 7)
    else:
        log = 8 + (bits >> 4 & 7) if bits & 0x70 else 17
    return 1 << log


class _Decoder:
    """``units.Decoder``"""

    def __init__(self, source: Source, place: Place) -> None:
        brotli = _library()
        self.position = place.offset
        self.findings = Findings()
        self.window = min(window(source.pread(1, place.offset)), LARGEST_WINDOW)
        self._source, self._end = source, place.end
        self._error = brotli.error
        self._decompressor = brotli.Decompressor()

    def read(self, most: int, /) -> bytes:
        decompressor, data = self._decompressor, b""
        while not decompressor.is_finished():
            try:
                output: bytes = decompressor.process(data, output_buffer_limit=min(most, PIECE))
            except self._error as error:
                place = self.position
                raise DamagedError(f"Brotli data is damaged before offset {place}", place) from error
            if output:
                return output
            hungry = decompressor.can_accept_more_data() and not decompressor.is_finished()
            data = self._input() if hungry else b""
        if self.position < self._end:
            left = self._end - self.position
            self.findings.warnings.append(
                f"{left} bytes of garbage behind the Brotli stream (offset {self.position})"
            )
        return b""

    def _input(self) -> bytes:
        data = self._source.pread(min(PIECE, self._end - self.position), self.position)
        if not data:
            raise TruncatedError(f"Brotli data ends too early, at offset {self.position}", self.position)
        self.position += len(data)
        return data


class _Stream:
    """``units.Kind``"""

    magic = b"RObrotl\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        yield undivided(source)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place)


KIND = _Stream()
