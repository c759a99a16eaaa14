"""Decoding the blocks to come in a few threads.

Strategy
What lies between two marks of blocks that follow each other is most likely a block, but for the end of its stream and
the header of the next one, where there is a header before the second mark. It is decoded before it is asked for. What
comes of a wrong guess is thrown away, and the block in question decoded when it is its turn.

Rules
- Beside those that the threads are at, ``WAITING`` jobs at most are done or not begun: enough that none of the threads
  has to wait for a slower one. A job that runs holds some 7 MB, one that is done the decoded block.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from rofuse_formats.codecs.bzip2.bits import (
    BLOCK,
    CHECKSUM,
    END,
    HEADER,
    HEADER_SIZE,
    MARK,
    bits,
    marks,
)
from rofuse_formats.codecs.bzip2.block import LARGEST, Block, decode, decode_at
from rofuse_formats.source import Source

MOST_THREADS = 8
WAITING = 6


class _Job(NamedTuple):
    start: int
    block: Future[Block | None]


class Ahead:
    """Blocks of a source, asked for in ascending order. To be closed: it has threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        self._most = threads + WAITING
        self._pool = ThreadPoolExecutor(threads, "bzip2")
        self._jobs: deque[_Job] = deque()
        self._guesses: Iterator[tuple[int, int]] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def block(self, start: int) -> Block:
        """The block at a bit offset. Raises DamagedError, TruncatedError."""
        jobs = self._jobs
        while jobs and jobs[0].start < start:
            jobs.popleft().block.cancel()
        self._fill(start)
        block = jobs.popleft().block.result() if jobs and jobs[0].start == start else None
        return block or decode_at(self._source, start, self._source.size * 8)

    def _fill(self, start: int) -> None:
        if self._guesses is None:
            self._guesses = self._guessed(start)
        while len(self._jobs) < self._most:
            guess = next(self._guesses, None)
            if guess is None:
                return
            if guess[0] >= start:
                self._jobs.append(_Job(guess[0], self._pool.submit(decode, self._source, *guess)))

    def _guessed(self, first: int) -> Iterator[tuple[int, int]]:
        """``(start, end)`` of what may be blocks, from a bit offset on."""
        start, end = 0, self._source.size * 8
        for offset, _block in marks(self._source, first, end, (BLOCK,)):
            if start:
                yield start, self._end_before(offset)
            start = offset
        if start:  # the last one of all
            ends = marks(self._source, start, min(start + LARGEST + MARK, end), (END,))
            yield start, next((offset for offset, _end in ends), end)

    def _end_before(self, offset: int) -> int:
        """Where the block ends before the one at a bit offset."""
        header = (offset >> 3) - HEADER_SIZE
        if not offset & 7 and HEADER.match(self._source.pread(HEADER_SIZE, header)):
            for padding in range(8):
                end = 8 * header - padding - CHECKSUM - MARK
                if end > 0 and bits(self._source, end, MARK) == END:
                    return end
        return offset
