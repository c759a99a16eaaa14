"""Bytes at (stream, offset).

Strategy
Stored bytes are slices of a map that nobody here touches: they go from the page cache to the kernel by ``writev``,
and a file truncated meanwhile is an error there and no signal here. Decoded bytes come in blocks of 128 KiB on a
fixed grid. A block that is not in the cache is decoded by a cursor: the nearest idle one at or behind it, unless a
seek point lies nearer.

Rules
- ``BlockCache.lock`` is the only lock of bookkeeping. It is never held while anything is decoded.
- The stretch between two seek points is decoded by one thread at a time. Who comes second finds the first one's blocks.
  What lies behind the last point is one stretch, also where points are still being made: with it goes the cursor that
  makes them, and none shall overtake it.
- Memory is bounded: blocks by the cache, cursors by a budget: half of it for those that run, half for those that wait
  where they stopped. One of each there may always be.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rofuse_formats import patience
from rofuse_formats.codecs import Cursor, SeekableStream
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.image import layout
from rofuse_formats.limits import MIB
from rofuse_formats.mapped import MappedFile
from rofuse_formats.patches import Patch, Zeros, merged, patched
from rofuse_formats.source import SourcePart, StoredSource, runs
from rofuse_formats.spool import Spool

BLOCK = 1 << 17
CACHE_BUDGET = 24 * MIB
CURSOR_BUDGET = 40 * MIB
_NEAR = 1 << 20  # bytes before a place, from where going on to it is decoding little
_OPEN = -1  # the stretch behind the last point
LARGE_CURSORS, LARGE_CURSOR_BUDGET = 8, 144 * MIB
"""So many cursors there may be beyond the budget while they keep within this one: with fewer, readers at several places
of a stream of large windows would drive each other from one seek point to the next."""


class Stream(Protocol):
    size: int

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        """Bytes [offset, offset+size) in pieces, shorter only at the stream's end. Raises DamagedError, OSError."""
        ...

    def pread(self, size: int, offset: int, /) -> bytes:
        """The same as bytes of one's own, which may be touched: as a Source."""
        ...

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        """Whether ``read`` decodes nothing for it. A hint."""
        ...

    def is_near(self, offset: int, /) -> bool:
        """Whether something stands closely before that goes on decoding there, and nobody else decodes thereabouts.
        A hint."""
        ...


class BlockStream(Stream, Protocol):
    """A stream of blocks, each of which is decoded by itself."""

    def is_decoded_soon(self, offset: int, size: int, /) -> bool:
        """Whether ``read`` decodes something for it, and in less time than it takes to wake a thread. A hint."""
        ...

    def announce(self, offset: int, /) -> None:
        """Has the kernel read what is to be decoded for the byte at ``offset``, without waiting for it."""
        ...


class StoredStream:
    """The bytes of files themselves, mapped."""

    def __init__(self, source: StoredSource) -> None:
        self.size, self.files = source.size, source.files
        self._source, self._starts = source, source.starts
        self._files = [MappedFile(file) for file in source.files]

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        size = min(size, self.size - offset)
        places = runs(self._starts, offset, size)
        pieces = [self._files[number].read(at, count) for number, at, count in places]
        if sum(map(len, pieces)) < size:
            raise TruncatedError("the archive has become shorter since it was opened", offset)
        return pieces

    def announce(self, offset: int, size: int) -> None:
        """Has the kernel read these bytes, all of which there are, without waiting for them."""
        for number, at, count in runs(self._starts, offset, size):
            self._files[number].announce(at, at + count)

    def pread(self, size: int, offset: int, /) -> bytes:
        return self._source.pread(size, offset)

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        return True

    def is_near(self, offset: int, /) -> bool:
        return False


class PartStream(SourcePart):
    """A stretch of a stream as one of its own."""

    def __init__(self, stream: Stream, start: int, size: int) -> None:
        super().__init__(stream, start, size)
        self._stream, self._start = stream, start

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        size = min(size, self.size - offset)
        return self._stream.read(self._start + offset, size) if size > 0 else []

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        return self._stream.is_at_hand(self._start + offset, size)

    def is_near(self, offset: int, /) -> bool:
        return self._stream.is_near(self._start + offset)


