"""What ``tests/bench/streams.py`` found, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1 << 20


@dataclass
class Figures:
    """One peer on one row, once. Seconds and bytes; None where it was not come to."""

    row: str
    peer: str
    archive: int
    first: float | None = None
    """The first mount."""
    again: float | None = None
    """Mounted again."""
    files: float | None = None
    """The random files, read after that."""
    stopped: bool = False
    """Whether reading them took longer, and was stopped."""
    largest: int = 0
    """Peak memory of the largest process."""
    together: int = 0
    """Peak memory of all processes."""
    index: int | None = None
    spool: int | None = None
    """What is kept on disk."""
    error: str = ""


def table(figures: list[Figures], rows: list[str], peers: list[str]) -> str:
    """Markdown: a line a row, a column for each figure and peer. Behind another peer's times: how many times ours."""
    heads = ["", "archive"]
    columns = [
        (title, show, peer) for title, show, of_all in COLUMNS for peer in (peers if of_all else peers[:1])
    ]
    heads += [f"{title}: {peer}" for title, _show, peer in columns]
    lines = [heads, [":--", *["--:"] * (len(heads) - 1)]]
    for row in rows:
        found = {peer: [f for f in figures if f.row == row and f.peer == peer] for peer in peers}
        ours = found[peers[0]]
        size = f"{ours[0].archive / MIB:.0f} MiB" if ours else "-"
        cells = [show(found[peer], ours) for _title, show, peer in columns]
        lines.append([row, size, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _median(runs: list[Figures], field: str) -> float | None:
    """None where any run has none: a figure that is there sometimes is none."""
    values = [getattr(run, field) for run in runs]
    return statistics.median(values) if values and None not in values else None


def _seconds(field: str) -> Callable[[list[Figures], list[Figures]], str]:
    def show(runs: list[Figures], ours: list[Figures]) -> str:
        value, base = _median(runs, field), _median(ours, field)
        if value is None:
            return "-"
        if field == "files" and any(run.stopped for run in ours):
            base = None
        sign = "> " if field == "files" and any(run.stopped for run in runs) else ""
        ratio = f" ({sign}{value / base:.1f})" if base and runs is not ours else ""
        return f"{sign}{value:.2f} s{ratio}"

    return show


def _memory(runs: list[Figures], ours: list[Figures]) -> str:
    if not runs:
        return "-"
    largest, together = max(run.largest for run in runs), max(run.together for run in runs)
    return f"{largest / MIB:.0f} / {together / MIB:.0f} MiB"


def _share(field: str) -> Callable[[list[Figures], list[Figures]], str]:
    def show(runs: list[Figures], ours: list[Figures]) -> str:
        value = _median(runs, field)
        return "-" if value is None else f"{value / runs[0].archive:.2%}"

    return show


COLUMNS = (
    ("first mount", _seconds("first"), True),
    ("remount", _seconds("again"), True),
    ("100 random files", _seconds("files"), True),
    ("peak memory, largest process / all", _memory, True),
    ("index", _share("index"), True),
    ("spool", _share("spool"), False),
)
"""Title, how it is shown, and whether for every peer or for ours alone."""
