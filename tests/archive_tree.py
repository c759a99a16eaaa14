"""An opened archive as a tree of ``tests/trees.py``: what it says without a kernel in between."""

from __future__ import annotations

import hashlib
import os
import stat

from rofuse_formats import Archive
from rofuse_formats.errors import FormatError
from tests.trees import DIGEST_LIMIT, KINDS, ROOT, Record, Tree

_STEP = 100_001  # odd, so that reads begin and end anywhere in blocks and extents


def tree_of(archive: Archive) -> Tree:
    """Every name of the archive. A file that cannot be read to its end has no digest."""
    image = archive.image
    nodes = {ROOT: 1} | dict(image.walk())
    names: dict[int, bytes] = {}
    for path in sorted(nodes):
        names.setdefault(nodes[path], path)
    return {path: _record(archive, nodes[path], names[nodes[path]]) for path in sorted(nodes)}


def digest(archive: Archive, node: int) -> str | None:
    """SHA-256 of a file, read as a reader with an odd buffer reads it; None where it cannot be read."""
    found = hashlib.sha256()
    size = archive.image.size[node - 1]
    try:
        for offset in range(0, size, _STEP):
            for piece in archive.read(node, offset, _STEP):
                found.update(piece)
    except FormatError:
        return None
    return found.hexdigest()


def _record(archive: Archive, node: int, first: bytes) -> Record:
    image, row = archive.image, node - 1
    mode, owner = image.mode[row], image.owner[row]
    kind = KINDS[stat.S_IFMT(mode)]
    word = image.data[row]
    return Record(
        kind=kind,
        mode=stat.S_IMODE(mode),
        uid=image.uid[owner],
        gid=image.gid[owner],
        size=image.size[row] if kind in ("file", "symlink") else None,
        mtime_ns=image.mtime[row] * 1_000_000_000 + image.mtime_ns[row],
        nlink=image.nlink[row],
        first=first,
        rdev=(os.major(word), os.minor(word)) if kind in ("char", "block") else None,
        target=archive.target(node) if kind == "symlink" else None,
        digest=digest(archive, node) if kind == "file" and image.size[row] <= DIGEST_LIMIT else None,
        xattrs=tuple(image.xattrs(node)),
    )