class SpannedStream:
    """Several streams as one, each at an address of its own (``layout.SPAN``): none of them can be read as if it went
    on in the next, wherever an archive claims that its files end."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.size = len(streams) << layout.SPAN_SHIFT
        self._streams = streams

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        if offset >= self.size:
            return []
        return self._streams[offset >> layout.SPAN_SHIFT].read(offset & layout.SPAN - 1, size)

    def pread(self, size: int, offset: int, /) -> bytes:
        if offset >= self.size:
            return b""
        return self._streams[offset >> layout.SPAN_SHIFT].pread(size, offset & layout.SPAN - 1)

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        if offset >= self.size:
            return True
        return self._streams[offset >> layout.SPAN_SHIFT].is_at_hand(offset & layout.SPAN - 1, size)

    def is_near(self, offset: int, /) -> bool:
        if offset >= self.size:
            return False
        return self._streams[offset >> layout.SPAN_SHIFT].is_near(offset & layout.SPAN - 1)


class BlockCache:
    """Decoded blocks, the least recently used dropped first. Keys are (stream number, block number)."""

    def __init__(self, budget: int = CACHE_BUDGET) -> None:
        self.lock = threading.Lock()
        self.hits = self.misses = self.bytes = 0
        self._budget = budget
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def get(self, key: tuple[int, int]) -> bytes | None:
        with self.lock:
            data = self._blocks.get(key)
            if data is None:
                self.misses += 1
            else:
                self.hits += 1
                self._blocks.move_to_end(key)
            return data

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._blocks  # no lock: a hint

    def put(self, key: tuple[int, int], data: bytes) -> None:
        with self.lock:
            if key in self._blocks:
                return
            self._blocks[key] = data
            self.bytes += len(data)
            while self.bytes > self._budget and len(self._blocks) > 1:
                _key, dropped = self._blocks.popitem(last=False)
                self.bytes -= len(dropped)


def decoded_stream(
    stream: SeekableStream,
    cache: BlockCache,
    number: int,
    suspect: Sequence[tuple[int, int]],
    spool: Spool | None,
    salvage: bool,
) -> DecodedStream:
    """Random access to the stream of this number, with what of it lies in the spool, and without what is suspect."""
    suspect = () if salvage else suspect
    suspect = merged(suspect)
    patches: list[Patch] = spool.runs(number) if spool else []
    patches += [Zeros(start, end) for start, end in suspect]
    return DecodedStream(patched(stream, patches), cache, number, suspect)


class DecodedStream:
    """Random access to a compressed stream, for any number of threads. What touches ``suspect``, ranges that failed
    their check (``patches.merged``), is an error for its reader. ``budget``: bytes that its cursors may hold, where it
    shares with others."""

    def __init__(
        self,
        stream: SeekableStream,
        cache: BlockCache,
        number: int = 0,
        suspect: Sequence[tuple[int, int]] = (),
        budget: int | None = None,
    ) -> None:
        self.size = stream.size
        self._suspect, self._suspect_ends = suspect, [stop for _start, stop in suspect]
        self._stream, self._cache, self._number = stream, cache, number
        self._lock = cache.lock
        self._idle: list[Cursor] = []  # least recently used first
        self._stretches: dict[int, tuple[threading.Lock, int]] = {}  # lock and users, by seek point
        each = max(stream.cursor_bytes, 1)
        if budget is None:
            affordable = max(2, CURSOR_BUDGET // each, min(LARGE_CURSORS, LARGE_CURSOR_BUDGET // each))
        else:
            affordable = max(2, budget // each)
        self._most = affordable // 2
        self._running = threading.BoundedSemaphore(affordable - self._most)

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        end = min(offset + size, self.size)
        number = bisect_right(self._suspect_ends, offset)
        if number < len(self._suspect) and self._suspect[number][0] < end:
            raise DamagedError("its data failed its check; --salvage reads it all the same", offset)
        pieces = []
        while offset < end:
            block, skipped = divmod(offset, BLOCK)
            data = self._cache.get((self._number, block))
            if data is None:
                data = self._decode(block)
            piece = memoryview(data)[skipped : skipped + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return pieces

    def pread(self, size: int, offset: int, /) -> bytes:
        return b"".join(self.read(offset, size))

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        blocks = range(offset // BLOCK, (min(offset + size, self.size) + BLOCK - 1) // BLOCK)
        return all((self._number, block) in self._cache for block in blocks)

    def is_near(self, offset: int, /) -> bool:
        stretch = self._point(offset - offset % BLOCK, _OPEN)
        with self._lock:
            return stretch not in self._stretches and any(
                -BLOCK <= offset - cursor.position <= _NEAR for cursor in self._idle
            )

    def _decode(self, block: int) -> bytes:
        position = block * BLOCK
        with self._stretch(self._point(position, _OPEN)):
            point = self._point(position)
            data = self._cache.get((self._number, block))
            if data is None:
                with patience.held(self._running):
                    cursor = self._take(position, point) or self._stream.cursor(point)
                    data = self._run(cursor, position)
                    self._rest(cursor)
            return data

    def _point(self, position: int, last: int | None = None) -> int:
        """The point before a position; of the last one, ``last``."""
        points = self._stream.points
        point = bisect_right(points, position) - 1
        return last if last is not None and point == len(points) - 1 else point

    def _run(self, cursor: Cursor, position: int) -> bytes:
        """Moves a cursor over the block at ``position`` and returns the block. What it passes over is kept: who reads
        a directory in another order than the archive's comes back for it."""
        start = cursor.position + -cursor.position % BLOCK
        cursor.skip(start - cursor.position)
        while True:
            if patience.is_in_vain():
                self._rest(cursor)  # here it can go on; one that was interrupted from below cannot
                patience.give_up()
            expected = min(BLOCK, self.size - start)
            data = cursor.read(expected)
            if len(data) != expected:
                raise DamagedError(
                    f"the compressed data ends before byte {start + expected} of what it holds"
                )
            self._cache.put((self._number, start // BLOCK), data)
            if start == position:
                return data
            start += BLOCK

    @contextmanager
    def _stretch(self, point: int) -> Iterator[None]:
        with self._lock:
            lock, users = self._stretches.get(point) or (threading.Lock(), 0)
            self._stretches[point] = lock, users + 1
        try:
            with patience.held(lock):
                yield
        finally:
            with self._lock:
                lock, users = self._stretches.pop(point)
                if users > 1:
                    self._stretches[point] = lock, users - 1

    def _take(self, position: int, point: int) -> Cursor | None:
        """The idle cursor that is nearest to ``position``, unless the seek point is nearer."""
        start = self._stream.points[point]
        with self._lock:
            near = [cursor for cursor in self._idle if start <= cursor.position <= position]
            if not near:
                del self._idle[: max(0, len(self._idle) + 1 - self._most)]
                return None
            nearest = max(near, key=lambda cursor: cursor.position)
            self._idle.remove(nearest)
            return nearest

    def _rest(self, cursor: Cursor) -> None:
        with self._lock:
            if cursor.position < self.size:
                self._idle.append(cursor)
                del self._idle[: max(0, len(self._idle) - self._most)]
