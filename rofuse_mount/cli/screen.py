"""Standard output as people and programs read it.

Strategy
On a terminal names are shown escaped, coloured where colours are wanted, and things are laid out to its width; into a
pipe or a file goes plain text, and names byte for byte as the archive has them. ``rich`` says which colours a terminal
has, how wide a character is, and draws tables; it is imported when something is drawn, and not before.

Rules
- No byte of an archive reaches a terminal unescaped.
- NO_COLOR, or a terminal that is ``dumb``: no colours.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Literal

from rofuse_mount.cli import outcome
from rofuse_mount.showing import show

_BATCH = 1 << 16
NARROW = 60
"""Columns below which things are drawn with less air."""
_STYLES = {
    stat.S_IFDIR: "bold blue",
    stat.S_IFLNK: "bold cyan",
    stat.S_IFCHR: "bold yellow",
    stat.S_IFBLK: "bold yellow",
    stat.S_IFIFO: "yellow",
    stat.S_IFSOCK: "bold magenta",
}


class Screen:
    """To be closed, or used in a ``with``: what is written is held back until there is much of it."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer
        self.is_terminal = sys.stdout.isatty()
        self._held: list[bytes] = []
        self._size = 0

    @cached_property
    def has_colours(self) -> bool:
        wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        return self.is_terminal and wanted

    @cached_property
    def width(self) -> int:
        """Columns of the terminal."""
        import shutil  # not where nothing is laid out

        return max(20, shutil.get_terminal_size().columns)

    def write(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size >= _BATCH or self.is_terminal:
            self.flush()

    def line(self, text: str) -> None:
        """Text that is fit to be shown."""
        self.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def flush(self) -> None:
        data = b"".join(self._held)
        self._held, self._size = [], 0
        try:
            self._out.write(data)
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise outcome.cannot_write(error) from error

    def name(self, name: bytes, mode: int = 0) -> str:
        """A name as it is written here: coloured by what it is of, where ``mode`` says that."""
        if not self.is_terminal:
            return name.decode("utf-8", "surrogateescape")
        return self.styled(show(name), _style_of(mode)) if mode else show(name)

    def styled(self, text: str, style: str) -> str:
        return self._render(text, style) if style else text

    @cached_property
    def _render(self) -> Callable[[str, str], str]:
        if not self.has_colours:
            return lambda text, style: text
        from rich.color import ColorSystem
        from rich.console import Console
        from rich.style import Style

        systems = {"256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
        system = systems.get(Console(file=sys.stdout).color_system or "", ColorSystem.STANDARD)
        parsed = lru_cache(Style.parse)
        return lambda text, style: parsed(style).render(text, color_system=system)

    def cells(self, text: str) -> int:
        """Columns that a text without colours takes."""
        if text.isascii() or not self.is_terminal:
            return len(text)
        from rich.cells import cell_len

        return cell_len(text)

    def table(self, rows: Sequence[Sequence[str]], heads: Sequence[str], right: Iterable[int] = ()) -> None:
        """``right``: columns of numbers. Where a terminal is too narrow, the last column is broken."""
        if self.is_terminal:
            self.flush()
            _draw_table(rows, heads, set(right), self)
            return
        for row in (heads, *rows):
            self.line("\t".join(row))

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None or not issubclass(kind, BrokenPipeError | outcome.Failure):
            self.flush()


def _style_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "bold green" if mode & 0o111 else ""
    return _STYLES.get(stat.S_IFMT(mode), "")


def _draw_table(rows: Sequence[Sequence[str]], heads: Sequence[str], right: set[int], screen: Screen) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        padding=(0, 1 if screen.width < NARROW else 2, 0, 0),
    )
    for number, head in enumerate(heads):
        justify: Literal["left", "right"] = "right" if number in right else "left"
        table.add_column(head, justify=justify, overflow="fold", no_wrap=number < len(heads) - 1)
    for row in rows:
        table.add_row(*map(Text, row))
    colours: Literal["auto"] | None = "auto" if screen.has_colours else None
    Console(file=sys.stdout, width=screen.width, color_system=colours, highlight=False, markup=False).print(
        table
    )
