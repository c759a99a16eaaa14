"""Looking for the next request for a moment before sleeping until it comes.

Strategy
Whoever walks a tree or opens a file sends its next request some microseconds after it got an answer. To be woken for it
costs more than to answer it, most of all on a virtual machine, whose idle processors are given back. So after a request
the descriptor is looked at again and again for a moment, and other threads are let in between.

Rules
- One thread at a time: the one that has the turn (``turns``). Never where there is one processor: the client needs it.
- What is looked for in vain is looked for less: after the first time one request goes by without, then three, seven...
- Nothing happens but after a request, so at rest it costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from select import POLLIN, poll
from time import perf_counter_ns

MOMENT = 300_000  # nanoseconds
_MOST_PASSED_OVER = 255


def is_worth_it() -> bool:
    """Whether there is a processor beside the client's."""
    return len(os.sched_getaffinity(0)) > 1


class Spinner:
    """For one descriptor at a time. ``paid`` and ``vain``: how often a request came in time, and how often not."""

    def __init__(self, prepare: Callable[[], None] = lambda: None) -> None:
        self.paid = self.vain = 0
        self._passed_over = 0  # requests, after the last vain look
        self._left = 0  # of those, still to come
        self._fd = -1
        self._poll = poll().poll
        self._prepare = prepare

    def figures(self) -> dict[str, int]:
        return {"paid": self.paid, "vain": self.vain}

    def wait(self, fd: int) -> None:
        """Returns when there is something to read, or when it takes too long to come."""
        if self._left:
            self._left -= 1
            return
        if fd != self._fd:
            self._look_at(fd)
        looked, clock, give_way = self._poll, perf_counter_ns, os.sched_yield
        if not looked(0):
            self._prepare()
        end = clock() + MOMENT
        while not looked(0):
            if clock() > end:
                self.vain += 1
                self._left = self._passed_over = min(2 * self._passed_over + 1, _MOST_PASSED_OVER)
                return
            give_way()
        self.paid += 1
        self._passed_over = 0

    def _look_at(self, fd: int) -> None:
        poller = poll()
        poller.register(fd, POLLIN)
        self._fd, self._poll = fd, poller.poll
