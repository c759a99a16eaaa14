"""libarchive and the source it reads, in the helper process.

Rules
- What is raised while libarchive asks for input passes through C code that knows no exceptions: it is kept, and
  raised when libarchive returns.
- Whenever libarchive asks for input, or gives something, it is granted processor time for a while. Without a sign of
  life it is ended by the kernel.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from bisect import bisect_right
from typing import Any

from rofuse_formats import libarchive_ffi
from rofuse_formats.archives.libarchive import groups, protocol, sevenzip
from rofuse_formats.archives.libarchive.protocol import Line
from rofuse_formats.archives.libarchive.sevenzip.header import with_header
from rofuse_formats.archives.libarchive.sevenzip.streams import START
from rofuse_formats.errors import DamagedError, FormatError, LimitError, PasswordError, UnsupportedError

FIRST_READ, LARGEST_READ = 1 << 14, 1 << 18
SILENT_CPU = 60
"""Seconds of processor time that libarchive may take without a sign of life."""
_TICK = 0.2  # seconds from one account of where we are to the next


class Source:
    """The archive's bytes, with the callbacks that libarchive reads it by. ``files``: descriptors and sizes; without,
    the bytes are asked for over ``line``. Of their ``size`` bytes in all the archive begins at ``start``."""

    def __init__(self, line: Line, files: list[tuple[int, int]], size: int, start: int) -> None:
        size -= start
        self.size, self.position, self._first = size, 0, start
        self._start, self._stored, self._end = b"", size, b""
        self.error: BaseException | None = None
        self._line, self._files, self._data = line, files, b""
        self._starts = [0]
        for _fd, length in files:
            self._starts.append(self._starts[-1] + length)
        self._next_size = FIRST_READ
        self._alive = self._told = time.monotonic()

    def patch(self, start: bytes, end: bytes) -> None:
        """From now on the source begins with ``start``, and ``end`` follows what it had. Once."""
        self._start, self._end, self.size = start, end, self.size + len(end)

    def pread(self, size: int, offset: int) -> bytes:
        if offset >= len(self._start) and offset + size <= self._stored:
            return self._pread(size, offset)
        data = self._pread(min(size, self._stored - offset), offset)
        if offset < len(self._start):
            data = self._start[offset : offset + size] + data[len(self._start) - offset :]
        at = offset + len(data) - self._stored
        return data + self._end[at : at + size - len(data)] if at >= 0 else data

    def _pread(self, size: int, offset: int) -> bytes:
        if size <= 0:
            return b""
        offset += self._first
        if self._files:
            return self._from_files(size, offset)
        parts = []
        while size > 0:
            step = min(size, LARGEST_READ)
            self._line.send(protocol.READ, step, offset)
            answer = self._line.answer(protocol.CONTENT)
            if not answer.body:
                break
            parts.append(answer.body)
            size, offset = size - len(answer.body), offset + len(answer.body)
        return b"".join(parts)

    def _from_files(self, size: int, offset: int) -> bytes:
        parts = []
        while size > 0:
            number = bisect_right(self._starts, offset) - 1
            if number >= len(self._files):
                break
            fd, _length = self._files[number]
            data = os.pread(fd, min(size, self._starts[number + 1] - offset), offset - self._starts[number])
            if not data:
                break
            parts.append(data)
            size, offset = size - len(data), offset + len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def rewind(self) -> None:
        self.position, self._next_size = 0, FIRST_READ

    def read(self, _archive: object, _context: object, buffer: Any) -> int:
        """libarchive's read callback."""
        try:
            self.alive()
            self._data = self.pread(self._next_size, self.position)
        except BaseException as error:  # passes through C code that knows no exceptions
            self.error = error
            return libarchive_ffi.FATAL
        self.position += len(self._data)
        self._next_size = min(2 * self._next_size, LARGEST_READ)
        buffer[0] = ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p)
        return len(self._data)

    def skip(self, _archive: object, _context: object, count: int) -> int:
        """libarchive's skip callback."""
        step = max(0, min(count, self.size - self.position))
        self.position += step
        self._next_size = FIRST_READ
        return step

    def seek(self, _archive: object, _context: object, offset: int, whence: int) -> int:
        """libarchive's seek callback."""
        place = offset + (0, self.position, self.size)[whence] if whence in (0, 1, 2) else -1
        if place < 0:
            return libarchive_ffi.FATAL
        if place != self.position:
            self.position, self._next_size = place, FIRST_READ
        return self.position

    def alive(self) -> None:
        """Something goes on: more processor time is granted, and whoever asks is told how far we are."""
        now = time.monotonic()
        if now - self._alive > 1:
            self._alive = now
            grant_time()
        if now - self._told > _TICK:
            self._told = now
            self._line.send(protocol.TICK, self._first + min(self.position, self.size))


