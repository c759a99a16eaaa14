"""Seek points of deflate streams, as they are collected.

Strategy
Where a stream (or a member) starts, a point costs nothing but its record. Within a stream it costs a window; there,
points are far apart. Of a window only those bytes are kept that what follows refers to, the others are made zeros,
which pack to nothing. To find them, the 32 KiB behind the point (further on nothing reaches back before it) are decoded
behind two windows of our own, whose bytes say the low and the high half of their places: output that came out of the
window is its place there, spelled out. This is done in a thread beside, while decoding goes on.

Rules
- Canonical: zlib alone decodes here, and whether a point is made depends on those before it and on nothing else.
- A point from which its own stretch cannot be decoded is not kept.
- Windows take at most one ``SHARE``-th of the source and ``FREE_WINDOWS``, whatever the source is made of.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.inflate import LARGEST_WINDOW
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.seek_index import Point, Window
from rofuse_formats.source import Source

SPACING = 4 * MIB
FREE_SPACING = MIB // 4
SHARE = 50
FREE_WINDOWS = MIB // 4

START, INSIDE = 0, 1
"""``Point.detail``: whether a point is where something starts, or at a block in its midst. ``Point.offset`` counts bits
of the source."""

_HIGH = 1 << 15  # set in every place; output without it is an ASCII literal
_LOWS = bytes(place & 0xFF for place in range(LARGEST_WINDOW))
_HIGHS = bytes((_HIGH | place) >> 8 for place in range(LARGEST_WINDOW))


class Points:
    """``spacing``: bytes of output between points within a stream; ``free_spacing``: bytes of output or of the source
    (there may be any number of members that hold next to nothing) between points at starts."""

    def __init__(self, source: Source, spacing: int = SPACING, free_spacing: int = FREE_SPACING) -> None:
        self._source = source
        self._spacing, self._free_spacing = spacing, free_spacing
        self._points = [Point(0, 0)]
        self._last = 0  # decoded offset of the last one,
        self._last_offset = 0  # and where it is in the source
        self._windows = 0  # bytes of them all, packed
        self._thread: ThreadPoolExecutor | None = None
        self._in_work: tuple[int, int, Future[Window | None]] | None = None

    def wait(self, decoded: int, offset: int) -> int:
        """How many bytes of output there are to be before it is to be asked again; 0: a point is wanted at the next
        block after what is decoded and read so far."""
        missing = self._spacing - (decoded - self._last)
        if missing > 0:
            return missing
        self._settle()
        return 0 if self._windows <= offset // SHARE + FREE_WINDOWS else self._spacing

    def inside(self, decoded: int, bit: int, window: bytes) -> None:
        """A block begins at ``bit``; ``window`` is the output before it, at most 32 KiB, of its own stream."""
        self._settle()
        self._thread = self._thread or ThreadPoolExecutor(1, "seek-point")
        self._in_work = decoded, bit, self._thread.submit(kept_window, self._source, bit, window)
        self._last, self._last_offset = decoded, bit // 8

    def start(self, decoded: int, offset: int, *, needed: bool = False) -> None:
        """A member starts at ``offset`` (bytes). ``needed``: it must not be reached through what is before it."""
        passed = max(decoded - self._last, offset - self._last_offset)
        if passed < self._free_spacing and not needed:
            return
        self._settle()
        if self._points[-1].decoded == decoded:
            self._points.pop()
        self._points.append(Point(decoded, 8 * offset))
        self._last, self._last_offset = decoded, offset

    @property
    def made(self) -> Sequence[Point]:
        """Those that can be used already, ascending; others will follow."""
        return self._points

    def finish(self, size: int) -> list[Point]:
        """The points of a stream of ``size`` decoded bytes."""
        self._settle()
        return [point for point in self._points if point.decoded < size or not point.decoded]

    def close(self) -> None:
        """To be called when nothing more is decoded, finished or not."""
        if self._thread:
            self._thread.shutdown()
            self._thread = None

    def _settle(self) -> None:
        """Takes in the point that was in work."""
        if not self._in_work:
            return
        (decoded, bit, work), self._in_work = self._in_work, None
        window = work.result()
        if window:
            self._windows += len(window.packed)
            self._points.append(Point(decoded, bit, INSIDE, window if window.size else None))


def kept_window(source: Source, bit: int, window: bytes) -> Window | None:
    """What is kept of a window; one of size 0 where none is needed; None where the block at ``bit`` and what follows
    cannot be decoded. Raises OSError."""
    try:
        needed = trimmed(source, bit, window)
    except DamagedError:
        return None
    return Window.pack(needed) if needed else Window(b"", 0, 0)


def trimmed(source: Source, bit: int, window: bytes) -> bytes:
    """``window`` with zeros for what the block at ``bit`` and those after it do not refer to; nothing, if they refer to
    none of it. Raises DamagedError where they cannot be decoded."""
    try:
        _decoded(source, bit, b"")
        return b""
    except DamagedError:  # as a rule: they do refer to something
        pass
    lows = _decoded(source, bit, _LOWS[: len(window)])
    highs = _decoded(source, bit, _HIGHS[: len(window)])
    trimmed = bytearray(len(window))
    for place in _places(lows, highs):
        if place < len(window):
            trimmed[place] = window[place]
    return bytes(trimmed)


def _decoded(source: Source, bit: int, window: bytes) -> bytes:
    """32 KiB of output from ``bit`` on, fewer where the stream ends. Raises DamagedError."""
    reader, data = Reader(Feed(source), bit, window), b""
    while len(data) < LARGEST_WINDOW:
        more = reader.read(LARGEST_WINDOW - len(data))
        if not more:
            break
        data += more
    return data


def _places(lows: bytes, highs: bytes) -> set[int]:
    """The places in the window that output came from: for each byte of it, the low and the high half of a place. A
    literal, the same in both, may be taken for a place; that keeps a byte too many."""
    pairs = bytearray(2 * len(lows))
    pairs[::2], pairs[1::2] = (lows, highs) if sys.byteorder == "little" else (highs, lows)
    return {pair ^ _HIGH for pair in set(memoryview(pairs).cast("H")) if pair & _HIGH}
