"""``rofuse-mount tree SOURCE [PATH...]``"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

import click

from rofuse_formats import Archive
from rofuse_formats.image.reader import Image
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Command, option
from rofuse_mount.cli.describing import ROOT_PATH, Describer
from rofuse_mount.cli.members import Members, json_option, paths_argument, source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.screen import Screen

_GUIDES = ("├── ", "└── ", "│   ", "    ")
_DEEPEST = 1 << 16


@click.command("tree", cls=Command, short_help="Draw the tree of an archive.")
@source_argument
@paths_argument()
@option("-L", "--level", type=click.IntRange(1), metavar="N", help="No deeper than N levels.")
@json_option
@source_options
def COMMAND(source: str, paths: tuple[str, ...], level: int | None, as_json: bool, **options: Any) -> int:
    """Draw the tree of the archive SOURCE, or what is below each PATH, in the archive's own order.

    PATH may be a pattern ('*/src').
    """
    opened = open_source(source, options, later=True)
    opened.tell(source, options)
    members = Members(opened.archive, source)
    image, depth = opened.archive.image, level or _DEEPEST
    with Screen() as screen:
        if as_json:
            found = (
                (below, child)
                for path, node in members.all_or(paths)
                for below, child, _guides in _walk(image, path, node, depth)
            )
            screen.lines(Describer(opened.archive).objects(found))
            return members.status
        directories = files = 0
        for path, node in members.all_or(paths):
            head = screen.name(path or ROOT_PATH, image.mode[node - 1]) if path else outcome.show(source)
            screen.line(head)
            for below, child, guides in _walk(image, path, node, depth):
                screen.line(guides + _name(screen, opened.archive, below, child))
                if image.is_directory(child):
                    directories += 1
                else:
                    files += 1
        if not members.status and not options["quiet"]:
            screen.line(
                f"\n{_counted(directories, 'directory', 'directories')}, {_counted(files, 'file', 'files')}"
            )
    return members.status


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _name(screen: Screen, archive: Archive, path: bytes, node: int) -> str:
    mode = archive.image.mode[node - 1]
    shown = screen.name(path.rpartition(b"/")[2], mode)
    return shown + " -> " + screen.name(archive.target(node)) if stat.S_ISLNK(mode) else shown


def _walk(image: Image, path: bytes, node: int, depth: int) -> Iterator[tuple[bytes, int, str]]:
    """As ``Image.walk``, to a depth; and what is drawn before each name."""
    guides: list[str] = []
    stack = [(path, node, iter(rows := image.dirents(node)), rows.stop)]
    while stack:
        prefix, directory, rows_left, stop = stack[-1]
        for row in rows_left:
            child, is_last = image.child[row], row + 1 == stop
            below = prefix + b"/" + image.name(row) if prefix else image.name(row)
            yield below, child, "".join(guides) + _GUIDES[is_last]
            if image.is_directory(child) and len(stack) < depth and child > directory:
                guides.append(_GUIDES[2 + is_last])
                rows = image.dirents(child)
                stack.append((below, child, iter(rows), rows.stop))
                break
        else:
            stack.pop()
            if guides:
                guides.pop()
