"""Decoding in a process beside this one, by a library that is faster than libbz2.

Strategy
rapidgzip's decoder of bzip2 takes three quarters of the processor time of libbz2. It runs in a process of its own,
which is forked before anything is decoded. What it decodes lies in a ring of memory that both processes see. Through a
socket it says how many bytes it has written so far and, every now and then, its *edges*: at which bit, and at which
decoded byte, a block begins, or what follows one. Back comes how many bytes are done with.

Rules
- The process has one Python thread: with more, a relative of this library has waited for the GIL for ever.
- It is believed that bytes between two edges passed the check of their block (no edge is told before), and nothing
  else: what the blocks are followed by, and what is damaged, is for ``walk`` and ``block`` to say.
- A block that it does not give, whether it met damage, died or was silent too long, is decoded here, and with it all
  that follow. So are all where much lies in blocks that are too large to be held: those are decoded here in any case.
- It is forked where there is no thread, only where that is allowed (``Limits.may_fork``), and ends with this process.
  Its memory is bounded.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import socket
import threading
from array import array
from collections import deque
from itertools import chain, islice
from typing import NoReturn

from rofuse_formats.codecs import is_installed
from rofuse_formats.codecs.bzip2.bits import BLOCK, CHECKSUM, END, MARK, bits
from rofuse_formats.codecs.bzip2.block import LARGEST, LEAST, Block, decode
from rofuse_formats.codecs.bzip2.block import PIECE as LARGEST_KEPT
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import FileSource, Source

LEAST_SOURCE = 4 * MIB
"""Bytes of a source from which on a process pays."""
SILENCE = 60
"""Seconds without a word after which the process is given up; a piece takes it less than one."""
PIECE = MIB
RING = 16 * PIECE
_TELL_EDGES = 4 * PIECE  # from one account of the edges to the next: each costs a copy of all that there are
_LARGE = RING // 2  # a block that has so much behind its start, and no end, is not held
_TWICE_AT_MOST = 4  # one byte in so many may be decoded twice, more of them cost what is gained
_MOST_EDGES = 1 << 18  # some 230 GB of blocks as compressors make them, or 1 MB of crafted ones
_EDGES_AT_ONCE = 4096
_MESSAGE = 8 * (1 + 2 * _EDGES_AT_ONCE)
_MOST_THREADS = 8
_MEMORY = 256 * MIB  # that it may take, beside what it was forked with


def start(source: Source, limits: Limits) -> Apart | None:
    """A process that decodes ``source``, where one is allowed and of use. Raises nothing."""
    if not isinstance(source, FileSource) or source.size < LEAST_SOURCE:
        return None
    if not limits.may_fork or threading.active_count() > 1 or not is_installed("rapidgzip"):
        return None
    try:
        return Apart(source)
    except OSError:  # no process, or no memory for one
        return None


class Apart:
    """The process. To be closed; used by one thread at a time."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._written = 0  # decoded bytes that came into the ring, of the whole stream
        self._freed = self._told = 0  # those that are done with, and as the process knows it
        self._twice = 0  # those of large blocks, which were decoded there and here
        self._edges: deque[tuple[int, int]] = deque()  # (bit offset, decoded offset), ascending
        self._ring = mmap.mmap(-1, RING)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(SILENCE)
        self._pid = os.fork()
        if not self._pid:
            _serve_and_exit(self._socket, theirs, self._ring, source.fd)
        theirs.close()

    def block(self, start: int) -> Block | None:
        """The block at a bit offset, each behind the one before. None: it is to be decoded here, and so are all that
        are asked for after it."""
        if not self._pid:
            return None
        try:
            block = self._block(start)
        except (OSError, EOFError):
            block = None
        if block is None:
            self.close()
        return block

    def close(self) -> None:
        if self._pid:
            pid, self._pid = self._pid, 0
            self._socket.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _block(self, start: int) -> Block | None:
        self._find(start)
        (found, begin), (end, stop) = self._edges[0], self._edges[1]
        if found != start or stop <= begin or not self._can_be_block(start, end):
            return None
        large = stop - begin > LARGEST_KEPT
        if large:
            self._twice += stop - begin
            if self._twice * _TWICE_AT_MOST > stop:
                return None
        while self._written < stop:
            if large:
                self._free(self._written)
            self._receive()
        if large:
            self._free(stop)
            return decode(self._source, start, end)
        if begin < self._freed:
            return None
        checksum = bits(self._source, start + MARK, CHECKSUM)
        block = Block(start, end, checksum, stop - begin, self._bytes(begin, stop), b"")
        self._free(stop)
        return block

    def _find(self, start: int) -> None:
        """Makes the edge at a bit offset, or else the last one before, the first of ``_edges``, and has the one that
        follows it."""
        edges = self._edges
        while len(edges) < 2 or edges[1][0] <= start:
            if len(edges) > 1:
                edges.popleft()
                continue
            if edges and self._written - edges[0][1] > _LARGE:
                self._free(self._written)
            self._receive()

    def _can_be_block(self, start: int, end: int) -> bool:
        if not LEAST <= end - start <= LARGEST or end + MARK > self._source.size * 8:
            return False
        return bits(self._source, end, MARK) in (BLOCK, END)

    def _receive(self) -> None:
        numbers = array("Q", self._socket.recv(_MESSAGE))
        if not numbers:
            raise EOFError
        self._written = numbers[0]
        self._edges.extend(zip(numbers[1::2], numbers[2::2], strict=True))

    def _bytes(self, start: int, end: int) -> bytes:
        first, last = start % RING, end % RING
        if first < last:
            return self._ring[first:last]
        return self._ring[first:] + self._ring[:last]

    def _free(self, end: int) -> None:
        """What is before ``end`` is done with."""
        self._freed = max(self._freed, end)
        if self._freed - self._told >= PIECE:
            self._told = self._freed
            self._socket.send(self._told.to_bytes(8, "little"))


