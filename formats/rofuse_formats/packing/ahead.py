"""Something iterated by a thread of its own, a little ahead of who uses it.

What the thread does in the kernel or in C goes on while the user is at work, and the other way round. Items go from one
to the other by the batch: waking each other for every one would take longer than most of them take. Where the user has
enough of them, the thread may do something else meanwhile (``idle``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_BATCH, _WEIGHT = 64, 1 << 20  # items, and what they weigh together
_BATCHES = 4


class Ahead(Generic[Item]):
    """Iterates ``items``, of each of which ``weight`` says how many bytes it takes. ``idle`` is called as long as there
    is time, until it says that nothing is left to do. To be closed: it has a thread. What either raises is raised to
    the user, in its turn."""

    def __init__(
        self, items: Iterable[Item], weight: Callable[[Item], int], idle: Callable[[], bool] = lambda: False
    ) -> None:
        self._items, self._weight, self._idle = items, weight, idle
        self._queue: queue.Queue[list[Item] | BaseException | None] = queue.Queue(_BATCHES)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def __enter__(self) -> Ahead[Item]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                pass
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while (batch := self._queue.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield from batch

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            batch: list[Item] = []
            weight = 0
            for item in self._items:
                batch.append(item)
                weight += self._weight(item)
                if len(batch) >= _BATCH or weight >= _WEIGHT:
                    while self._queue.full() and not self._stopped and self._idle():
                        pass
                    self._queue.put(batch)
                    batch, weight = [], 0
                if self._stopped:
                    return
            self._queue.put(batch)
        except BaseException as error:
            last = error
        self._queue.put(last)
