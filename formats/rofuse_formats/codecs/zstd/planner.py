"""Choosing where seek points go, while the first pass decodes.

Strategy
A frame's start is a free point, recorded where the last point is some MiB behind. Inside a frame, when enough has come
out since the last point, the boundary after the block with the fewest sequences among the next ones is taken: few
sequences are quickly followed. The output before it (kept from a window before the earliest place it can be) and
the window's worth after it go to ``points.make_seed``, in a thread
of its own or in a process (``apart``): the decoder and much of that work release the GIL. One seed is made at a time
and the next waits for it, so memory is bounded.

Points are dropped where a match behind them reaches behind the window (``reach``).

Rules
- What is recorded depends on the source alone, never on which thread was faster: the index is canonical.
- Points stay a small share of the archive, hence never less than several windows apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from rofuse_formats.codecs.zstd import frame, points, reach
from rofuse_formats.codecs.zstd.entropy import block_layout
from rofuse_formats.codecs.zstd.index import Point
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

FREE_SPACING = 4 * MIB
SPACING = 24 * MIB
WINDOWS_APART = 4.25
LARGEST_WINDOW = 32 * MIB  # making a point takes seven windows of memory
CANDIDATES = 16  # boundaries looked at for each point: one for each MiB between points, at most so many
MANY_BLOCKS = 1 << 16
REMEMBERED = 256  # blocks before a boundary that its repeated offsets may come from


class Workshop(Protocol):
    """Where seeds are made, of one source."""

    def make_seed(
        self, boundary: points.Boundary, follow: Sequence[bytes], size: int, end: int
    ) -> points.Seed | None:
        """As ``points.make_seed``."""

    def reaches_behind(self, run: reach.Run) -> bool:
        """As ``reach.reaches_behind``."""


class Here:
    """A Workshop in this process."""

    def __init__(self, source: Source) -> None:
        self.make_seed = partial(points.make_seed, source)
        self.reaches_behind = partial(reach.reaches_behind, source)


class _Tail:
    """The last chunks of output, a window of them."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0

    def add(self, chunk: bytes, window: int) -> None:
        self.chunks.append(chunk)
        self.size += len(chunk)
        while self.size - len(self.chunks[0]) >= window:
            self.size -= len(self.chunks.popleft())

    def last(self, size: int, pending: Sequence[bytes]) -> bytes:
        """The last ``size`` bytes (fewer where there are no more) of what was added and, behind it, ``pending``."""
        excess = max(0, self.size + sum(map(len, pending)) - size)
        pieces: list[memoryview] = []
        for chunk in (*self.chunks, *pending):
            pieces.append(memoryview(chunk)[excess:])
            excess = max(0, excess - len(chunk))
        return b"".join(pieces)

    def clear(self) -> None:
        self.chunks.clear()
        self.size = 0


class _Work:
    """What a thread of its own does."""

    def __init__(self, do: Callable[[], None]) -> None:
        import threading

        self.error: BaseException | None = None

        def work() -> None:
            try:
                do()
            except BaseException as error:  # raised again by join
                self.error = error

        self.thread = threading.Thread(target=work, name="zstd-seek-point", daemon=True)
        self.thread.start()

    def join(self) -> None:
        self.thread.join()
        if self.error:
            raise self.error


class _Seedling:
    """A boundary whose seed is to be made."""

    def __init__(self, point: Point, boundary: points.Boundary, started: int) -> None:
        self.point = point
        self.boundary = boundary
        self.started = started  # bytes of the chunk in the making that are before the boundary
        self.follow: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self.follow.append(chunk[self.started :])
        self.started = 0


