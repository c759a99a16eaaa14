"""Making seeds in a process beside this one.

Strategy
Much of making a seed is Python, of which one process runs one thread at a time: the seed would take turns with the
decoder and the scanner. So a process is forked before anything is decoded. What it needs of a boundary goes to it
through a socket, the output around the boundary through memory that both see, and there the seed comes back.

Rules
- It makes what ``points.make_seed`` makes. Where it has died, the seed is made here.
- It is forked where there is no thread, only where that is allowed (``Limits.may_fork``), and ends with this process.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from rofuse_formats.codecs.zstd import points, reach
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source

LEAST_SOURCE = 4 * MIB
"""Bytes of a source from which on it may have points inside a frame."""
_LARGEST_MESSAGE = 1 << 17  # a boundary is described in some 20 KiB, a seed in less


class _Request(NamedTuple):
    boundary: points.Boundary
    """Without its tail: that lies at the beginning of the memory, and ``size`` bytes that follow it behind."""
    tail: int
    size: int
    end: int


def start(source: Source, limits: Limits, largest_window: int) -> Apart | None:
    """A process for the seeds of ``source``, where one is allowed and may be of use. Raises nothing."""
    if not limits.may_fork or source.size < LEAST_SOURCE or threading.active_count() > 1:
        return None
    try:
        return Apart(source, largest_window)
    except OSError:  # no process, or no memory for one
        return None


class Apart:
    """The process. To be closed; used by one thread at a time."""

    def __init__(self, source: Source, largest_window: int) -> None:
        self._pid = 0
        self._source = source
        self._memory = mmap.mmap(-1, 2 * largest_window)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            _serve_and_exit(self._socket, theirs, self._memory, source)
        theirs.close()

    def make_seed(
        self, boundary: points.Boundary, follow: Sequence[bytes], size: int, end: int
    ) -> points.Seed | None:
        """As ``points.make_seed``."""
        try:
            self._send(boundary, follow, size, end)
            answer = self._socket.recv(_LARGEST_MESSAGE)
        except OSError:
            answer = b""
        if not answer:
            return points.make_seed(self._source, boundary, follow, size, end)
        seed: points.Seed | None = pickle.loads(answer)
        return seed._replace(packed=self._memory[: int.from_bytes(seed.packed, "little")]) if seed else None

    def reaches_behind(self, run: reach.Run) -> bool:
        """As ``reach.reaches_behind``."""
        try:
            self._socket.send(pickle.dumps(run))
            answer = self._socket.recv(_LARGEST_MESSAGE)
        except OSError:
            answer = b""
        return bool(pickle.loads(answer)) if answer else reach.reaches_behind(self._source, run)

    def _send(self, boundary: points.Boundary, follow: Sequence[bytes], size: int, end: int) -> None:
        at = len(boundary.tail)
        self._memory[:at] = boundary.tail
        left = size
        for chunk in follow:
            piece = chunk[:left]
            self._memory[at : at + len(piece)] = piece
            at += len(piece)
            left -= len(piece)
        self._socket.send(pickle.dumps(_Request(boundary._replace(tail=b""), at - size, size, end)))

    def close(self) -> None:
        if self._pid:
            pid, self._pid = self._pid, 0
            self._socket.close()
            os.waitpid(pid, 0)

    def __del__(self) -> None:  # of a pass whose index nobody asked for
        self.close()


def _serve_and_exit(
    ours: socket.socket, theirs: socket.socket, memory: mmap.mmap, source: Source
) -> NoReturn:
    try:
        ours.close()  # so that the end of the other process is seen
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the other one, which then ends
        _hold_memory()
        while message := theirs.recv(_LARGEST_MESSAGE):
            request: _Request | reach.Run = pickle.loads(message)
            if isinstance(request, reach.Run):
                theirs.send(pickle.dumps(reach.reaches_behind(source, request)))
            else:
                theirs.send(pickle.dumps(_made(request, memory, source)))
    finally:
        os._exit(0)


def _hold_memory() -> None:
    """Makes the C library give freed memory out again instead of back: each seed takes and frees the same large pieces,
    and a quarter of its time would go into having the kernel clear them."""
    import ctypes

    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's; musl has none
        mallopt(_M_MMAP_THRESHOLD, 32 * MIB)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _made(request: _Request, memory: mmap.mmap, source: Source) -> points.Seed | None:
    """The seed, with the length of what lies in the memory in place of it."""
    boundary = request.boundary._replace(tail=memory[: request.tail])
    with memoryview(memory) as view:
        stops = range(request.tail, request.tail + request.size, MIB)
        follow = [view[at : min(at + MIB, stops.stop)] for at in stops]
        seed = points.make_seed(source, boundary, follow, request.size, request.end)
        for piece in follow:
            piece.release()
    if not seed:
        return None
    memory[: len(seed.packed)] = bytes(seed.packed)
    return seed._replace(packed=len(seed.packed).to_bytes(8, "little"))
