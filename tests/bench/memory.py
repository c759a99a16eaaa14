"""How much memory the processes of a mount hold, from the first of them on."""

from __future__ import annotations

import threading

from tests.bench.peers import marked, memory

PERIOD = 0.1  # seconds


class Watch:
    """A context that looks at all processes with a mark ten times a second. ``largest``: the most that any single one
    ever held, by the kernel's own high-water mark, so that nothing short-lived is missed but a process that lived less
    than a period. ``together``: the most that all held at once, as far as it was seen; pages that they share count for
    each. Bytes, resident, mapped files included."""

    def __init__(self, mark: str) -> None:
        self.largest = self.together = 0
        self._mark = mark
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PERIOD):
            self.look()

    def look(self) -> None:
        found = [memory(pid) for pid in marked(self._mark)]
        self.largest = max([self.largest, *(each.get("VmHWM", 0) for each in found)])
        self.together = max(self.together, self.largest, sum(each.get("VmRSS", 0) for each in found))
