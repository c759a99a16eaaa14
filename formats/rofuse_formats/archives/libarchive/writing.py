"""What was decoded goes to its spool by a thread of its own: who decodes, or waits for what is decoded, waits neither
for the compression nor for the disk.

Rules
- At most ``BACKLOG`` bytes are on their way: where the disk is slower than the decoding, that waits for it.
- The thread ends when there was nothing to do for a while, and is started again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from rofuse_formats.growing_spool import GrowingSpool
from rofuse_formats.limits import MIB

BATCH = MIB // 2
"""Bytes that are compressed and written together."""
BACKLOG = 16 * MIB
_LINGER = 1.0  # seconds


class Run(NamedTuple):
    """``data`` is to be kept in ``spool`` as what begins at ``start`` of the linear stream."""

    spool: GrowingSpool
    start: int
    data: bytes


class SpoolWriter:
    """``lock`` guards the spools. ``told`` is called under it after every run that was dealt with, by the thread: with
    what went wrong, where something did."""

    def __init__(self, lock: threading.Condition, told: Callable[[Run, OSError | None], None]) -> None:
        self._lock, self._told = lock, told
        self._queue: queue.Queue[Run] = queue.Queue(BACKLOG // BATCH)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, run: Run) -> None:
        """Not under the lock. ``run`` has up to ``BATCH`` bytes."""
        self._queue.put(run)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="spool", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Until all that was ``put`` is written. Not under the lock."""
        self._queue.join()

    def _write_on(self) -> None:
        while True:
            try:
                run = self._queue.get(timeout=_LINGER)
            except queue.Empty:
                with self._starting:
                    if self._queue.empty():  # else something came just now, and relies on this thread
                        self._thread = None
                        return
                continue
            try:
                self._write(run)
            finally:
                self._queue.task_done()

    def _write(self, run: Run) -> None:
        spool, start, data = run
        trouble: OSError | None = None
        try:
            with self._lock:
                is_there = spool.end_of(start) >= start + len(data)
            if not is_there:
                batch, pieces = spool.prepared(start, data)
                with self._lock:
                    spool.append(start, batch, pieces)
        except OSError as error:
            trouble = error
        with self._lock:
            self._told(run, trouble)
