"""``rofuse-mount ls SOURCE [PATH...]``"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import Any

import click

from rofuse_formats.image.reader import Image
from rofuse_mount.cli.declaring import Command, option
from rofuse_mount.cli.describing import ROOT_PATH, Describer
from rofuse_mount.cli.members import Members, json_option, paths_argument, source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.screen import NARROW, Screen

_WIDE = 70  # columns from which on links, owner and group are shown

Member = tuple[bytes, int]


@click.command(
    "ls",
    cls=Command,
    short_help="List what is in an archive.",
    context_settings={"help_option_names": ["--help"]},
)
@source_argument
@paths_argument()
@option("-l", "--long", is_flag=True, help="Mode, links, owner, group, size and time of each.")
@option("-R", "--recursive", is_flag=True, help="What is below each directory, too.")
@option("-h", "--human-readable", "human", is_flag=True, help="With -l: sizes as 1.5M.")
@option("-d", "--directory", "itself", is_flag=True, help="A directory itself, not what is in it.")
@json_option
@source_options
def COMMAND(source: str, paths: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """List what is in the archive SOURCE: in its root, or each PATH. PATH may be a pattern ('etc/*.conf').

    Nothing is hidden. It needs no mount and no FUSE. With --json and without a PATH: all that is in the archive.
    """
    opened = open_source(source, options, later=True)
    opened.tell(source, options)
    members = Members(opened.archive, source)
    with Screen() as screen:
        if as_json:
            # Who is sent the whole archive can choose; who is sent its root, which mostly has one entry, cannot.
            wholly = options["recursive"] or not paths
            screen.lines(Describer(opened.archive).objects(_flat(members, paths, wholly, options["itself"])))
        else:
            _Listing(screen, members, options).show(paths)
    return members.status


def _flat(members: Members, paths: tuple[str, ...], recursive: bool, itself: bool) -> Iterator[Member]:
    image = members.image
    for path, node in members.all_or(paths):
        if itself or not image.is_directory(node):
            yield path, node
        elif recursive:
            yield from image.walk(node, path)
        else:
            yield from _entries(image, path, image.dirents(node))


def _entries(image: Image, path: bytes, rows: Iterable[int]) -> Iterator[Member]:
    below = path + b"/" if path else b""
    return ((below + image.name(row), image.child[row]) for row in rows)


class _Listing:
    """As ``ls`` writes it."""

    def __init__(self, screen: Screen, members: Members, options: dict[str, Any]) -> None:
        self.screen, self.members, self.image = screen, members, members.image
        self.describer = Describer(members.archive)
        self.long, self.recursive = options["long"], options["recursive"]
        self.human, self.itself = options["human"], options["itself"]
        self._is_first = True

    def show(self, paths: tuple[str, ...]) -> None:
        found = list(self.members.all_or(paths))
        directories: list[Member] = []
        files: list[Member] = []
        for one in found:
            is_listed = self.image.is_directory(one[1]) and not self.itself
            (directories if is_listed else files).append(one)
        if files:
            self._rows([(path or ROOT_PATH, node) for path, node in files])
            self._is_first = False
        headed = self.recursive or len(paths) > 1 or len(found) > 1
        for path, node in directories:
            self._directory(path, node, headed)
            if self.recursive:
                for below, inner in self.image.walk(node, path):
                    if self.image.is_directory(inner):
                        self._directory(below, inner, headed)

    def _directory(self, path: bytes, node: int, headed: bool) -> None:
        if headed:
            self.screen.line(("" if self._is_first else "\n") + self.screen.name(path or ROOT_PATH) + ":")
        self._is_first = False
        rows = self.image.dirents(node)
        self._rows(list(_entries(self.image, b"", self.image.order[rows.start : rows.stop])))

    def _rows(self, rows: list[Member]) -> None:
        if self.long:
            self._long(rows)
        elif self.screen.is_terminal:
            self._columns(rows)
        else:
            self.screen.lines(self.screen.name(name) for name, _node in rows)

    def _long(self, rows: list[Member]) -> None:
        image, describer, name = self.image, self.describer, self.screen.name
        full = not self.screen.is_terminal or self.screen.width >= _WIDE
        lines: list[tuple[str, ...]] = []
        for _name, node in rows:
            mode = stat.filemode(image.mode[node - 1])
            size, mtime = describer.size(node, self.human), describer.mtime(node)
            if self.screen.is_terminal and self.screen.width < NARROW:
                mtime = mtime.partition(" ")[0]
            if full:
                user, group = (name(owner) for owner in describer.owner_names(node))
                lines.append((mode, str(image.nlink[node - 1]), user, group, size, mtime))
            else:
                lines.append((mode, size, mtime))
        widths = [max(map(self.screen.cells, column)) for column in zip(*lines, strict=True)]
        numbers = (1, 4) if full else (1,)
        for line, (path, node) in zip(lines, rows, strict=True):
            cells = []
            for number, (cell, width) in enumerate(zip(line, widths, strict=True)):
                room = " " * (width - self.screen.cells(cell))
                cells.append(room + cell if number in numbers else cell + room)
            self.screen.line(" ".join((*cells, self._name(path, node))))

    def _name(self, path: bytes, node: int) -> str:
        mode = self.image.mode[node - 1]
        shown = self.screen.name(path, mode)
        if stat.S_ISLNK(mode):
            shown += " -> " + self.screen.name(self.describer.archive.target(node))
        return shown

    def _columns(self, rows: list[Member]) -> None:
        if not rows:
            return
        widths = [self.screen.cells(self.screen.name(name)) + 2 for name, _node in rows]
        count = max(1, (self.screen.width + 2) // max(widths))
        height = -(-len(rows) // count)
        for first in range(height):
            cells = []
            for number in range(first, len(rows), height):
                name, node = rows[number]
                room = max(widths) - widths[number] + 2 if number + height < len(rows) else 0
                cells.append(self.screen.name(name, self.image.mode[node - 1]) + " " * room)
            self.screen.line("".join(cells))
