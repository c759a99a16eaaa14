"""Whether a pack holds what it was made of."""

from __future__ import annotations

import stat
from collections.abc import Callable
from hashlib import sha256
from itertools import zip_longest
from typing import TYPE_CHECKING

import rofuse_formats
from rofuse_formats.archives.pack import superblock
from rofuse_formats.errors import DamagedError
from rofuse_formats.packing.contents import Contents

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive

_STEP = 1 << 20


def compare(archive: Archive, path: str, progress: Callable[[int, int], None] | None = None) -> None:
    """Reads the pack at ``path`` whole, checks it as a whole, and compares every file with that of ``archive``. Raises
    DamagedError where they differ, and what reading either of them raises."""
    with rofuse_formats.open(path, keep=False) as pack:
        _check_digest(pack)
        ours, theirs = Contents(pack, _STEP), Contents(archive, _STEP)
        seen, done = set[int](), 0
        for name, node in pack.image.walk():
            size = pack.image.size[node - 1]
            if node in seen or not stat.S_ISREG(pack.image.mode[node - 1]):
                continue
            seen.add(node)
            original = archive.image.resolve(name)
            chunks = zip_longest(ours.chunks(node), theirs.chunks(original)) if original else ()
            if not original or size != archive.image.size[original - 1] or any(a != b for a, b in chunks):
                shown = name.decode("utf-8", "backslashreplace")
                raise DamagedError(f"{shown} is not in the pack what it is in its source")
            done += size
            if progress is not None:
                progress(done, ours.total)


def _check_digest(pack: Archive) -> None:
    found = superblock.read(pack.source)
    digest = sha256()
    for offset in range(superblock.SIZE, found.total, _STEP):
        digest.update(pack.source.pread(min(_STEP, found.total - offset), offset))
    if digest.digest() != found.digest:
        raise DamagedError("the pack is not what was written")