class Planner:
    """Collects points. The first pass tells it of every frame, block and chunk, in order."""

    def __init__(self, workshop: Workshop, spacing: int, free_spacing: int, windows_apart: float) -> None:
        self.points = [Point(0, 0)]
        self._workshop = workshop
        self._spacing = spacing
        self._free_spacing = free_spacing
        self._windows_apart = windows_apart
        self._tail = _Tail()
        self._collecting: _Seedling | None = None
        self._growing: _Work | None = None
        self.active = False
        """Whether points inside this frame are wanted."""
        self.unseekable = False
        """Whether this frame is to be read from its beginning only: its window is too large for points inside it."""
        self._broken = False

    def free_point(self, decoded: int, offset: int) -> None:
        """A frame starts."""
        apart = 1 if self.unseekable or self._broken else self._free_spacing
        point = Point(decoded, offset, anew=self._broken)
        if self._broken and self.points[-1].decoded == decoded:
            self.points[-1] = point  # nothing came of it: no cursor is to meet it
        elif decoded - self.points[-1].decoded >= apart:
            self.points.append(point)
        self._broken = False

    def broken(self) -> None:
        """The frame that ended is not to be read: the next one is entered at its beginning."""
        self._broken = True

    def begin(self, header: frame.Frame, decoded: int, offset: int) -> None:
        """A large frame starts; calls of ``block``, ``boundary`` and ``chunk`` follow, then one of ``end``."""
        self.free_point(decoded, offset)
        window = header.window if header.content is None else min(header.window, header.content)
        self._apart = max(self._spacing, int(self._windows_apart * window))
        self.active = 0 < window <= LARGEST_WINDOW and (
            header.content is None or header.content > self._apart
        )
        self.unseekable = window > LARGEST_WINDOW
        self._window = window
        self._descriptor = frame.window_descriptor(header.window)
        self._begin = decoded
        self._first_point = len(self.points)
        self._may_reach_behind = header.content is None or header.window < header.content
        self._run = reach.Run(0, 0, header.window, points.Tables())  # what is to be looked at next
        self._target = self.points[-1].decoded + self._apart
        self._chosen: int | None = None
        self._tables = points.Tables()
        self._blocks: deque[points.Block] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._tail.clear()

    def chunk(self, chunk: bytes, decoded: int) -> None:
        """A chunk, which ends at ``decoded``, is yielded."""
        if self.active and decoded > self._target - self._window:
            self._tail.add(chunk, self._window)
        if self._collecting:
            self._collecting.add(chunk)

    def block(self, offset: int, kind: int, block: memoryview) -> None:
        """The block at ``offset`` of the source, header included, has been decoded."""
        if not self.active:
            return
        sequences, before = 0, self._tables
        if kind == frame.COMPRESSED and len(block) > frame.BLOCK_HEADER:
            try:
                layout = block_layout(block[frame.BLOCK_HEADER :])
            except DamagedError:  # and yet it was decoded: no frame to make points in
                self.active, self._collecting = False, None
                return
            sequences = layout.sequences
            self._tables = before.after(offset, layout)
        self._blocks.append(points.Block(offset, sequences, before))
        self._count += 1

    def boundary(self, offset: int, ahead: memoryview, decoded: int, pending: Sequence[bytes]) -> None:
        """The source at ``offset``, where bytes ``ahead`` are read already, is between two blocks. ``pending`` is
        output that was in no chunk yet; with it ``decoded`` bytes have come out."""
        if self._collecting:
            if decoded - self._collecting.point.decoded >= self._window:
                self._grow(self._window, offset, pending)
        elif decoded >= self._target:
            if self._chosen is None or (offset >= self._chosen and not self._tables.expressible()):
                self._chosen = self._choose(offset, ahead)
            if offset == self._chosen and self._tables.expressible():
                self._start(offset, decoded, pending)

    def choosing(self, decoded: int) -> bool:
        """Whether ``boundary`` would look at what is ahead."""
        return not self._collecting and decoded >= self._target

    def together(self, decoded: int) -> int:
        """How many blocks may come, ``decoded`` bytes having come out, before ``boundary`` must be told of one."""
        if not self.active:
            return MANY_BLOCKS
        known = self._collecting
        left = (known.point.decoded + self._window if known else self._target) - decoded
        return max(1, left // frame.LARGEST_BLOCK)

    def end(self, end: int, following: int, decoded: int, pending: Sequence[bytes]) -> None:
        """The frame's last block (or intact block) ends at ``end``, and the frame at ``following``."""
        if (
            self._collecting and self._collecting.point.decoded == decoded
        ):  # nothing came of what is behind it
            self.points.pop()
            self._collecting = None
        if self._collecting:
            self._grow(decoded - self._collecting.point.decoded, end, pending)
        elif 0 < self._run.start < end:
            self._work(None, 0, end)
        for point in self.points[self._first_point :]:
            if point.end:
                point.end, point.following = end, following
        self.active = False
        self._tail.clear()

    def join(self) -> None:
        """Waits for the seed that is being made."""
        if self._growing:
            self._growing.join()
            self._growing = None

    def _start(self, offset: int, decoded: int, pending: Sequence[bytes]) -> None:
        keep = min(self._window, decoded - self._begin)
        tail = self._tail.last(keep, pending)
        if len(tail) < keep:
            return
        point = Point(decoded, offset, self._descriptor, -1)
        self.points.append(point)
        if not self._run.start and self._may_reach_behind:
            self._run = self._run._replace(start=offset, tables=self._tables)
        self._chosen = None
        whole = self._count <= REMEMBERED
        boundary = points.Boundary(offset, self._window, tuple(self._blocks), whole, self._tables, tail)
        self._collecting = _Seedling(point, boundary, sum(map(len, pending)))
        self._target = decoded + self._apart
        self._tail.clear()

    def _grow(self, size: int, end: int, pending: Sequence[bytes]) -> None:
        seedling, self._collecting = self._collecting, None
        assert seedling
        seedling.add(b"".join(pending))
        self._work(seedling, size, end)

    def _work(self, seedling: _Seedling | None, size: int, end: int) -> None:
        """Has a seed made, and all points of the frame so far dropped if a match up to ``end`` is none for them."""
        run, workshop = self._run._replace(end=end), self._workshop
        before = self.points[self._first_point :]
        if run.start:
            self._run = run._replace(start=end, tables=self._tables)

        def do() -> None:
            if run.start and workshop.reaches_behind(run):
                for point in before:
                    point.seed = None
            elif seedling:
                seedling.point.seed = workshop.make_seed(seedling.boundary, seedling.follow, size, end)

        self.join()
        self._growing = _Work(do)

    def _choose(self, offset: int, ahead: memoryview) -> int | None:
        """The best of the boundaries from ``offset`` on; None where the frame ends first."""
        tables = self._tables
        best, fewest = None, 1 << 20
        at = 0
        for _ in range(max(1, min(CANDIDATES, self._apart // MIB))):
            if at + frame.BLOCK_HEADER > len(ahead):
                break
            last, kind, size = frame.block_header(ahead, at)
            if last:
                break
            start = at + frame.BLOCK_HEADER
            end = start + (1 if kind == frame.RLE else size)
            if end > len(ahead):
                break
            if kind == frame.COMPRESSED and size:
                try:
                    layout = block_layout(ahead[start:end])
                except DamagedError:
                    break
                tables = tables.after(offset + at, layout)
                if 0 < layout.sequences < fewest and tables.expressible():
                    best, fewest = offset + end, layout.sequences
            at = end
        if (
            best is None and at
        ):  # no sequences at all, as between raw blocks; or a table that cannot be expressed
            return offset if self._tables.expressible() else offset + at
        return best
