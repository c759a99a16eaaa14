"""``rofuse-mount info SOURCE``"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from heapq import nlargest
from typing import Any

import click

from rofuse_formats import Archive
from rofuse_formats.names import TYPES, text
from rofuse_mount.cli.members import json_option, source_argument
from rofuse_mount.cli.opening import Opened, open_source
from rofuse_mount.cli.outcome import show
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.screen import Screen
from rofuse_mount.cli.sizes import readable

_LARGEST = 10
_PLURALS = {
    "file": "files",
    "dir": "directories",
    "symlink": "symbolic links",
    "char": "character devices",
    "block": "block devices",
    "fifo": "pipes",
    "socket": "sockets",
}


@click.command("info", short_help="Show what an archive is, and what is in it.")
@source_argument
@json_option
@source_options
def COMMAND(source: str, as_json: bool, **options: Any) -> None:
    """Show what the archive SOURCE is: its format, compression, what it holds and how much, what cannot be shown, and
    where its index is."""
    opened = open_source(source, options, later=True)
    if options["verbose"]:
        opened.tell(source, options)
    facts = _facts(opened, source)
    with Screen() as screen:
        if as_json:
            screen.line(json.dumps(facts))
        else:
            _draw(screen, facts)


def _facts(opened: Opened, source: str) -> dict[str, Any]:
    archive = opened.archive
    image, report = archive.image, archive.report
    kinds = Counter(image.mode[child - 1] & 0o170000 for child in image.child)
    sizes = [(size, row + 1) for row, size in enumerate(image.size) if stat.S_ISREG(image.mode[row])]
    size, stored = sum(size for size, _node in sizes), archive.source.size
    return {
        "source": source if source == "-" else os.path.realpath(source),
        "format": archive.format,
        "compression": archive.compression,
        "frames": archive.frames[0] if archive.frames else 0,
        "seekable": not archive.unspooled,
        "entries": {name: kinds[kind] for kind, name in TYPES.items() if kinds[kind]},
        "size": size,
        "stored": stored,
        "ratio": round(size / stored, 4) if stored else None,
        "skipped": [{"path": text(path), "reason": reason} for path, reason in report.skipped],
        "warnings": [f"damaged: {message}" for message, _offset in report.damage] + report.warnings,
        "index": {"path": archive.index_path, "size": archive.index_size, "fresh": opened.was_kept},
        "largest": _largest(archive, sizes),
    }


def _largest(archive: Archive, sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    largest = nlargest(_LARGEST, sizes, key=lambda one: (one[0], -one[1]))
    return [{"path": text(archive.image.path(node)), "size": size} for size, node in largest if size]


def _draw(screen: Screen, facts: dict[str, Any]) -> None:
    for key, value in _lines(facts):
        screen.line(screen.styled(f"{key + ':':<13}", "bold") + _fit(screen, value))
    if facts["largest"]:
        screen.line("")
        rows = [(readable(one["size"]), _name(screen, one["path"])) for one in facts["largest"]]
        screen.table(rows, ("size", "largest files"), right=(0,))


def _fit(screen: Screen, value: str) -> str:
    return show(value) if screen.is_terminal else value


def _name(screen: Screen, path: str) -> str:
    return screen.name(path.encode("utf-8", "surrogateescape"))


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    compression = ", ".join(facts["compression"]) or "none"
    if facts["frames"]:
        compression += f" ({facts['frames']} frame{'s' * (facts['frames'] != 1)})"
    ratio = f", ratio {facts['ratio']:.2f}" if facts["ratio"] is not None else ""
    counts = [f"{count} {_plural(kind, count)}" for kind, count in facts["entries"].items()]
    index = facts["index"]
    where = index["path"] or "in memory only: it is made in a blink, or was not to be kept"
    return [
        ("source", facts["source"]),
        ("format", facts["format"]),
        ("compression", compression),
        ("seekable", "yes" if facts["seekable"] else "no: parts are decoded from their beginning"),
        ("entries", ", ".join(counts) or "none"),
        ("size", f"{readable(facts['size'])} in {readable(facts['stored'])}{ratio}"),
        *(("not shown", f"{one['path']}: {one['reason']}") for one in facts["skipped"]),
        *(("warning", line) for line in facts["warnings"]),
        ("index", f"{readable(index['size'])}, {where}"),
    ]


def _plural(kind: str, count: int) -> str:
    return _PLURALS[kind] if count != 1 else _PLURALS[kind].replace("ies", "y").removesuffix("s")
