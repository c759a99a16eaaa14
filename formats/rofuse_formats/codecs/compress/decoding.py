"""Decoding .Z files with libarchive, whose "raw" format is what a filter gives.

Rules
- The format has no end marker: a stream that was cut between two codes cannot be told from a whole one.
- libarchive decodes what is compressed twice twice. So would we.
- What is raised while libarchive asks for input passes through it: it is kept, and raised when libarchive returns.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from typing import Any

from rofuse_formats import libarchive_ffi
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit, undivided

PIECE = 256 << 10
_FAILED = -30  # ARCHIVE_FATAL
_END = 1  # ARCHIVE_EOF


class _Input:
    """The source as libarchive reads it."""

    def __init__(self, source: Source, end: int) -> None:
        self.position = 0
        self.error: Exception | None = None
        self._source, self._end, self._data = source, end, b""

    def read(self, _archive: object, _context: object, buffer: Any) -> int:
        """A libarchive read callback: has ``buffer`` point to the next bytes, returns their number."""
        try:
            self._data = self._source.pread(min(PIECE, self._end - self.position), self.position)
        except Exception as error:
            self.error = error
            return _FAILED
        self.position += len(self._data)
        buffer[0] = ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p)
        return len(self._data)


class _Decoder:
    """``units.Decoder``"""

    window = MIB  # codes and libarchive's buffers

    def __init__(self, source: Source, place: Place) -> None:
        self._ffi = ffi = libarchive_ffi.load("decoding .Z")
        self.findings = Findings()
        self._input = _Input(source, place.end)
        self._error = ffi.ArchiveError
        self._callback = ffi.READ_CALLBACK(self._input.read)  # as long as libarchive may call it
        self._archive = archive = ffi.read_new()
        weakref.finalize(self, ffi.read_free, archive)
        ffi.get_read_filter_function("compress")(archive)
        ffi.get_read_format_function("raw")(archive)
        ffi.get_read_format_function("empty")(archive)
        self._call(ffi.read_open, None, ffi.NO_OPEN_CB, self._callback, ffi.NO_CLOSE_CB)
        entry = ctypes.c_void_p()
        self._ended = self._call(ffi.read_next_header, ctypes.byref(entry)) == _END

    @property
    def position(self) -> int:
        return self._input.position

    def read(self, most: int, /) -> bytes:
        """Of the size that libarchive's blocks have."""
        if self._ended:
            return b""
        start, size, offset = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_longlong()
        code = self._call(
            self._ffi.read_data_block, ctypes.byref(start), ctypes.byref(size), ctypes.byref(offset)
        )
        self._ended = code == _END
        return b"" if self._ended else ctypes.string_at(start, size.value)

    def _call(self, function: Any, *arguments: object) -> int:
        try:
            code: int = function(self._archive, *arguments)
        except self._error as error:
            if self._input.error:
                raise self._input.error from None
            offset = self.position
            raise DamagedError(f".Z data is damaged before offset {offset}: {error.msg}", offset) from error
        return code


class _Stream:
    """``units.Kind``"""

    magic = b"ROcompr\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        yield undivided(source)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place)


KIND = _Stream()