class Archive:
    """The archive as libarchive has it open, at one of its entries. ``listed``: its groups, where it lists them.
    ``has_masked_links``: what libarchive takes for sockets are its symbolic links."""

    def __init__(self, order: dict[str, Any], source: Source, ffi: Any) -> None:
        self.order, self.source, self.ffi = order, source, ffi
        self.functions = libarchive_ffi.functions(ffi)
        self.entry = ctypes.c_void_p()
        self._entry = ctypes.byref(self.entry)
        self._block = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_int64()
        self._block_places = tuple(map(ctypes.byref, self._block))
        self._callbacks = (
            ffi.READ_CALLBACK(source.read),
            ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(source.skip),
            ffi.SEEK_CALLBACK(source.seek),
        )
        self._archive: Any = None
        contents = sevenzip.contents(source.pread, source.size) if order["kind"] == "7zip" else None
        self.listed = groups.listed(order["kind"], source.pread, contents)
        self.has_masked_links = contents is not None and contents.masked is not None
        if contents is not None and contents.masked is not None:
            start = source.pread(START, 0)
            source.patch(with_header(start, source.size, contents.masked), contents.masked)
        self.open()

    def open(self) -> None:
        """From its beginning, again."""
        if self._archive is not None:
            self.ffi.read_free(self._archive)
        self.source.rewind()
        self.entry.value = None
        self._archive = self.ffi.read_new()
        self.ffi.get_read_filter_function("none")(self._archive)
        self.ffi.get_read_format_function(self.order["kind"])(self._archive)
        if self.order["password"] is not None:
            self.functions.read_add_passphrase(self._archive, self.order["password"].encode("latin-1"))
        if self.order["encoding"]:
            option = f"hdrcharset={self.order['encoding']}".encode()
            self.functions.read_set_options(self._archive, option)  # not of every format
        read, skip, seek = self._callbacks
        self.functions.read_set_skip_callback(self._archive, skip)
        self.ffi.read_set_seek_callback(self._archive, seek)
        try:
            self.ffi.read_open(self._archive, None, self.ffi.NO_OPEN_CB, read, self.ffi.NO_CLOSE_CB)
        except self.ffi.ArchiveError as error:
            self._raise_kept()
            raise self.trouble(str(error.msg)) from None

    def next_header(self) -> int:
        """A code of ``libarchive_ffi``."""
        code: int = self.functions.read_next_header(self._archive, self._entry)
        if self.source.error is not None:
            self._raise_kept()
        return code

    def block(self) -> tuple[int, bytes, int]:
        """Of the entry's data: code, bytes and their offset."""
        start, size, offset = self._block
        start.value, size.value = None, 0
        code = self.functions.read_data_block(self._archive, *self._block_places)
        if self.source.error is not None:
            self._raise_kept()
        count = size.value
        if code == libarchive_ffi.EOF or not start or not count or code < libarchive_ffi.WARN:
            return code, b"", offset.value
        return code, ctypes.string_at(start, count), offset.value

    def _raise_kept(self) -> None:
        error, self.source.error = self.source.error, None
        if error is not None:
            raise error

    @property
    def place(self) -> int:
        """How far the source was taken in: where the entry's data begins, for formats that say so."""
        return int(self.functions.filter_bytes(self._archive, 0))

    @property
    def header_place(self) -> int:
        return int(self.functions.read_header_position(self._archive))

    @property
    def format_name(self) -> str:
        return (self.functions.format_name(self._archive) or b"").decode("ascii", "replace")

    @property
    def message(self) -> str:
        text = (self.functions.error_string(self._archive) or b"").decode("utf-8", "backslashreplace")
        return " ".join(text.split())[:500]

    def trouble(self, message: str | None = None) -> FormatError:
        """What libarchive says went wrong, as an error of ours."""
        message = self.message if message is None else message
        low = message.lower()
        shown = f"libarchive: {message or 'the data is damaged'}"
        if "memory" in low:
            return LimitError(f"{shown} (it may take more with a larger --max-window)")
        if "passphrase" in low:
            return PasswordError("it is encrypted; give its password with --password-file")
        unsupported = ("unsupported", "not supported", "unavailable", "encrypt", "can't be decoded")
        if any(word in low for word in unsupported):
            number = libarchive_ffi.version(self.ffi.version_number())
            return UnsupportedError(f"libarchive {number}: {message}")
        return DamagedError(shown)


def grant_time() -> None:
    """Processor time until there must be a sign of life again."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SILENT_CPU, hard))
