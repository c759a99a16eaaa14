"""A group on its way through a helper process, as ``decoding`` keeps account of it."""

from __future__ import annotations

from bisect import bisect_right

from rofuse_formats.archives.libarchive.process import Helper
from rofuse_formats.errors import FormatError


class Pass:
    """``start``, ``position`` and ``end`` are places in the linear stream."""

    def __init__(self, at: int) -> None:
        self.wanted, self.start, self.end, self.position = at, at, at + 1, at
        self.helper: Helper | None = None
        self.is_begun = False  # whether it is known which group it is
        self.is_busy = True  # whether a thread moves it on
        self.is_by_itself = False  # whether that does it for nobody in particular,
        self.is_to_stop = False  # and is to make room for who wants something else
        self.is_over = False
        self.deaths = 0
        self.trouble: FormatError | None = None  # of the run that is missing before the next bytes
        self.parts: list[bytes] = []  # decoded, up to ``position``, and perhaps in no spool yet
        self._starts: list[int] = []  # where each of those begins
        self.written = at  # up to where they were handed on to be written

    def covers(self, at: int) -> bool:
        return self.start <= at < self.end

    @property
    def first(self) -> int:
        """Where ``parts`` begin."""
        return self._starts[0] if self._starts else self.position

    def begin(self, start: int, end: int) -> None:
        self.start = self.position = self.written = start
        self.end, self.is_begun = end, True

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
