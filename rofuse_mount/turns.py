"""Which of several threads reads the next request.

Strategy
Where all threads wait at the descriptor, the kernel wakes another one for each request, on a processor that sleeps, and
all of them contend for the interpreter: a request that is answered in microseconds takes three times as long as where
there is one thread. So one reads and answers, the same again and again, as long as answers take no time. Before one
that may (something must be decoded), it gives its turn away, and another thread reads meanwhile.

Rules
- What is quick, the filesystem says (``is_quick``); one that says nothing has all its threads wait at the descriptor.
- The turn is never held while anything is waited for but the next request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from rofuse_mount.answering import Requests
from rofuse_mount.device import was_sent_before


@runtime_checkable
class SaysWhatIsQuick(Protocol):
    """What a filesystem has besides when it knows which answers take no time."""

    def is_quick(self, request: memoryview, /) -> bool:
        """Whether a request (header and body, unchecked) is answered from memory, or nearly so. Raises nothing."""
        ...


@runtime_checkable
class PreparesAhead(Protocol):
    """What a filesystem has besides when it can do something for a request before it comes."""

    def prepare(self) -> None:
        """Called after an answer, by the thread that has the turn, while nothing is to be answered: may take as long
        as an answer does that is quick. Raises nothing."""
        ...


@runtime_checkable
class StoresAhead(Protocol):
    """What a filesystem has besides when it knows what will be read next."""

    def store_ahead(self, store: Callable[[int, list[memoryview]], bool], /) -> None:
        """Is given what puts a whole file (its inode, its bytes) into the kernel's page cache; tells whether that was
        done. It may wait until other threads have answered what was asked of them: to be called by one thread at a
        time, which has not the turn (``turns``), and holds nothing that answering takes. Raises OSError."""
        ...

    def push(self) -> None:
        """Called by a thread when it has answered what it gave up its turn for: may store files. Raises nothing."""
        ...


def noted(is_quick: Callable[[memoryview], bool], note: Callable[[], None]) -> Callable[[memoryview], bool]:
    """``is_quick`` of a request that has just been read, once ``note`` has noted that. One that was sent before is not
    quick: perhaps it is answered alone, and waits for that unnoted (``supervisor.post``). Nobody keeps the turn
    meanwhile."""

    def is_quick_and_noted(request: memoryview) -> bool:
        if was_sent_before(request):
            return False
        note()
        return is_quick(request)

    return is_quick_and_noted


def in_turn(
    requests: Iterator[memoryview],
    turn: threading.Lock,
    is_quick: Callable[[memoryview], bool],
    afterwards: Callable[[memoryview], None] = lambda request: None,
) -> Requests:
    """One thread's ``requests``: read, and the quick ones answered, while it has the turn. ``afterwards`` is called
    without it, with another one when that is answered."""
    while True:
        with turn:
            for request in requests:
                if not is_quick(request):
                    break
                yield request
            else:
                return
        yield request
        afterwards(request)
