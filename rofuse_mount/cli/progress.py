"""How far a long piece of work has come: on a terminal, after the first second, and nowhere else."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from rofuse_mount.showing import show

if TYPE_CHECKING:
    from rofuse_mount.cli.bar import Bar

_PATIENCE = 1.0  # seconds before anything is drawn
_INTERVAL = 0.1


class Progress:
    """Called with (bytes done, bytes in all), or (entries done, 0). Draws on standard error if that is a terminal, and
    cleans up after itself; else does nothing. ``rich`` is imported only when the bar appears."""

    def __init__(self, what: str, name: str, enabled: bool = True) -> None:
        self._title = f"{what} {show(os.fsencode(os.path.basename(name) or name))}"
        self._enabled = (
            enabled and sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        )
        self._begun = time.monotonic()
        self._next = self._begun + _PATIENCE
        self._bar: Bar | None = None
        self._total = 0  # that the bar is of

    def __call__(self, done: int, total: int) -> None:
        if not self._enabled or (now := time.monotonic()) < self._next:
            return
        self._next = now + _INTERVAL
        if self._bar is None or total != self._total:
            from rofuse_mount.cli.bar import Bar

            self.hide()
            self._total = total
            self._bar = Bar(self._title, total, self._begun)
        self._bar.update(done)

    def hide(self) -> None:
        """Makes room for a line that is to be written; the bar comes back by itself."""
        if self._bar is not None:
            self._bar.hide()

    close = hide
