"""The process in which libarchive reads what a stranger wrote: it may die, and nobody else does.

Strategy
It reads the source through the descriptors that it was given, or asks for its bytes over the socket, and does what it
is told: ``LIST`` describes all entries from their headers, ``DATA`` decodes one group (``groups``). For a further
group it goes on where it is, or opens the archive again.

Rules
- It ends when who asks has gone, whatever libarchive is doing. Its memory is bounded; so is the processor time that
  it may take without reading or telling anything.
- It opens nothing, writes nothing, starts nothing: of the formats only the one that was recognised is enabled, and no
  filter, some of which are programs.
- The last bytes of an entry are told when libarchive has checked it, and that it is bad is told before them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from bisect import bisect_right
from typing import Any, NoReturn

from rofuse_formats import libarchive_ffi
from rofuse_formats.archives.libarchive import groups, protocol
from rofuse_formats.archives.libarchive.listing import Lister, linear_size
from rofuse_formats.archives.libarchive.protocol import Line
from rofuse_formats.errors import DamagedError, FormatError, LimitError, PasswordError, UnsupportedError
from rofuse_formats.limits import MIB

FIRST_READ, LARGEST_READ = 1 << 14, 1 << 18
SILENT_CPU = 60
"""Seconds of processor time that libarchive may take without a sign of life."""
MEMORY = 256 * MIB
"""Bytes of address space beside three windows: what the process has itself, and libarchive's buffers."""
NICE = 5
"""What nobody waits for yet should not keep others from their work."""
_CHUNK = 1 << 18
_HOLD = 0.005  # seconds that small files may wait for company on their way
_TICK = 0.2
_RETRIES = 3


class Source:
    """The archive's bytes, with the callbacks that libarchive reads it by."""

    def __init__(self, line: Line, files: list[tuple[int, int]], size: int) -> None:
        self.size, self.position = size, 0
        self.error: BaseException | None = None
        self._line, self._files, self._data = line, files, b""
        self._starts = [0]
        for _fd, length in files:
            self._starts.append(self._starts[-1] + length)
        self._next_size = FIRST_READ
        self._alive = self._told = time.monotonic()

    def pread(self, size: int, offset: int) -> bytes:
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
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
            self._line.send(protocol.TICK, min(self.position, self.size))


class Archive:
    """The archive as libarchive has it open, at one of its entries."""

    def __init__(self, order: dict[str, Any], source: Source, ffi: Any) -> None:
        self.order, self.source, self.ffi = order, source, ffi
        self.functions = libarchive_ffi.functions(ffi)
        self.entry = ctypes.c_void_p()
        self._callbacks = (
            ffi.READ_CALLBACK(source.read),
            ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(source.skip),
            ffi.SEEK_CALLBACK(source.seek),
        )
        self._archive: Any = None
        self.open()

    def open(self) -> None:
        """From its beginning, again."""
        if self._archive is not None:
            self.ffi.read_free(self._archive)
        self.source.rewind()
        self.entry = ctypes.c_void_p()
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
        code: int = self.functions.read_next_header(self._archive, ctypes.byref(self.entry))
        self._raise_kept()
        return code

    def block(self) -> tuple[int, bytes, int]:
        """Of the entry's data: code, bytes and their offset."""
        start, size, offset = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_int64()
        code = self.functions.read_data_block(
            self._archive, ctypes.byref(start), ctypes.byref(size), ctypes.byref(offset)
        )
        self._raise_kept()
        if code == libarchive_ffi.EOF or not start or not size.value or code < libarchive_ffi.WARN:
            return code, b"", offset.value
        return code, ctypes.string_at(start, size.value), offset.value

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


