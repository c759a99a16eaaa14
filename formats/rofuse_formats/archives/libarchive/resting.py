"""Helper processes that have nothing to do, kept for a while: to start one takes longer than most of what they do."""

from __future__ import annotations

import threading
import time
import weakref

from rofuse_formats.archives.libarchive.process import Helper

IDLE = 30
"""Seconds that a helper without work is kept."""


class Resting:
    """At most ``most`` of them. Used by any number of threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._helpers: list[Helper] = []
        self._since = 0.0  # when one of them had work last
        self._timer: threading.Timer | None = None

    def take(self) -> Helper | None:
        with self._lock:
            return self._helpers.pop() if self._helpers else None

    def put(self, helper: Helper) -> None:
        with self._lock:
            is_welcome = len(self._helpers) < self._most
            if is_welcome:
                self._helpers.append(helper)
                self._since = time.monotonic()
                if self._timer is None:
                    self._wait()
        if not is_welcome:
            helper.close()

    def _wait(self) -> None:
        self._timer = threading.Timer(IDLE, _retire, (weakref.ref(self),))
        self._timer.daemon = True
        self._timer.start()

    def retire(self) -> None:
        """Ends those that had nothing to do for ``IDLE`` seconds."""
        with self._lock:
            self._timer = None
            is_time = time.monotonic() - self._since >= IDLE
            if self._helpers and not is_time:
                self._wait()
        if is_time:
            self.close()

    def close(self) -> None:
        """Ends them all."""
        while (helper := self.take()) is not None:
            helper.close()

    @property
    def helpers(self) -> list[Helper]:
        """Those that are there."""
        with self._lock:
            return list(self._helpers)


def _retire(resting: weakref.ref[Resting]) -> None:
    found = resting()
    if found is not None:
        found.retire()
