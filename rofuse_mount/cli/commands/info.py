"""``rofuse-mount info SOURCE [PATH...]``"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from heapq import nlargest
from typing import Any

import click

from rofuse_formats import Archive
from rofuse_formats.names import TYPES, stored, text
from rofuse_mount.cli.declaring import Command
from rofuse_mount.cli.members import Members, json_option, paths_argument, source_argument
from rofuse_mount.cli.opening import Opened, open_source
from rofuse_mount.cli.outcome import show
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.screen import Screen
from rofuse_mount.cli.sizes import readable

_LARGEST = 10
_INDENT = 13  # columns of the words before the colons
_PLURALS = {
    "file": "files",
    "dir": "directories",
    "symlink": "symbolic links",
    "char": "character devices",
    "block": "block devices",
    "fifo": "pipes",
    "socket": "sockets",
}


@click.command("info", cls=Command, short_help="Show what an archive is, and what is in it.")
@source_argument
@paths_argument()
@json_option
@source_options
def COMMAND(source: str, paths: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Show what the archive SOURCE is: its format, compression, what it holds and how much, what cannot be shown, and
    where its index is. With PATH: the figures of what is there and below. PATH may be a pattern."""
    opened = open_source(source, options, later=True)
    if options["verbose"]:
        opened.tell(source, options)
    members = Members(opened.archive, source)
    found = list(members.find(paths))
    if paths and not found:
        return members.status
    facts = _facts(opened, source) | (
        _figures_below(opened.archive, found) if paths else _figures(opened.archive)
    )
    with Screen() as screen:
        if as_json:
            screen.line(json.dumps(facts))
        else:
            _draw(screen, facts)
    return members.status


def _facts(opened: Opened, source: str) -> dict[str, Any]:
    """All of its keys, in their order; the figures are still to come."""
    archive = opened.archive
    report = archive.report
    return {
        "source": source if source == "-" else os.path.realpath(source),
        "format": archive.kind,
        "compression": archive.compression,
        "frames": archive.frames[0] if archive.frames else 0,
        "seekable": not archive.unspooled,
        "entries": {},
        "size": 0,
        "stored": 0,
        "ratio": None,
        "skipped": [{"path": text(path), "reason": reason} for path, reason in report.skipped],
        "warnings": [f"damaged: {message}" for message, _offset in report.damage] + report.warnings,
        "index": {
            "path": archive.index_path and os.path.abspath(archive.index_path),
            "size": archive.index_size,
            "fresh": opened.was_kept,
        },
        "largest": [],
    }


def _figures(archive: Archive) -> dict[str, Any]:
    """Of the whole archive. Its columns are read, and of the names only those of the largest files."""
    image = archive.image
    kinds = Counter(image.mode[child - 1] & 0o170000 for child in image.child)
    sizes = [(size, row + 1) for row, size in enumerate(image.size) if stat.S_ISREG(image.mode[row])]
    largest = [(size, image.path(node)) for size, node in nlargest(_LARGEST, sizes, key=_by_size)]
    return _summed(kinds, sum(size for size, _node in sizes), archive.source.size, largest)


def _figures_below(archive: Archive, roots: list[tuple[bytes, int]]) -> dict[str, Any]:
    """Of what has these paths, or lies below them; each name and each file counts once."""
    image = archive.image
    names = {
        path: node for root, top in roots for path, node in ((root, top), *image.walk(top, root)) if path
    }
    kinds = Counter(image.mode[node - 1] & 0o170000 for node in names.values())
    files = {node: path for path, node in names.items() if stat.S_ISREG(image.mode[node - 1])}
    known = [stored(archive, node) for node in files]
    kept = sum(size for size in known if size is not None) if None not in known else None
    largest = nlargest(_LARGEST, ((image.size[node - 1], node) for node in files), key=_by_size)
    total = sum(image.size[node - 1] for node in files)
    return _summed(kinds, total, kept, [(size, files[node]) for size, node in largest])


def _by_size(one: tuple[int, int]) -> tuple[int, int]:
    return one[0], -one[1]


def _summed(
    kinds: Counter[int], size: int, kept: int | None, largest: list[tuple[int, bytes]]
) -> dict[str, Any]:
    return {
        "entries": {name: kinds[kind] for kind, name in TYPES.items() if kinds[kind]},
        "size": size,
        "stored": kept,
        "ratio": round(size / kept, 4) if kept else None,
        "largest": [{"path": text(path), "size": size} for size, path in largest if size],
    }


def _draw(screen: Screen, facts: dict[str, Any]) -> None:
    for key, value in _lines(facts):
        first, *rest = _fit(screen, value)
        screen.line(screen.styled(f"{key + ':':<{_INDENT}}", "bold") + first)
        screen.lines(" " * _INDENT + line for line in rest)
    if facts["largest"]:
        screen.line("")
        rows = [(readable(one["size"]), _name(screen, one["path"])) for one in facts["largest"]]
        screen.table(rows, ("size", "largest files"), right=(0,))


def _fit(screen: Screen, value: str) -> list[str]:
    """The lines that it takes; a path stays in one piece."""
    if not screen.is_terminal:
        return [value]
    from textwrap import wrap

    return wrap(
        show(value), max(_INDENT, screen.width - _INDENT), break_long_words=False, break_on_hyphens=False
    ) or [""]


def _name(screen: Screen, path: str) -> str:
    return screen.name(path.encode("utf-8", "surrogateescape"))


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    compression = ", ".join(facts["compression"]) or "none"
    if facts["frames"]:
        compression += f" ({facts['frames']} frame{'s' * (facts['frames'] != 1)})"
    ratio = f", ratio {facts['ratio']:.2f}" if facts["ratio"] is not None else ""
    taken = f" in {readable(facts['stored'])}{ratio}" if facts["stored"] is not None else ""
    counts = [f"{count} {_plural(kind, count)}" for kind, count in facts["entries"].items()]
    index = facts["index"]
    where = index["path"] or "in memory only: it is made in a blink, or was not to be kept"
    return [
        ("source", facts["source"]),
        ("format", facts["format"]),
        ("compression", compression),
        ("seekable", "yes" if facts["seekable"] else "no: parts are decoded from their beginning"),
        ("entries", ", ".join(counts) or "none"),
        ("size", readable(facts["size"]) + taken),
        *(("not shown", f"{one['path']}: {one['reason']}") for one in facts["skipped"]),
        *(("warning", line) for line in facts["warnings"]),
        ("index", f"{readable(index['size'])}, {where}"),
    ]


def _plural(kind: str, count: int) -> str:
    return _PLURALS[kind] if count != 1 else _PLURALS[kind].replace("ies", "y").removesuffix("s")
