"""Rows of a table, as runs of rows that follow each other: what is in them is then moved in few pieces."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import chain, compress, islice, starmap
from operator import itemgetter, ne

_CHUNK = 1 << 10  # rows that are looked at together
_MANY = 1 << 14  # rows, or runs, that are objects at a time
_WORTH = 4  # rows that a run must have on the average, to be moved faster than they by themselves


class Runs:
    """The rows ``[start, stop)`` of each of ``starts`` and ``stops`` (arrays of "I"), in this order."""

    __slots__ = ("starts", "stops")

    def __init__(self, starts: array[int], stops: array[int]) -> None:
        self.starts, self.stops = starts, stops

    @classmethod
    def of(cls, rows: array[int]) -> Runs:
        """Of rows one by one."""
        starts, stops = array("I"), array("I")
        for first in range(0, len(rows), _CHUNK):
            chunk = rows[first : first + _CHUNK]
            if chunk == array("I", range(chunk[0], chunk[0] + len(chunk))):
                starts.append(chunk[0])
            else:
                changes = list(compress(range(1, len(chunk)), map(ne, chunk[1:], map((1).__add__, chunk))))
                starts.append(chunk[0])
                starts.extend(map(chunk.__getitem__, changes))
                stops.extend([chunk[change - 1] + 1 for change in changes])
            stops.append(chunk[-1] + 1)
        return cls(starts, stops)

    def __iadd__(self, others: Runs) -> Runs:
        self.starts += others.starts
        self.stops += others.stops
        return self

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(starmap(range, self.bounds()))

    def __bool__(self) -> bool:
        return bool(self.starts)

    def bounds(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.stops, strict=True)

    def gathered(self, values: array[int]) -> array[int]:
        """What ``values`` have in these rows."""
        found = array(values.typecode)
        if _WORTH * len(self.starts) <= sum(self.stops) - sum(self.starts):
            for first in range(0, len(self.starts), _MANY):
                chunk = slice(first, first + _MANY)
                pieces = map(slice, self.starts[chunk], self.stops[chunk])
                found.frombytes(b"".join(map(values.__getitem__, pieces)))
            return found
        rows = iter(self)
        while chunk_of_rows := list(islice(rows, _MANY)):
            found.extend(array(values.typecode, itemgetter(*chunk_of_rows, chunk_of_rows[0])(values)[:-1]))
        return found
