"""Archives that bring their image (``entry.CarryingFormat``): opened without a scan.

What is made here is the index file that every archive is read by, in memory: so a server that takes a mount over needs
nothing but the descriptors that it needs of any other. A large one is kept as others are: to decode an image and to
look at all of it takes longer than anything else at a mount. It is only used where we wrote it (``opening``), and so
not kept beside the archive: what came with that says nothing that it does not say itself.
"""

from __future__ import annotations

import os
from typing import Any

from rofuse_formats import cache
from rofuse_formats import index as index_file
from rofuse_formats.archives import named
from rofuse_formats.entry import CARRIED, CarryingFormat
from rofuse_formats.errors import IndexDamagedError, UnknownFormatError
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.report import Report
from rofuse_formats.settings import Settings
from rofuse_formats.source import StoredSource

_HEAD = 64
_LONGEST = 32
_LARGE = 20_000  # inodes; some 30 ms


def carrier(source: StoredSource) -> CarryingFormat | None:
    """The format of an archive that brings its image; None of one that does not. Raises UnknownFormatError, OSError."""
    head = source.pread(_HEAD, 0)
    if not head.startswith(CARRIED):
        return None
    name = head[len(CARRIED) :].partition(b"\r\n")[0][:_LONGEST]
    try:
        found = named(name.decode("ascii")) if name.islower() else None
    except (UnicodeDecodeError, IndexDamagedError):
        found = None
    if not isinstance(found, CarryingFormat) or not found.recognise(head):
        raise UnknownFormatError("is of a kind of this program's own that is not known to this version")
    return found


def carried_index(source: StoredSource, carrying: CarryingFormat, settings: Settings) -> int:
    """The index of an archive that brings its image, as a memory file; its descriptor. Raises FormatError, OSError."""
    fd = os.memfd_create("rofuse-index", os.MFD_CLOEXEC)
    try:
        write_carried(source, fd, carrying, settings)
    except BaseException:
        os.close(fd)
        raise
    return fd


def place_to_keep(source: StoredSource, index: Index, here: bool) -> str | None:
    """Where an index that was made of an archive's own image is kept; None where it is not. ``here``: where it is to be
    beside the archive, if anywhere."""
    path = os.fsdecode(source.path)
    place = cache.place(path)
    is_kept = not here and place != cache.beside(path) and Image(index.image).inode_count > _LARGE
    return place if is_kept else None


def write_carried(source: StoredSource, fd: int, carrying: CarryingFormat, settings: Settings) -> None:
    """Writes the index of such an archive to ``fd``. Raises FormatError, OSError."""
    carried = carrying.carried(source, settings.limits)
    meta: dict[str, Any] = {
        "source": cache.fingerprint(source),
        "place": os.path.realpath(os.fsdecode(source.path)) if source.named else None,
        "options": settings.lasting(),
        **index_file.undecoded(carrying.name),
        "report": Report().to_json(),
    }
    index_file.write(fd, meta, [carried.image], [], blocks=carried.blocks, most=settings.limits.max_index)
