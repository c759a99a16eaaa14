"""A group on its way through a helper process, as ``decoding`` keeps account of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from rofuse_formats.archives.libarchive.process import Helper
from rofuse_formats.errors import FormatError
from rofuse_formats.limits import MIB

_NEARLY = 32 * MIB  # bytes that are decoded in less time than another helper takes to start, or little more


class Pass:
    """``start``, ``position`` and ``end`` are places in the linear stream."""

    def __init__(self, at: int) -> None:
        self.wanted, self.start, self.end, self.position = at, at, at + 1, at
        self.helper: Helper | None = None
        self.is_begun = False  # whether it is known which group it is
        self.is_busy = True  # whether a thread moves it on
        self.is_by_itself = False  # whether that does it for nobody in particular,
        self.is_to_stop = False  # and is to make room for who wants something else, unless it is nearly over
        self.is_over = False
        self.deaths = 0
        self.trouble: FormatError | None = None  # of the run that is missing before the next bytes
        self.parts: list[bytes] = []  # decoded, up to ``position``, and perhaps in no spool yet
        self._starts: list[int] = []  # where each of those begins
        self.written = at  # up to where they were handed on to be written
        self.ahead: list[tuple[int, int]] = []  # runs that are best decoded when it is over

    def covers(self, at: int) -> bool:
        return self.start <= at < self.end

    def end_of(self, at: int) -> int:
        """Its end, where it covers that byte; else that itself."""
        return self.end if self.covers(at) else at

    @property
    def has_to_stop(self) -> bool:
        return self.is_to_stop and self.end - self.position > _NEARLY

    @property
    def first(self) -> int:
        """Where ``parts`` begin."""
        return self._starts[0] if self._starts else self.position

    def begin(self, start: int, end: int) -> None:
        self.start = self.position = self.written = start
        self.end, self.is_begun = end, True

    def go_further(self, start: int, end: int) -> None:
        """What else lies in [start, end) comes next: what is behind this group, then what is before it. Not again what
        a pass before this one has left aside."""
        if not self.ahead:
            self.ahead = [(self.end, end), (start, self.start)]

    def following(self, end_of: Callable[[int], int]) -> Pass | None:
        """The pass that comes after this one, which is over. ``end_of``: up to where bytes are known."""
        runs = [
            (max(start, self.end), end) if self.covers(start) else (start, end) for start, end in self.ahead
        ]
        while runs:
            start, end = runs[0]
            start = max(start, end_of(start))
            if start < end:
                found = Pass(start)
                found.is_by_itself = True
                found.ahead = [(start, end), *runs[1:]]
                return found
            del runs[0]
        return None

    def add(self, data: bytes) -> None:
        self._starts.append(self.position)
        self.parts.append(data)
        self.position += len(data)

    def pass_over(self, at: int) -> None:
        """Goes on at ``at``; nothing is remembered."""
        self.parts, self._starts = [], []
        self.position = self.written = at

    def forget(self, end: int) -> None:
        """The parts that end there, at the latest, are needed no more."""
        number = bisect_right(self._starts, end) - 1
        if number >= 0 and end >= self._starts[number] + len(self.parts[number]):
            number += 1
        if number > 0:
            del self.parts[:number], self._starts[:number]

    def bytes(self, start: int, end: int) -> memoryview:
        found = []
        number = bisect_right(self._starts, start) - 1
        while start < end:
            at = start - self._starts[number]
            found.append(memoryview(self.parts[number])[at : at + end - start])
            start, number = start + len(found[-1]), number + 1
        return found[0] if len(found) == 1 else memoryview(b"".join(found))


def make_room(passes: list[Pass]) -> None:
    """Has one pass stop that goes on for nobody: what it has decoded is kept."""
    if not any(current.is_to_stop for current in passes):
        for current in passes:
            if current.is_by_itself:
                current.is_to_stop = True
                return
