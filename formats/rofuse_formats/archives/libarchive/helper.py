"""The process in which libarchive reads what a stranger wrote: it may die, and nobody else does.

Strategy
It reads the source through the descriptors that it was given, or asks for its bytes over the socket, and does what it
is told: ``LIST`` describes all entries from their headers, ``DATA`` decodes one group (``groups``). For a further
group it goes on where it is, or opens the archive again. What is ``plain`` is decoded without libarchive.

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
import threading
from functools import cached_property
from typing import Any, NoReturn

from rofuse_formats import libarchive_ffi
from rofuse_formats.archives.libarchive import groups, plain, protocol
from rofuse_formats.archives.libarchive.listing import Lister, linear_size
from rofuse_formats.archives.libarchive.opened import Archive, Source, grant_time
from rofuse_formats.archives.libarchive.protocol import QueuedLine
from rofuse_formats.archives.libarchive.sevenzip.groups import Groups
from rofuse_formats.archives.libarchive.telling import Sender, trouble_of
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.limits import MIB, Limits

MEMORY = 256 * MIB
"""Bytes of address space beside three windows: what the process has itself, and libarchive's buffers."""
_RETRIES = 3


class _MismatchError(Exception):
    pass


class Worker:
    """Does what it is told over ``line``."""

    def __init__(self, line: QueuedLine, order: dict[str, Any]) -> None:
        self.line, self.order = line, order
        _name_library()
        ffi = libarchive_ffi.load_recent("reading this archive")
        libarchive_ffi.use_utf8_names()
        bound(order)
        self.source = Source(
            line,
            [(int(fd), int(size)) for fd, size in order["files"]],
            int(order["size"]),
            int(order["start"]),
        )
        self._ffi = ffi
        limits = Limits(max_window=int(order["max_window"]))
        is_7z = order["kind"] == "7zip"
        self._plain = Groups(self.source.pread, self.source.size, limits) if is_7z else None
        self._linear = self._number = 0  # where the next entry with bytes begins, and how many came before it
        self._passed = True  # whether the current entry is counted in that already
        self._used = False  # whether anything was decoded since the archive was opened

    @cached_property
    def archive(self) -> Archive:
        """Opened when it is wanted: what is plain needs no libarchive."""
        return Archive(self.order, self.source, self._ffi)

    @cached_property
    def _listed(self) -> groups.Listed | None:
        return self.archive.listed

    def list(self, least: int) -> None:
        lister = Lister(self.archive, self.order["kind"])
        for rows in lister.batches():
            self.source.alive()
            self.line.send_json(protocol.ENTRIES, rows)
        self.line.send_json(protocol.LISTED, lister.summary(least))

    def data(self, at: int, *, is_careful: bool) -> None:
        """Decodes the group with byte ``at`` of the linear stream. ``is_careful``: each entry is told before the next
        one is begun, which may be the last one."""
        group = self._plain.find(at) if self._plain is not None else None
        if self._plain is not None and group is not None:
            plain.decode(self._plain, group, self.line, self.source, is_careful=is_careful)
            return
        start, end = self._group(at)
        try:
            self._find(start)
        except _MismatchError:  # what is listed is not what libarchive gives
            self._listed = None
            start, end = 0, groups.END
            self._find(start)
        if end < 0:
            end = start + self._size()
        self.line.send(protocol.GROUP, start, end)
        sender = Sender(self.line, is_careful=is_careful)
        while self._linear < end:
            size = self._size()
            if size:
                self._used = True
                self._decode(sender, self._linear, size)
                self._linear, self._number = self._linear + size, self._number + 1
            self._passed = True
            if self._linear >= end or not self._next():
                break
        sender.flush()
        self.line.send(protocol.DONE)

    def _group(self, at: int) -> tuple[int, int]:
        """End -1: with this entry."""
        kind = self.order["kind"]
        if self._listed is not None:
            return self._listed.group(at)
        return (0, groups.END) if groups.is_solid(kind, self.source.pread) else (at, -1)

    def _find(self, start: int) -> None:
        """Goes to the entry whose bytes begin at ``start`` of the linear stream."""
        if start < self._linear or (
            self._used and self.order["kind"] == "7zip" and start != self._linear
        ):  # 7z: what libarchive passes over before it decodes anything costs nothing
            self.archive.open()
            self._linear, self._number, self._passed, self._used = 0, 0, True, False
        while self._passed or self._linear < start or not self._size():
            if not self._passed:
                self._pass_over(self._size())
            self.source.alive()
            if not self._next():
                raise DamagedError("the archive ends before this member")
        if self._linear != start:
            raise DamagedError("the archive has other members than its index")

    def _pass_over(self, size: int) -> None:
        if size:
            listed = self._listed
            if listed is not None and listed.sizes[self._number : self._number + 1] != [size]:
                raise _MismatchError
            self._linear, self._number = self._linear + size, self._number + 1

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

    def _decode(self, sender: Sender, linear: int, size: int) -> None:
        """Tells the bytes of one entry, and whether they are bad."""
        got, end = 0, linear + size
        trouble: FormatError | None = None
        block, alive = self.archive.block, self.source.alive
        while trouble is None:
            code, data, offset = block()
            if code == libarchive_ffi.EOF:
                break
            alive()
            if code == libarchive_ffi.OK and offset == got and got + len(data) <= size:
                sender.add(linear + got, data)
                got += len(data)
                continue
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


def bound(order: dict[str, Any]) -> None:
    """Sets what the process may take. All that it needs is loaded by now."""
    grant_time()
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    memory = pages * resource.getpagesize() + MEMORY + 3 * int(order["max_window"])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
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
    line = QueuedLine(connection)
    try:
        try:
            worker = Worker(line, line.receive().json())
            while True:
                message = line.receive()
                if message.kind == protocol.LIST:
                    worker.list(message.a)
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
    line.wait()
    os._exit(0)
