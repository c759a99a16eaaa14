"""Whether every byte that an archive holds can be had, and is what its maker wrote as far as that can be told.

Strategy
The archive was indexed just now, so the checks of its compression have all been made: a file is bad where it lies in
what failed them, or behind where the archive ends. What is not compressed is read, for a disk may have gone bad; so is
what lies in archives within the archive.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from rofuse_formats.archive import Archive
from rofuse_formats.copying import Copier
from rofuse_formats.errors import FormatError

STEP = 1 << 20

Tell = Callable[[int, int], None]
"""Told how many bytes of how many are done."""


class Finding(NamedTuple):
    """What became of one name of the archive."""

    path: bytes
    size: int
    """Bytes looked at: those of a file, once for all its names."""
    error: str
    """Nothing where all is well."""
    offset: int | None
    """Where in the file the first bad byte is."""


def verify(
    archive: Archive,
    among: Collection[bytes] = (b"",),
    progress: Tell = lambda done, total: None,
) -> Iterator[Finding]:
    """Looks at every name, in the archive's order. ``archive``: indexed just now, without ``salvage``. ``among``: paths
    of it; only these, and what is below them, is looked at."""
    done, total = 0, sum(_sizes(archive, among))
    known: dict[int, tuple[str, int | None]] = {}
    for path, node in archive.image.walk():
        if not any(is_below(path, folder) for folder in among):
            continue
        if not stat.S_ISREG(archive.image.mode[node - 1]) and not archive.image.is_packed(node):
            yield Finding(path, 0, "", None)
        elif node in known:
            yield Finding(path, 0, *known[node])
        else:
            known[node] = _file(archive, node, done, total, progress)
            done += archive.image.size[node - 1]
            yield Finding(path, archive.image.size[node - 1], *known[node])


def _sizes(archive: Archive, among: Collection[bytes]) -> Iterator[int]:
    """Of the files that will be looked at."""
    mode, size = archive.image.mode, archive.image.size
    if b"" in among:
        return (size[row] for row in range(len(mode)) if stat.S_ISREG(mode[row]))
    nodes = {
        node
        for path, node in archive.image.walk()
        if stat.S_ISREG(mode[node - 1]) and any(is_below(path, folder) for folder in among)
    }
    return (size[node - 1] for node in nodes)


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether it is that folder (empty: the root), or in it."""
    return not folder or path == folder or path.startswith(folder + b"/")


def _file(archive: Archive, node: int, done: int, total: int, progress: Tell) -> tuple[str, int | None]:
    """What is wrong with a file and where, or ``("", None)``."""
    if archive.compression and not archive.image.has_members and not archive.parts:
        return _known_damage(archive, node)
    size, offset = archive.image.size[node - 1], 0
    copier = Copier()
    try:
        while offset < size:
            for piece in archive.read(node, offset, STEP):
                offset += len(copier.own(piece))  # of a map it is read now
            progress(done + offset, total)
        archive.check(node)
    except (FormatError, OSError) as error:
        return str(error), offset
    finally:
        copier.close()
    return "", None


def _known_damage(archive: Archive, node: int) -> tuple[str, int | None]:
    end, suspect = archive.stream.size, archive.suspect[-1]
    for extent in archive.image.extents(node):
        for start, stop in suspect:
            if start < extent.offset + extent.length and extent.offset < stop:
                return "its data failed its check", extent.logical + max(0, start - extent.offset)
        if extent.offset + extent.length > end:
            return "the archive ends before its data does", extent.logical + max(0, end - extent.offset)
    return "", None
