"""A page of memory that a supervisor and its servers share: what must be known when a server has died.

Strategy
Each serving thread has a slot and writes the number of each request into it before it begins: a single store. A
process that dies takes nothing of that with it, so its supervisor sees what it was at. A number stays until the next
one overwrites it, answered or not: numbers are never used twice, and an answered request does not come again.

Layout (native integers of 8 bytes): what was negotiated at INIT (its length, then up to 56 bytes); the suspects, pairs
of a request's number and how many servers died at it; then the slots, a bench of 64 for each server.

Rules
- The supervisor alone writes suspects; a server writes its own bench, and what it negotiated, once.
- Numbers are kept without bit 63, which says only that a request was delivered before.
"""

from __future__ import annotations

import mmap
import os

RESENT = 1 << 63  # in the number of a request that was delivered before
THREADS = 64  # slots of a bench; a thread beyond them is not watched
BENCHES = 128  # servers at a time; twice as many as workers: each may be being replaced

_SUSPECTS = 64
_NEGOTIATED_MAX = 56
_SUSPECTS_AT = 8
_SLOTS_AT = _SUSPECTS_AT + 2 * _SUSPECTS
_SIZE = 8 * (_SLOTS_AT + BENCHES * THREADS)


class Board:
    """The page behind a descriptor, which stays the caller's."""

    __slots__ = ("_words", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._words = memoryview(mmap.mmap(fd, _SIZE)).cast("Q")

    @classmethod
    def create(cls) -> Board:
        fd = os.memfd_create("rofuse-board", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        return cls(fd)

    @property
    def negotiated(self) -> bytes:
        """What was agreed at INIT (``Engine.negotiated``); empty before."""
        length = min(self._words[0], _NEGOTIATED_MAX)
        return bytes(self._words[1:_SUSPECTS_AT].cast("B")[:length])

    @negotiated.setter
    def negotiated(self, agreement: bytes) -> None:
        if len(agreement) > _NEGOTIATED_MAX:
            raise ValueError("the agreement does not fit")
        self._words[1:_SUSPECTS_AT].cast("B")[: len(agreement)] = agreement
        self._words[0] = len(agreement)  # last: a length without its bytes is never seen

    def bench(self, number: int) -> memoryview:
        """The slots of one server."""
        start = _SLOTS_AT + number * THREADS
        return self._words[start : start + THREADS]

    def at_work(self, bench: int) -> list[int]:
        """The last requests of a server's threads."""
        return [unique & ~RESENT for unique in self.bench(bench) if unique]

    def charge(self, bench: int) -> None:
        """A server has died: counts it for each request that it was at, and clears its bench for the next one."""
        suspects = {number: deaths for number, deaths in self._suspects() if number}
        for number in self.at_work(bench):
            suspects[number] = suspects.pop(number, 0) + 1  # now the last of them
        kept = list(suspects.items())[-_SUSPECTS:]
        for place, (number, deaths) in enumerate(kept):
            at = _SUSPECTS_AT + 2 * place
            self._words[at], self._words[at + 1] = number, deaths
        self.clear(bench)

    def clear(self, bench: int) -> None:
        slots = self.bench(bench)
        for slot in range(THREADS):
            slots[slot] = 0

    def deaths(self, unique: int) -> int:
        """How many servers died at a request."""
        wanted = unique & ~RESENT
        return next((deaths for number, deaths in self._suspects() if number == wanted), 0)

    def _suspects(self) -> list[tuple[int, int]]:
        words = self._words[_SUSPECTS_AT:_SLOTS_AT].tolist()
        return list(zip(words[::2], words[1::2], strict=True))
