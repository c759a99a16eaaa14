"""How far a long piece of work has come: a bar, the rate and the time left, on a terminal, after the first second;
where nobody knows how much there is, how much has been done."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

_PATIENCE = 1.0  # seconds before anything is drawn
_INTERVAL = 0.1


class Progress:
    """Called with (bytes done, bytes in all), or (entries done, 0). Draws on standard error if that is a terminal, and
    cleans up after itself; else does nothing. ``rich`` is imported only when the bar appears."""

    def __init__(self, title: str, enabled: bool = True) -> None:
        self._title = title
        self._enabled = (
            enabled and sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        )
        self._next = time.monotonic() + _PATIENCE
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        if not self._enabled or (now := time.monotonic()) < self._next:
            return
        self._next = now + _INTERVAL
        if self._bar is None:
            self._draw(total)
        self._bar.update(self._task, completed=done)

    def _draw(self, total: int) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        bounded: tuple[ProgressColumn, ...] = (
            BarColumn(None),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        columns = bounded if total else (TextColumn("{task.completed:,.0f} entries"),)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            expand=True,
        )
        self._task = self._bar.add_task(escape(self._title), total=total or None)
        self._bar.start()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
