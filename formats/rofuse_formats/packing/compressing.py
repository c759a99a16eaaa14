"""Blocks compressed by several threads, and handed on in their order.

Strategy
The threads that compress share the interpreter with the one that reads and places, which they would keep waiting, and
be kept by, at each block. So blocks are given out by the batch, and the library compresses one without the interpreter.

Rules
- A block is kept as it is where zstd would not save a sixty-fourth of it: such data is compressed already, and is then
  read without being touched.
- So many blocks are under way that no thread waits for a slower one, and no more.
- The threads end with the work, however it ends.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from rofuse_formats.archives.pack.blocks import PLAIN, WITH_DICTIONARY
from rofuse_formats.archives.pack.superblock import checksum

if TYPE_CHECKING:
    import zstandard

_BATCH = 1 << 20  # bytes that a thread is given at once, or a little less
_EACH = 3  # batches under way for each thread
_BEST = 19  # the highest level that takes no more memory to decode than there is data


_TOGETHER = "multi_compress_to_buffer"  # what the library may be able to do
_Stored: TypeAlias = tuple[int, int, int, bytes]
"""Of a block: stored bytes, with flags; bytes that it holds; checksum and stored bytes."""


class Compressing:
    """``write`` takes the stored bytes of each block. ``stored`` (with flags), ``decoded``, ``checksums``: the columns
    of the block index so far."""

    def __init__(self, write: Callable[[bytes], None], level: int, dictionary: bytes, jobs: int) -> None:
        import zstandard

        self.stored, self.decoded, self.checksums = array("I"), array("I"), array("Q")
        self._write, self._level = write, level
        self._features = zstandard.backend_features
        self._flags = WITH_DICTIONARY if dictionary else 0
        self._dictionary = None
        if dictionary:
            self._dictionary = zstandard.ZstdCompressionDict(dictionary)
            self._dictionary.precompute_compress(level=level)
        self._of_thread = threading.local()
        self._pool = ThreadPoolExecutor(jobs, "pack")
        self._most = _EACH * jobs
        self._waiting: deque[Future[list[_Stored]]] = deque()
        self._batch: list[list[bytes]] = []  # blocks, in pieces, not yet given out
        self._gathered = 0  # bytes of them

    def __enter__(self) -> Compressing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, pieces: list[bytes]) -> None:
        """The next block."""
        self._batch.append(pieces)
        self._gathered += sum(map(len, pieces))
        if self._gathered >= _BATCH:
            self._give_out()

    def finish(self) -> None:
        """Waits for all of them."""
        if self._batch:
            self._give_out()
        while self._waiting:
            self._hand_on()

    def _give_out(self) -> None:
        self._waiting.append(self._pool.submit(self._compress, self._batch))
        self._batch, self._gathered = [], 0
        while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
            self._hand_on()

    def _hand_on(self) -> None:
        for word, size, check, data in self._waiting.popleft().result():
            self._write(data)
            self.stored.append(word)
            self.decoded.append(size)
            self.checksums.append(check)

    def _compress(self, batch: list[list[bytes]]) -> list[_Stored]:
        blocks = [pieces[0] if len(pieces) == 1 else b"".join(pieces) for pieces in batch]
        return [self._best(*pair) for pair in zip(blocks, self._packed(blocks), strict=True)]

    def _best(self, data: bytes, packed: bytes) -> _Stored:
        """Of a block and what it was compressed to."""
        if len(packed) > len(data) - (len(data) >> 6):
            return len(data) | PLAIN, len(data), checksum(data), data
        return len(packed) | self._flags, len(data), checksum(packed), packed

    def _packed(self, blocks: list[bytes]) -> Iterable[bytes]:
        """What each block is compressed to."""
        compressor = self._compressor()
        if len(blocks) == 1 or _TOGETHER not in self._features:
            return map(compressor.compress, blocks)
        data: list[bytes | bytearray | memoryview] = [*blocks]
        found = compressor.multi_compress_to_buffer(data, threads=1)
        return [found[number].tobytes() for number in range(len(found))]

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._of_thread, "compressor", None)
        if compressor is None:
            import zstandard

            compressor = zstandard.ZstdCompressor(
                level=self._level, dict_data=self._dictionary, write_dict_id=False
            )
            self._of_thread.compressor = compressor
        return compressor


def best_of(data: bytes, level: int) -> bytes:
    """``data`` as one zstd frame, or as it is where that is no longer."""
    import zstandard

    packed = zstandard.ZstdCompressor(level=min(level, _BEST)).compress(data) if data else b""
    return packed if len(packed) < len(data) else data
