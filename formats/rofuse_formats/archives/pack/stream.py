"""A pack's blocks as one stream.

Strategy
A block is decoded whole, once, and kept in the cache that all readers share: so the neighbours of a small file come
with it. One that is stored plain is read once for its checksum, and from then on given out of the file's own pages.
Where a reader comes from the block before, the next ones are decoded by a thread beside, which starts when it is first
needed and ends when it has had nothing to do for a while: a server at rest has none, and one that forks loses none.

Rules
- The kernel reads nothing of the pack but what it is told to: on some devices it would read MiBs around each place.
- Nothing of a block is given out before its checksum was compared.
- A block is decoded by one thread at a time; who comes second finds the first one's work.
"""

from __future__ import annotations

import os
import queue
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable

from rofuse_formats.archives.pack.blocks import HAS_DICTIONARY, IS_PLAIN, Table
from rofuse_formats.archives.pack.frames import Decoder
from rofuse_formats.archives.pack.superblock import checksum
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError
from rofuse_formats.source import StoredSource
from rofuse_formats.streams import BlockCache, StoredStream

_AHEAD = 1 << 20  # bytes that are decoded before they are asked for: as many as are pushed at once ...
_LEAST_AHEAD, _MOST_AHEAD = 2, 16  # ... in so many blocks
_LOCKS = 16
_READERS = 16  # that are seen to go on, however they are mixed; more are not
_SOON = 1 << 17  # bytes of a block that takes hardly any time
_PATIENCE = 1.0  # seconds that the thread beside waits for work
_WAITING = 64  # blocks that it may still have to do; more are forgotten


