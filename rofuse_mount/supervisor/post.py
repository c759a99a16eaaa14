"""A server's side of its supervisor: what it is given, what it tells, what it is told.

Strategy
A server gets a ``Seat``: a descriptor of the connection, the board, its bench there, and one end of a channel.
``Post`` is what it does with them: it watches over the requests that its threads read, and speaks on the channel.

    server to supervisor   R                ready: INIT is answered, or what was negotiated is taken over
                           F status message could not begin
                           E                asked to end by a signal: end the mount
    supervisor to server   L                leave: each thread after one more request
                           S + descriptor   write your figures to it, as one line of JSON

A request that was delivered before is looked up among those that servers died at. These are answered one at a time, so
that the one which kills is told from those that were only there too; one that too many servers died at is answered
EIO, and the others live.

Rules
- The channel's end is the supervisor's death. The server goes on, and ends the mount itself when its time comes, or
  at once if it is not to serve ``alone``.
- Memory that has run out ends the server: the next one has it again, and the request with it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rofuse_mount.supervisor.board import RESENT, THREADS, Board

if TYPE_CHECKING:
    from rofuse_mount.answering import Requests

READY, FAILED, END = b"R", b"F", b"E"
LEAVE, FIGURES = b"L", b"S"

GIVEN_UP = 4  # deaths at a request after which it is answered EIO
OUT_OF_MEMORY = 71  # exit status

_MESSAGE_MAX = 4096


class Seat:
    """What a supervisor gives a server: descriptors, and the number of its bench on the board."""

    __slots__ = ("bench", "board", "channel", "device")

    def __init__(self, device: int, board: int, bench: int, channel: int) -> None:
        self.device, self.board, self.bench, self.channel = device, board, bench, channel

    def words(self) -> list[str]:
        """As arguments of a command; ``Seat(*map(int, words))`` is the seat again."""
        return [str(number) for number in (self.device, self.board, self.bench, self.channel)]


class Post:
    """The seat, taken. ``negotiated``: what an earlier server has agreed with the kernel, empty for the first."""

    def __init__(self, seat: Seat, *, alone: bool = True) -> None:
        self.alone = alone
        self.board = Board(seat.board)
        self.negotiated = self.board.negotiated
        self.leaving = False
        self.supervised = True
        self._channel = socket.socket(fileno=seat.channel)
        self._bench = self.board.bench(seat.bench)
        self._places = iter(range(THREADS))
        self._alone = threading.Lock()  # held by whoever answers a suspect

    def fileno(self) -> int:
        """Readable when ``attend`` has something to do."""
        return self._channel.fileno()

    # --- requests ---------------------------------------------------------------------------

    def noting(self, buffer: bytearray) -> Callable[[], None]:
        """Notes the request in ``buffer`` on the board: one for each thread, which calls it as soon as it has read one
        that was not sent before. What is not noted nobody answers when this server dies, where the kernel cannot send
        it again."""
        head = memoryview(buffer)[:16].cast("Q")  # the second word of a request is its number
        place = next(self._places, None)
        slots, slot = (self._bench, place) if place is not None else (memoryview(bytearray(8)).cast("Q"), 0)

        def note() -> None:
            slots[slot] = head[1]

        return note

    def watch(
        self,
        requests: Requests,
        note: Callable[[], None],
        buffer: bytearray,
        refuse: Callable[[memoryview], None],
    ) -> Requests:
        """Each of ``requests``, which all lie in ``buffer``, noted on the board while it is answered; ``refuse``
        answers EIO. Of those that were sent before one is answered at a time, and is noted not until then: by then
        ``requests`` must hold nothing that others wait for."""
        head = memoryview(buffer)[:16].cast("Q")
        for request in requests:
            unique = head[1]
            if unique >= RESENT and (deaths := self.board.deaths(unique)):
                if deaths >= GIVEN_UP:
                    _warn("opcode %d is answered EIO: %d servers died at this request", request[4], deaths)
                    refuse(request)
                    continue
                with self._alone:
                    note()
                    yield request
            else:
                note()
                yield request
            if self.leaving:
                requests.close()
                return

    def out_of_memory(self) -> None:
        """Ends this process at once, with no reply to what it is at."""
        _warn("out of memory: another server goes on")
        os._exit(OUT_OF_MEMORY)

    # --- the channel ------------------------------------------------------------------------

    def ready(self, negotiated: bytes) -> None:
        """The mount is served, on these terms."""
        if not self.negotiated:
            self.board.negotiated = negotiated
        self._tell(READY)

    def failed(self, status: int, message: str) -> None:
        """It never will be, by this process."""
        self._tell(FAILED + bytes((status,)) + os.fsencode(message)[: _MESSAGE_MAX - 2])

    def ask_end(self) -> bool:
        """Lets the supervisor end the mount. False when there is none any more."""
        self._tell(END)
        return self.supervised

    def attend(self, figures: Callable[[], str]) -> None:
        """Does what the supervisor says. ``figures``: the line that FIGURES wants."""
        try:
            word, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            word, descriptors = b"", []
        if word == LEAVE:
            self.leaving = True
        elif not word:
            self.supervised = False
        for fd in descriptors:
            if word == FIGURES:
                _write_line(fd, figures())
            os.close(fd)

    def _tell(self, message: bytes) -> None:
        try:
            self._channel.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            self.supervised = False


def _write_line(fd: int, line: str) -> None:
    """To a socket, and without waiting: who asked and does not read gets nothing."""
    with socket.socket(fileno=os.dup(fd)) as asker:
        try:
            asker.send(line.encode() + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return


def _warn(message: str, *values: object) -> None:
    import logging

    logging.getLogger("rofuse_mount").warning(message, *values)
