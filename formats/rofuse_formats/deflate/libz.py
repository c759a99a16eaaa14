"""zlib's own inflate through ctypes, because Python's binding cannot stop at the end of a block.

``struct z_stream`` and the meaning of ``data_type`` are those of zlib.h, which has kept them since 1995 and checks the
size when a stream is opened; zlib-ng and others that stand in for zlib keep them, too.

Rules
- A foreign call releases the GIL.
- Memory that C was told of stays referred to for as long as C may use it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator
from functools import cache

from rofuse_formats.deflate.inflate import LARGEST_WINDOW, RAW

BUFFER = 1 << 20

_NO_FLUSH, _BLOCK = 0, 5
_OK, _STREAM_END, _MEM_ERROR = 0, 1, -4
_UNUSED_BITS, _LAST_BLOCK, _BLOCK_END = 7, 64, 128  # in data_type


class _ZStream(ctypes.Structure):
    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


@cache
def library() -> ctypes.CDLL | None:
    """zlib, if it can be had: as the system's library, or as part of this process."""
    for name in _names():
        try:
            found = ctypes.CDLL(name)
            for needed in ("inflateInit2_", "inflateReset", "inflate", "inflateEnd"):
                getattr(found, needed)
            found.zlibVersion.restype = ctypes.c_char_p
        except (OSError, AttributeError):
            continue
        return found
    return None


def _names() -> Iterator[str | None]:
    yield "libz.so.1"
    yield ctypes.util.find_library("z")  # None, where it finds nothing, is the process itself
    yield None


class InflateError(Exception):
    """The data is damaged; says how."""


class Inflater:
    """Decodes raw deflate streams, one after the other, into a buffer. ``ended``: whether the stream is at its end."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.ended = False
        self._stream = _ZStream()
        self._reference = ctypes.byref(self._stream)
        self._inflate, self._reset = library.inflate, library.inflateReset
        self._end: Callable[[object], int] | None = None
        self._buffer = ctypes.create_string_buffer(BUFFER)
        self._address = ctypes.addressof(self._buffer)
        self._output = memoryview(self._buffer).cast("B")
        self._input = b""
        status = library.inflateInit2_(
            self._reference, RAW, library.zlibVersion(), ctypes.sizeof(self._stream)
        )
        if status != _OK:
            raise MemoryError("zlib cannot allocate memory")
        self._end = library.inflateEnd
        self._clear()

    def __del__(self) -> None:
        if self._end:
            self._end(self._reference)

    def begin(self) -> None:
        """A new stream; what is left of the last one is forgotten."""
        self._reset(self._reference)
        self.ended = False
        self._stream.avail_in = 0
        self._clear()

    def give(self, data: bytes, start: int) -> None:
        """Takes ``data[start:]`` as what comes next; to be called when nothing is ``left``."""
        self._input = data
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        self._stream.next_in = address + start
        self._stream.avail_in = len(data) - start

    @property
    def left(self) -> int:
        """Bytes of input not yet used."""
        return int(self._stream.avail_in)

    @property
    def filled(self) -> int:
        """Bytes of output not yet taken."""
        return int(self._stream.next_out) - self._address

    def run(self, most: int = BUFFER, *, to_block: bool = False) -> None:
        """Decodes until the buffer is full, ``most`` bytes came out, the input is used up or the stream at its end; if
        ``to_block``, at most up to the end of a block. Raises InflateError; what came out before can be taken."""
        self._stream.avail_out = min(most, BUFFER - self.filled)
        status = self._inflate(self._reference, _BLOCK if to_block else _NO_FLUSH)
        if status == _STREAM_END:
            self.ended = True
        elif status == _MEM_ERROR:
            raise MemoryError("zlib cannot allocate memory")
        elif status != _OK:
            message = self._stream.msg or b"no progress"
            raise InflateError(message.decode("ascii", "replace"))

    def unused_bits(self) -> int | None:
        """Where a block that is not the last has just ended: how many bits of the input used belong to what follows;
        else None."""
        kind = self._stream.data_type
        return kind & _UNUSED_BITS if kind & _BLOCK_END and not kind & _LAST_BLOCK else None

    def take(self) -> bytes:
        """The output, which makes room for more."""
        data = bytes(self._output[: self.filled])
        self._clear()
        return data

    def tail(self, before: bytes) -> bytes:
        """The last 32 KiB of ``before`` and the output not yet taken."""
        filled = self.filled
        if filled >= LARGEST_WINDOW:
            return bytes(self._output[filled - LARGEST_WINDOW : filled])
        return before[max(0, len(before) + filled - LARGEST_WINDOW) :] + self._output[:filled]

    def _clear(self) -> None:
        self._stream.next_out = self._address


def inflater() -> Inflater | None:
    """None where zlib cannot be loaded."""
    found = library()
    return Inflater(found) if found else None