def _serve_and_exit(ours: socket.socket, theirs: socket.socket, ring: mmap.mmap, fd: int) -> NoReturn:
    try:
        ours.close()  # so that the end of the other process is seen
        theirs.settimeout(None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the other one, which then ends
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the library complains, of garbage and when it dies
        _bound(resource.RLIMIT_DATA, _data() + _MEMORY)
        _bound(resource.RLIMIT_CORE, 0)
        try:
            _serve(theirs, memoryview(ring), fd)
        finally:
            _take_leave(theirs)
    finally:
        os._exit(0)


def _take_leave(theirs: socket.socket) -> None:
    """A socket that is closed with something unread in it takes from the other side what that has not read."""
    theirs.shutdown(socket.SHUT_WR)
    while theirs.recv(8):
        pass


def _data() -> int:
    """Bytes of this process that count for RLIMIT_DATA: proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def _bound(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))


def _serve(theirs: socket.socket, ring: memoryview, fd: int) -> None:
    from rapidgzip import IndexedBzip2File

    # More than one: the decoder of one thread gives bytes out before it has checked them.
    threads = min(max(2, len(os.sched_getaffinity(0))), _MOST_THREADS)
    reader = IndexedBzip2File(f"/proc/self/fd/{fd}", parallelization=threads)
    written = freed = known = 0
    got = True
    while got:
        while written + PIECE > freed + RING:
            freed = _received(theirs)
        at = written % RING
        signal.setitimer(signal.ITIMER_REAL, SILENCE)  # nobody may be left to end a process that hangs
        count = reader.readinto(ring[at : min(at + PIECE, RING)])
        signal.setitimer(signal.ITIMER_REAL, 0)
        written, got = written + count, count > 0
        new: list[int] = []
        if not got or written % _TELL_EDGES < PIECE:
            edges = reader.available_block_offsets()
            if len(edges) > _MOST_EDGES:
                return
            new.extend(chain.from_iterable(islice(edges.items(), known, None)))
            known = len(edges)
        for first in range(0, len(new) or 1, 2 * _EDGES_AT_ONCE):
            theirs.send(array("Q", [written, *new[first : first + 2 * _EDGES_AT_ONCE]]).tobytes())


def _received(theirs: socket.socket) -> int:
    message = theirs.recv(8)
    if not message:
        raise EOFError
    return int.from_bytes(message, "little")
