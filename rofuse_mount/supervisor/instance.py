"""One running server, as its supervisor sees it; and the two ways to start one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TypeAlias

from rofuse_mount.supervisor.post import FIGURES, Seat

Start: TypeAlias = Callable[[Seat, Sequence[int]], int]
"""Starts a server in a process of its own, as a child; returns its pid. It inherits the seat's descriptors and must
not hold the others, which are the supervisor's: their end tells of the supervisor's death."""


class Instance:
    """A server: its process, its end of the channel, and how far it has come."""

    __slots__ = (
        "bench",
        "channel",
        "leaving",
        "message",
        "pid",
        "pidfd",
        "ready",
        "since",
        "status",
        "worker",
    )

    def __init__(self, pid: int, channel: socket.socket, worker: int, bench: int) -> None:
        self.pid, self.channel, self.worker, self.bench = pid, channel, worker, bench
        self.pidfd = os.pidfd_open(pid)
        self.ready = False
        self.leaving = False  # another has taken its place
        self.since = monotonic()
        self.status, self.message = 1, ""  # why it could not begin

    def to_json(self) -> list[int]:
        return [self.pid, self.channel.fileno(), self.worker, self.bench]

    @classmethod
    def from_json(cls, known: Sequence[int]) -> Instance:
        """A server that is ready, started by what this process was before."""
        pid, channel, worker, bench = known
        instance = cls(pid, socket.socket(fileno=channel), worker, bench)
        instance.ready = True
        return instance

    def tell(self, word: bytes, descriptor: int | None = None) -> None:
        """Never waits: a server that does not listen is told nothing."""
        try:
            if descriptor is None:
                self.channel.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                socket.send_fds(self.channel, [word], [descriptor], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return

    def show_figures(self, asker: int) -> None:
        self.tell(FIGURES, asker)

    def kill(self, number: int) -> None:
        """A pidfd cannot mean another process, whatever has become of the pid."""
        from signal import pidfd_send_signal

        try:
            pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def reap(self) -> int:
        """Waits for its end; returns the exit status, or minus the signal."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.channel.close()
        return os.waitstatus_to_exitcode(status)


def forking(serve: Callable[[Seat], int]) -> Start:
    """Servers that are forks of the supervisor: ``serve`` runs in each, and gives its exit status."""

    def start(seat: Seat, foreign: Sequence[int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            for fd in foreign:
                os.close(fd)
            status = serve(seat)
        finally:
            os._exit(status)

    return start


def spawning(command: Sequence[str], environment: dict[str, str], keep: Iterable[int]) -> Start:
    """Servers that are programs of their own: ``command`` with the seat's words. ``keep``: descriptors that they
    inherit under the same numbers."""
    kept = list(keep)

    def start(seat: Seat, foreign: Sequence[int]) -> int:
        inherited = [*kept, seat.device, seat.board, seat.channel]
        return os.posix_spawn(
            command[0],
            [*command, *seat.words()],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited],  # clears close-on-exec
            setsigmask=[],
            setsid=True,
        )

    return start
