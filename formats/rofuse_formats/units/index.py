"""The seek points of a source of units, in the common form (``rofuse_formats.seek_index``).

Strategy
A point is a *run* of units: where it begins in both streams, and how many bytes of the source it takes. Units that are
small are put into one run as long as a decoder can go through all of them. A unit that is damaged is a run by itself:
nothing is read through it.

Rules
- ``detail`` of a point: the length of the run in the source, times 256; 128 if it is cut; and the codec's own.
- ``word``: bytes of their output that decoders keep, at most.
"""

from __future__ import annotations

from typing import NamedTuple

from rofuse_formats import seek_index
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.seek_index import Point, SeekIndex
from rofuse_formats.source import Source
from rofuse_formats.units import Place, Unit

SPACING = 512 << 10
"""Decoded bytes of a run of more than one unit, at most."""

_CUT = 128


class Run(NamedTuple):
    """Units that are decoded one after the other."""

    place: Place
    start: int
    """In the decoded stream, as ``end``."""
    end: int
    cut: bool = False
    """Whether it ends where it is damaged, and not where its decoder does."""
    sound: bool = True
    first: bool = True


class Points:
    """Collects them. ``spacing``: decoded bytes of a run of several units, at most."""

    def __init__(self, spacing: int = SPACING) -> None:
        self.window = 0
        self._spacing = spacing
        self._points: list[Point] = []
        self._run = Run(Place(0, 0), 0, 0, sound=False)

    def add(self, unit: Unit, size: int, sound: bool = True, cut: bool = False) -> None:
        """The next unit, which decoded to ``size`` bytes."""
        run, place = self._run, unit.place
        end = run.end + size
        follows = unit.joined and run.sound and (run.first or not unit.first)
        if follows and sound and end - run.start <= self._spacing:
            whole = Place(run.place.offset, place.end - run.place.offset, run.place.detail)
            self._run = run._replace(place=whole, end=end)
        else:
            self._close()
            self._run = Run(place, run.end, end, cut, sound, unit.first)

    def _close(self) -> None:
        run = self._run
        if run.start < run.end:
            detail = run.place.length << 8 | (_CUT if run.cut else 0) | run.place.detail
            self._points.append(Point(run.start, run.place.offset, detail))

    def written(self, magic: bytes, source_size: int, intact: int) -> bytes:
        """The seek index; nothing is added any more."""
        self._close()
        size = self._run.end
        self._run = self._run._replace(start=size)
        points = self._points or [Point(0, 0)]
        return seek_index.write(magic, SeekIndex(source_size, intact, size, self.window, points))


def read(magic: bytes, data: bytes | bytearray | memoryview, source: Source) -> tuple[list[Run], int]:
    """The runs and the largest window. Raises IndexDamagedError."""
    index = seek_index.read(magic, data, source.size)
    ends = [*(point.decoded for point in index.points[1:]), index.size]
    runs, passed = [], 0
    for point, end in zip(index.points, ends, strict=True):
        place = Place(point.offset, point.detail >> 8, point.detail & _CUT - 1)
        if not passed <= place.offset <= place.end <= source.size:
            raise IndexDamagedError("seek index has a point that cannot be")
        passed = place.end
        runs.append(Run(place, point.decoded, end, bool(point.detail & _CUT)))
    return runs, index.word