class PackStream:
    """A Stream (``rofuse_formats.streams``). ``blocks``: as ``blocks.summed_up`` made them."""

    def __init__(self, source: StoredSource, blocks: memoryview, cache: BlockCache, salvage: bool) -> None:
        table = Table(blocks)
        self._starts, self._places = table.starts, table.places
        self._checksums, self._kinds, self._count = table.checksums, table.kinds, table.count
        self.size = table.starts[-1]
        self._source, self._stored, self._cache = source, StoredStream(source), cache
        for file in source.files:
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_RANDOM)
        self._salvage = salvage
        try:
            self._decoders = Decoder(), Decoder(table.dictionary)
        except ValueError as error:
            raise IndexDamagedError(f"the pack's dictionary is none: {error}") from error
        self._sound = bytearray(table.count)  # whether a plain block has been checked
        self._locks = [threading.Lock() for _lock in range(_LOCKS)]
        self._last = -1
        self._recent: deque[int] = deque(maxlen=_READERS)  # blocks, from which readers may go on to the next
        self._announced = 0  # place in the pack up to which the kernel was told what will be read
        self._ahead = _Beside(self._prepare)

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        end = min(offset + size, self.size)
        if offset >= end:
            return []
        pieces = []
        block = bisect_right(self._starts, offset) - 1
        while offset < end:
            stop = min(end, self._starts[block + 1])
            pieces += self._part(block, offset - self._starts[block], stop - offset)
            offset, block = stop, block + 1
        return pieces

    def pread(self, size: int, offset: int, /) -> bytes:
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        pieces = []
        block = bisect_right(self._starts, offset) - 1
        while offset < end:
            start, stop = self._starts[block], min(end, self._starts[block + 1])
            data: bytes | None
            if self._kinds[block] & IS_PLAIN:
                data = self._checked(block)
                self._sound[block] = True
            else:
                data = self._decoded(block)
            pieces.append(data[offset - start : stop - start])
            offset, block = stop, block + 1
        return b"".join(pieces)

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        end = min(offset + size, self.size)
        if offset >= end:
            return True
        block = bisect_right(self._starts, offset) - 1
        if not self._is_ready(block):
            return False
        last = bisect_right(self._starts, end - 1) - 1
        return all(map(self._is_ready, range(block + 1, last + 1)))

    def is_near(self, offset: int, /) -> bool:
        return False

    def is_decoded_soon(self, offset: int, size: int, /) -> bool:
        if offset + size > self.size:
            return False
        starts, block = self._starts, bisect_right(self._starts, offset) - 1
        return offset + size <= starts[block + 1] <= starts[block] + _SOON and not self._is_ready(block)

    def announce(self, offset: int, /) -> None:
        block = bisect_right(self._starts, offset) - 1
        if not self._is_ready(block):
            self._stored.announce(self._places[block], self._places[block + 1] - self._places[block])

    def _part(self, block: int, start: int, size: int) -> list[memoryview]:
        """Bytes of one block."""
        if block != self._last:
            self._last = block
            goes_on = block - 1 in self._recent
            self._recent.append(block)
            if goes_on:
                following = self._following(block)
                self._announce(following)
                self._ahead.wants(following, self._is_ready)
        if not self._kinds[block] & IS_PLAIN:
            return [memoryview(self._decoded(block))[start : start + size]]
        if not self._sound[block]:
            self._check_plain(block)
        return self._stored.read(self._places[block] + start, size)

    def _following(self, block: int) -> range:
        """The blocks behind one that who reads it will want next."""
        first = block + 1
        last = bisect_right(self._starts, self._starts[first] + _AHEAD) - 1
        return range(first, min(max(last, first + _LEAST_AHEAD), first + _MOST_AHEAD, self._count))

    def _announce(self, blocks: range) -> None:
        """Tells the kernel what will be read, in as far as it was not told before."""
        start, end = self._places[blocks.start], self._places[blocks.stop]
        if start <= self._announced <= end:
            start = self._announced
        self._stored.announce(start, end - start)
        self._announced = end

    def _is_ready(self, block: int) -> bool:
        return bool(self._sound[block]) or (0, block) in self._cache

    def _decoded(self, block: int) -> bytes:
        data = self._cache.get((0, block))
        if data is None:
            with self._locks[block % _LOCKS]:
                if (0, block) in self._cache:  # decoded meanwhile
                    data = self._cache.get((0, block))
                if data is None:
                    data = self._decode(block)
                    self._cache.put((0, block), data)
        return data

    def _decode(self, block: int) -> bytes:
        stored = self._checked(block)
        size = self._starts[block + 1] - self._starts[block]
        try:
            return self._decoders[bool(self._kinds[block] & HAS_DICTIONARY)].decode(stored, size)
        except ValueError as error:
            raise DamagedError(
                f"block {block} of the pack, at byte {self._places[block]}, is no block: {error}",
                self._places[block],
            ) from error

    def _check_plain(self, block: int) -> None:
        with self._locks[block % _LOCKS]:
            if not self._sound[block]:
                self._checked(block)
                self._sound[block] = True

    def _checked(self, block: int) -> bytes:
        """The stored bytes of a block. Raises DamagedError where they are not what was written."""
        place = self._places[block]
        stored = self._source.pread(self._places[block + 1] - place, place)
        if len(stored) != self._places[block + 1] - place:
            raise DamagedError(f"the pack ends within its block {block}", place)
        if checksum(stored) != self._checksums[block] and not self._salvage:
            raise DamagedError(f"block {block} of the pack, at byte {place}, failed its check", place)
        return stored

    def _prepare(self, block: int) -> None:
        """Reads a block that somebody may want soon."""
        try:
            if self._is_ready(block):
                return
            if self._kinds[block] & IS_PLAIN:
                self._check_plain(block)
            else:
                self._decoded(block)
        except (FormatError, OSError, MemoryError):
            return  # who reads it will be told


class _Beside:
    """Does little jobs in a thread of its own, of which there is none while there is nothing to do."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self._work = work
        self._jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._process = 0  # the one that has the thread: it does not survive a fork
        self._lock = threading.Lock()

    def wants(self, jobs: Iterable[int], done: Callable[[int], bool]) -> None:
        """Have these done, but for those that are ``done``."""
        for job in jobs:
            if not done(job) and self._jobs.qsize() < _WAITING:
                self._jobs.put(job)
        if self._process != os.getpid() and not self._jobs.empty():
            with self._lock:
                if self._process != os.getpid():
                    self._process = os.getpid()
                    threading.Thread(target=self._run, name="pack-ahead", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._work(self._jobs.get(timeout=_PATIENCE))
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._process = 0
                        return
