"""Choosing seek points.

Where a block does not depend on what is before it, a point costs nothing but its record; they are ``SPACING`` apart.
Within a frame of linked blocks it needs the 64 KiB of output before it. There the next point is due when the source
has moved on by so much that the window is one part in ``SHARE`` of it, or the output by ``FARTHEST``.
"""

from __future__ import annotations

from rofuse_formats.limits import MIB
from rofuse_formats.seek_index import Point, Window

SPACING = 1 * MIB
SHARE = 128
FARTHEST = 32 * MIB
FIRST_GUESS = 20 << 10  # packed bytes of a window


class Planner:
    """The points so far. Places are offered in ascending order."""

    def __init__(self, spacing: int, share: int) -> None:
        self.points: list[Point] = []
        self._spacing, self._share = spacing, share
        self._packed = FIRST_GUESS

    def free(self, decoded: int, offset: int, detail: int, *, needed: bool) -> None:
        """A place that needs no window; ``needed``: whether there must be a point at this offset of the output."""
        if not self.points or (
            decoded > self.points[-1].decoded
            and (needed or decoded - self.points[-1].decoded >= self._spacing)
        ):
            self.points.append(Point(decoded, offset, detail))

    def linked(self, decoded: int, offset: int, detail: int, window: bytes) -> None:
        """A place that needs one."""
        output, input_ = decoded - self.points[-1].decoded, offset - self.points[-1].offset
        if output < self._spacing or (input_ < self._packed * self._share and output < FARTHEST):
            return
        packed = Window.pack(window)
        self._packed = len(packed.packed)
        self.points.append(Point(decoded, offset, detail, packed))
