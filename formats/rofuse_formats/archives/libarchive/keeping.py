"""Where decoded bytes of the linear stream stay: in memory while they are few, else in a spool that grows.

Strategy
The spool that lies in the cache is shared with who else has the archive mounted; one of them appends to it. The
others read
it, and keep what they decode themselves in a file without a name. There everything goes that must not outlive the
mount: what was read with a password, and what is of an archive that has no name.

Rules
- Nothing here waits for anything but the disk; the caller sees to it that one thread at a time changes things.
- Where there is no room for a spool, that is told once, and there is none from then on.
"""

from __future__ import annotations

import os
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable

from rofuse_formats import cache
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.growing_spool import GrowingSpool, Piece
from rofuse_formats.limits import MIB
from rofuse_formats.points_file import PointsFile
from rofuse_formats.settings import Settings
from rofuse_formats.spool_file import SpoolFile
from rofuse_formats.streams import BlockCache

HELD = 24 * MIB
"""Bytes of small groups that are held in memory; what has no room there goes to a spool."""
_ASK_EVERY = 16 * MIB
_KEY = -1  # of pieces in the block cache


class Held:
    """Runs of the stream in memory, as many as the budget allows."""

    def __init__(self, budget: int = HELD) -> None:
        self._budget, self._bytes = budget, 0
        self._runs: OrderedDict[int, bytes] = OrderedDict()  # least recently used first
        self._starts: list[int] = []

    def put(self, start: int, data: bytes) -> list[tuple[int, bytes]]:
        """Holds a run; returns those that it takes the place of: where they begin, and their bytes."""
        dropped: list[tuple[int, bytes]] = []
        known = len(self._runs.get(start, b""))
        if known >= len(data):
            return dropped
        if known:  # some of it, of a pass that had to stop
            del self._runs[start], self._starts[bisect_right(self._starts, start) - 1]
            self._bytes -= known
        self._runs[start] = data
        insort(self._starts, start)
        self._bytes += len(data)
        while self._bytes > self._budget:
            oldest, lost = self._runs.popitem(last=False)
            del self._starts[bisect_right(self._starts, oldest) - 1]
            self._bytes -= len(lost)
            dropped.append((oldest, lost))
        return dropped

    def end_of(self, start: int) -> int:
        """Up to where the run goes that has this byte; that itself where none has."""
        number = bisect_right(self._starts, start) - 1
        return (
            max(start, self._starts[number] + len(self._runs[self._starts[number]])) if number >= 0 else start
        )

    def get(self, start: int, end: int) -> memoryview | None:
        number = bisect_right(self._starts, start) - 1
        if number < 0:
            return None
        first = self._starts[number]
        data = self._runs[first]
        if end > first + len(data):
            return None
        self._runs.move_to_end(first)
        return memoryview(data)[start - first : end - first]


class Keeper:
    """The spools of an archive. ``kept``: knows the archive and its index, where that may be kept."""

    def __init__(self, settings: Settings, kept: PointsFile | None) -> None:
        self.spools: list[GrowingSpool] = []
        """All that are read; the last one is appended to."""
        self.is_enabled = settings.spool
        self._limit = settings.spool_limit
        self._room: SpoolFile | None = None
        self._asked = 0
        self._tell: Callable[[str], None] = kept.tell if kept is not None else lambda line: None
        self._shared: GrowingSpool | None = None
        self._kept = kept if self.is_enabled and settings.scan.password is None else None
        if self._kept is not None and os.path.exists(self._path()):
            self._share()

    def _path(self) -> str:
        return cache.growing_place(os.fsdecode(self._kept.source.path)) if self._kept is not None else ""

    def _share(self) -> None:
        """Opens what lies in the cache, or makes it, once."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        name = os.fsdecode(kept.source.path)
        path = cache.growing_place(name)
        for _ in range(2):
            fd = cache.open_to_append(path, kept.source)
            if isinstance(fd, str):
                self._tell(f"what is decoded is not kept for the next mount: {path}: {fd}")
                return
            try:
                self._shared = GrowingSpool(fd, kept.digest, os.path.realpath(os.fsencode(name)))
                self._room = SpoolFile(self._limit, fd, path)
                self.spools.append(self._shared)
                return
            except IndexDamagedError:  # of another state of the archive: whoever reads it goes on
                os.close(fd)
                os.unlink(path)
            except OSError:
                os.close(fd)
                return

    def is_known(self, start: int, end: int) -> bool:
        """Whether bytes [start, end) are kept, by whomever."""
        return self._has(start, end) or (self._refresh() and self._has(start, end))

    def pieces(self, start: int, end: int) -> list[tuple[GrowingSpool, Piece]]:
        """What has bytes [start, end), which are known."""
        found = []
        while start < end:
            spool = next(spool for spool in self.spools if spool.end_of(start) > start)
            piece = spool.find(start)
            found.append((spool, piece))
            start = piece.offset + piece.size
        return found

    def end_of(self, start: int) -> int:
        """Up to where bytes are kept from ``start`` on."""
        while (further := max((spool.end_of(start) for spool in self.spools), default=start)) > start:
            start = further
        return start

    def _has(self, start: int, end: int) -> bool:
        return start >= end or self.end_of(start) >= end

    def _refresh(self) -> bool:
        """Takes in what another process appended; False where there is none."""
        if self._shared is None or self._shared.is_writer:
            return False
        self._shared.take_over()
        self._shared.refresh()
        return True

    def spool(self) -> GrowingSpool | None:
        """The one to append to, if there is room; it is made where it must be."""
        if not self.is_enabled:
            return None
        try:
            self._share()
            if self._shared is not None and self._shared.take_over():
                found = self._shared
            elif self.spools and self.spools[-1] is not self._shared:
                found = self.spools[-1]
            else:
                self._room = SpoolFile(self._limit)
                found = GrowingSpool(os.dup(self._room.open()), bytes(32), b"")
                self.spools.append(found)
            if self._room is not None and (not self._asked or found.size - self._asked >= _ASK_EVERY):
                self._room.ask(found.size)
                self._asked = max(found.size, 1)
        except (LimitError, OSError) as error:
            self.give_up(str(error))
            return None
        return found

    def give_up(self, why: str) -> None:
        """No spool grows any more."""
        if self.is_enabled:
            self.is_enabled = False
            self._tell(f"what is decoded is not kept, and read slowly: {why}")


def joined(
    cache: BlockCache, pieces: list[tuple[GrowingSpool, Piece]], rest: memoryview, start: int, end: int
) -> memoryview:
    """Bytes [start, end) of what lies in pieces, and then in memory. Raises DamagedError, OSError."""
    parts = []
    for spool, piece in pieces:
        data = cache.get((_KEY, piece.offset))
        if data is None or len(data) != piece.size:
            data = spool.load(piece)
            cache.put((_KEY, piece.offset), data)
        parts.append(memoryview(data)[start - piece.offset : end - len(rest) - piece.offset])
        start += len(parts[-1])
    parts.append(rest)
    if start + len(rest) != end:
        raise DamagedError("the spool lacks what it had")
    return parts[0] if len(parts) == 1 or (not rest and len(parts) == 2) else memoryview(b"".join(parts))
