"""The bar that ``progress`` draws: what is done, how much of it, how fast, and how long it will take.

    verifying backup.tar.zst ━━━━━━━━━╸━━━━━━━━━━━  45%  1.2 of 2.7 GiB  312 MiB/s  0:05 left

The name has a third of the width at most, and where there is no room for it the amount is left out. Where nobody
knows how much there is, it is counted:

    indexing backup.zip  120,000 entries  48,000/s

The rate is that of the last ten seconds; ``rich``, which importing this imports, would make one of the first two things
it is told.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from rofuse_mount.cli.screen import NARROW
from rofuse_mount.cli.sizes import readable

_WIDE = 100  # columns from which on the amount is shown
_MINUTE, _HOUR = 60, 3600
_MOST_HOURS = 100
_SPAN = 10.0  # seconds that the rate is taken from


class Bar:
    """Of one piece of work, on standard error. ``total``: bytes, or 0 where entries are counted. ``begun``: when, by
    ``time.monotonic``."""

    def __init__(self, title: str, total: int, begun: float) -> None:
        self._total = total
        self._known = deque([(begun, 0)])
        console = Console(stderr=True)
        narrow = console.width < NARROW
        name = _Words(lambda task: title, max_width=console.width // 3)
        amounts = [_Words(_amount)] if console.width >= _WIDE else []
        known: list[ProgressColumn] = [
            name,
            BarColumn(None),
            _Words(lambda task: f"{task.percentage:3.0f}%"),
            *amounts,
            _Words(lambda task: f"{readable(int(self._rate()))}/s", width=11),
            _Words(lambda task: self._left() + ("" if narrow else " left"), width=5 if narrow else 10),
        ]
        counted: list[ProgressColumn] = [
            name,
            _Words(lambda task: f"{task.completed:,.0f} entries"),
            _Words(lambda task: f"{self._rate():,.0f}/s"),
        ]
        self._progress = Progress(
            *(known if total else counted),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=bool(total),
        )
        self._task = self._progress.add_task("", total=total or None)
        self._is_shown = False

    def update(self, done: int) -> None:
        """Shows it, if it is not shown."""
        now = time.monotonic()
        while len(self._known) > 1 and self._known[1][0] < now - _SPAN:
            self._known.popleft()
        self._known.append((now, done))
        self._progress.update(self._task, completed=done)
        if not self._is_shown:
            self._is_shown = True
            self._progress.start()

    def hide(self) -> None:
        """Wipes it off."""
        if self._is_shown:
            self._is_shown = False
            self._progress.stop()

    def _rate(self) -> float:
        """Bytes or entries a second."""
        (first, before), (last, done) = self._known[0], self._known[-1]
        return max(0, done - before) / max(last - first, 0.001)

    def _left(self) -> str:
        """Minutes and seconds, or hours and minutes."""
        rate = self._rate()
        if not rate:
            return "-:--"
        seconds = int(max(0, self._total - self._known[-1][1]) / rate)
        if seconds < _HOUR:
            return f"{seconds // _MINUTE}:{seconds % _MINUTE:02}"
        hours = seconds // _HOUR
        return f"{hours}h{seconds % _HOUR // _MINUTE:02}" if hours < _MOST_HOURS else "days"


class _Words(ProgressColumn):
    """A column of text that is made of the task."""

    def __init__(
        self, made: Callable[[Task], str], *, width: int | None = None, max_width: int | None = None
    ) -> None:
        self._made = made
        super().__init__(
            Column(no_wrap=True, overflow="ellipsis", width=width, max_width=max_width, justify="left")
        )

    def render(self, task: Task) -> Text:
        return Text(self._made(task), overflow="ellipsis", no_wrap=True)


def _amount(task: Task) -> str:
    done, total = readable(int(task.completed)), readable(int(task.total or 0))
    number, _, unit = done.partition(" ")
    return f"{number if total.endswith(unit) else done} of {total}"
