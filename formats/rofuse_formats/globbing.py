"""Paths with ``*``, ``?`` and ``[...]`` in them, looked for in an archive.

A pattern is matched part by part, as a shell does it: ``*`` matches no slash. It matches names that begin with a dot,
too: in an archive nothing is hidden. A part without these signs is looked up, so that ``etc/*.conf`` costs what is in
``etc`` and no more. Symbolic links on the way are followed, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rofuse_formats.image import layout
from rofuse_formats.names import locate, text

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive

_SIGNS = rb"[*?[]"


class Pattern:
    """Matches whole names; ``*`` and ``?`` match slashes, too, if there are any. ``?`` is a character, or one byte of
    what is no UTF-8."""

    def __init__(self, pattern: bytes) -> None:
        from fnmatch import translate

        self._match = re.compile(translate(text(pattern))).match

    def matches(self, name: bytes) -> bool:
        return self._match(text(name)) is not None


def is_pattern(path: bytes) -> bool:
    return re.search(_SIGNS, path) is not None


def expand(archive: Archive, pattern: bytes) -> Iterator[tuple[bytes, int]]:
    """Path and inode of all that matches, by name within each directory; nothing where nothing does."""
    found = [(b"", layout.ROOT)]
    parts = [part for part in pattern.split(b"/") if part not in (b"", b".")]
    for number, part in enumerate(parts, 1):
        inner = number < len(parts) or pattern.endswith(b"/")
        found = [below for path, node in found for below in _matching(archive, path, node, part, inner)]
    yield from found


def _matching(
    archive: Archive, path: bytes, node: int, part: bytes, inner: bool
) -> Iterator[tuple[bytes, int]]:
    """What ``part`` matches in a directory; ``inner``: of it only directories, for more is looked for in them."""
    image = archive.image
    if is_pattern(part):
        wanted = Pattern(part)
        rows = image.dirents(node)
        names = (image.name(row) for row in image.order[rows.start : rows.stop])
        candidates = [name for name in names if wanted.matches(name)]
    else:
        candidates = [part]
    for name in candidates:
        try:
            below, child = locate(archive, path + b"/" + name, follow=inner)
        except OSError:
            continue  # not there, or a link that leads nowhere: matches nothing, as in a shell
        if not inner or image.is_directory(child):
            yield below, child