class Worker:
    """Does what it is told over ``line``."""

    def __init__(self, line: Line, order: dict[str, Any]) -> None:
        self.line, self.order = line, order
        _name_library()
        ffi = libarchive_ffi.load_recent("reading this archive")
        libarchive_ffi.use_utf8_names()
        bound(order)
        self.source = Source(line, [(int(fd), int(size)) for fd, size in order["files"]], int(order["size"]))
        self.archive = Archive(order, self.source, ffi)
        self._listed: groups.Listed | None = None
        self._is_ready = False  # whether _listed is known
        self._linear = 0  # where the next entry with bytes begins
        self._passed = True  # whether the current entry is counted in that already
        self._used = False  # whether anything was decoded since the archive was opened

    def list(self) -> None:
        lister = Lister(self.archive, self.order["kind"])
        for rows in lister.batches():
            self.source.alive()
            self.line.send_json(protocol.ENTRIES, rows)
        self.line.send_json(protocol.LISTED, lister.summary())

    def data(self, at: int, *, is_careful: bool) -> None:
        """Decodes the group with byte ``at`` of the linear stream. ``is_careful``: each entry is told before the next
        one is begun, which may be the last one."""
        start, end = self._group(at)
        kind = self.order["kind"]
        if start < self._linear or (self._used and kind == "7zip" and start != self._linear):
            self.archive.open()  # 7z: what libarchive passes over before it decodes anything costs nothing
            self._linear, self._passed, self._used = 0, True, False
        self._find(start)
        if end < 0:
            end = start + self._size()
        self.line.send(protocol.GROUP, start, end)
        sender = _Sender(self.line, -1 if is_careful else _HOLD)
        while self._linear < end:
            size = self._size()
            if size:
                self._used = True
                self._decode(sender, self._linear, size)
                self._linear += size
            self._passed = True
            if self._linear >= end or not self._next():
                break
        sender.flush()
        self.line.send(protocol.DONE)

    def _group(self, at: int) -> tuple[int, int]:
        """End -1: with this entry."""
        kind = self.order["kind"]
        if self.order["listed"]:
            if not self._is_ready:
                self._listed = groups.listed(kind, self.source.pread, self.source.size)
                self._is_ready = True
            if self._listed is not None:
                return self._listed.group(at)
        return (0, groups.END) if groups.is_solid(kind, self.source.pread) else (at, -1)

    def _find(self, start: int) -> None:
        """Goes to the entry whose bytes begin at ``start`` of the linear stream."""
        while self._passed or self._linear < start or not self._size():
            self._linear += 0 if self._passed else self._size()
            self.source.alive()
            if not self._next():
                raise DamagedError("the archive ends before this member")
        if self._linear != start:
            raise DamagedError("the archive has other members than its index")

    def _next(self) -> bool:
        """Goes to the next entry; False where there is none."""
        for _ in range(_RETRIES):
            code = self.archive.next_header()
            if code == libarchive_ffi.EOF:
                self._linear = groups.END  # to be opened again
                return False
            if code >= libarchive_ffi.WARN:
                self._passed = False
                return True
            if code == libarchive_ffi.FATAL:
                break
        raise self.archive.trouble()

    def _size(self) -> int:
        return linear_size(self.archive)

    def _decode(self, sender: _Sender, linear: int, size: int) -> None:
        """Tells the bytes of one entry, and whether they are bad."""
        got, end = 0, linear + size
        trouble: FormatError | None = None
        while trouble is None:
            code, data, offset = self.archive.block()
            self.source.alive()
            if code == libarchive_ffi.EOF:
                break
            if code != libarchive_ffi.OK:
                trouble = self.archive.trouble()
            if data and offset < got:
                trouble = trouble or DamagedError("libarchive: its data overlaps")
            elif data:
                if offset > got:
                    sender.zeros(linear + got, min(offset, size) - got)
                    got = min(offset, size)
                if got + len(data) > size:
                    trouble = trouble or DamagedError(f"has more than the {size} bytes that it claims")
                    data = data[: size - got]
                sender.add(linear + got, data)
                got += len(data)
        if trouble is None and got < size:
            trouble = DamagedError(f"its data ends after {got} of {size} bytes")
        if trouble is not None:
            self.line.send_json(protocol.BAD, trouble_of(trouble), linear, end)
        sender.end_of_entry()
        if trouble is not None and code == libarchive_ffi.FATAL:
            raise trouble


class _Sender:
    """Tells decoded bytes in large messages. What was added last stays here until its entry has been checked."""

    def __init__(self, line: Line, hold: float) -> None:
        self._line, self._hold = line, hold
        self._parts: list[bytes] = []
        self._start = self._size = 0
        self._sent = time.monotonic()

    def add(self, at: int, data: bytes) -> None:
        if self._parts and at != self._start + self._size:
            self.flush()
        if self._size + len(data) > _CHUNK:
            self.flush()
        if not self._parts:
            self._start = at
        self._parts.append(data)
        self._size += len(data)

    def zeros(self, at: int, size: int) -> None:
        while size > 0:
            step = min(size, _CHUNK)
            self.add(at, bytes(step))
            at, size = at + step, size - step

    def end_of_entry(self) -> None:
        if self._size >= _CHUNK // 2 or time.monotonic() - self._sent > self._hold:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._line.send(protocol.BYTES, self._start, 0, b"".join(self._parts))
        self._parts, self._size, self._sent = [], 0, time.monotonic()


def trouble_of(error: FormatError) -> protocol.Trouble:
    return type(error).__name__, str(error)


def grant_time() -> None:
    """Processor time until there must be a sign of life again."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SILENT_CPU, hard))


def bound(order: dict[str, Any]) -> None:
    """Sets what the process may take. All that it needs is loaded by now."""
    grant_time()
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    memory = pages * resource.getpagesize() + MEMORY + 3 * int(order["max_window"])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(NICE)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    if order["kind"] == "mtree":  # names files of this machine, which are none of its business
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _name_library() -> None:
    """Says where the library is, if it is where it mostly is: libarchive-c would run programs to find it."""
    name = "libarchive.so.13"
    try:
        ctypes.CDLL(name)
    except OSError:
        return
    os.environ.setdefault("LIBARCHIVE", name)


def _end_with(connection: socket.socket) -> None:
    """Ends this process when the other end has gone."""
    poll = select.poll()
    poll.register(connection, 0)  # a hang-up is always told
    poll.poll()
    os._exit(0)


def main(descriptor: int) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    line = Line(connection)
    try:
        try:
            worker = Worker(line, line.receive().json())
            while True:
                message = line.receive()
                if message.kind == protocol.LIST:
                    worker.list()
                elif message.kind == protocol.DATA:
                    worker.data(message.a, is_careful=message.b != 0)
                else:
                    break
        except FormatError as error:
            line.send_json(protocol.ERROR, trouble_of(error))
        except MemoryError:
            text = "needs more memory than it may take (--max-window raises that)"
            line.send_json(protocol.ERROR, ("LimitError", text))
        except OSError as error:
            line.send_json(protocol.ERROR, ("SourceError", f"cannot be read: {error.strerror}"))
    except EOFError:
        pass
    sys.stderr.flush()
    os._exit(0)
