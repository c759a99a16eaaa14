"""Whether every byte that an archive holds can be had, and is what its maker wrote as far as that can be told.

Strategy
The archive was indexed just now, so the checks of its compression have all been made: a file is bad where it lies in
what failed them, or behind where the archive ends. What is not compressed is read, for a disk may have gone bad; so is
what lies in archives within the archive. Where the archive says digests of its own (``seals``: deb, rpm), what is
read must have them, and so must the stretches of the archive that they are for.

Rules
- A digest of an algorithm that Python does not have is passed over.
- What was read without an error and has another digest is bad from no byte in particular.
"""

from __future__ import annotations

import hashlib
import stat
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import NamedTuple

from rofuse_formats.archive import Archive
from rofuse_formats.archives import formats
from rofuse_formats.copying import Copier, joined
from rofuse_formats.errors import FormatError, PasswordError
from rofuse_formats.limits import MIB
from rofuse_formats.seals import Digest, Sealed, SealedFormat, Seals

STEP = 1 << 20
_LARGEST_LIST = 64 * MIB

_Verdict = tuple[str, int | None, bool]
"""What is wrong with a file (nothing: ""), where, and whether it lacks only its password."""
_GOOD: _Verdict = ("", None, False)

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
    is_locked: bool = False
    """It may be good: it could not be read without its password."""


def verify(
    archive: Archive,
    among: Collection[bytes] = (b"",),
    progress: Tell = lambda done, total: None,
) -> Iterator[Finding]:
    """Looks at every name, in the archive's order. ``archive``: indexed just now, without ``salvage``. ``among``: paths
    of it; only these, and what is below them, is looked at. What is wrong with the archive as a whole is told of the
    path ``b""``, where all is looked at."""
    done, total = 0, sum(_sizes(archive, among))
    seals, troubles = _seals(archive)
    if b"" in among:
        yield from (Finding(b"", 0, trouble, None) for trouble in troubles)
        yield from (
            finding for sealed in seals.stretches if (finding := _stretch(archive, sealed)) is not None
        )
    known: dict[tuple[int, Digest | None], _Verdict] = {}
    for path, node in archive.image.walk():
        if not any(is_below(path, folder) for folder in among):
            continue
        digest = seals.files.pop(path, None)
        if not stat.S_ISREG(archive.image.mode[node - 1]) and not archive.image.is_packed(node):
            yield Finding(path, 0, "", None)
        elif (node, digest) in known:
            yield Finding(path, 0, *known[node, digest])
        else:
            known[node, digest] = _file(archive, node, done, total, progress, digest, seals.by)
            done += archive.image.size[node - 1]
            yield Finding(path, archive.image.size[node - 1], *known[node, digest])
    for path in seals.files:
        if any(is_below(path, folder) for folder in among):
            yield Finding(path, 0, f"{seals.by} lists this file, and it is not there", None)


def _seals(archive: Archive) -> tuple[Seals, list[str]]:
    """The digests that an archive says; and what went wrong when they were looked for."""
    kind = formats().get(archive.format)  # a lone file and a directory are of none
    if not isinstance(kind, SealedFormat):
        return Seals([], {}, ""), []

    def read(path: bytes) -> bytes | None:
        node = archive.image.resolve(path)
        is_ordinary = node and stat.S_ISREG(archive.image.mode[node - 1])
        size = archive.image.size[node - 1] if is_ordinary else 0
        return joined(archive.read(node, 0, size)) if is_ordinary and size <= _LARGEST_LIST else None

    try:
        seals = kind.seals(archive.contents.base, read)
        return seals if archive.parts else seals._replace(files={}), []
    except (FormatError, OSError) as error:
        return Seals([], {}, ""), [f"its digests cannot be checked: {error}"]


def _hash(digest: Digest | None) -> hashlib._Hash | None:
    known = digest is not None and digest.algorithm in hashlib.algorithms_available
    return hashlib.new(digest.algorithm, usedforsecurity=False) if digest is not None and known else None


def _stretch(archive: Archive, sealed: Sealed) -> Finding | None:
    """What is wrong with a stretch of the archive."""
    running, end = _hash(sealed.digest), sealed.start + sealed.size
    if running is None:
        return None
    try:
        for at in range(sealed.start, end, STEP):
            running.update(archive.contents.base.pread(min(STEP, end - at), at))
    except (FormatError, OSError) as error:
        return Finding(b"", 0, f"{sealed.what} cannot be read: {error}", None)
    if running.digest() == sealed.digest.value:
        return None
    what = f"{sealed.what} does not have the {_name(sealed.digest)} that the archive says"
    return Finding(b"", 0, what, sealed.start)


def _name(digest: Digest) -> str:
    """As people write it: SHA-256, SHA3-256, MD5."""
    name = digest.algorithm.upper()
    return name.replace("_", "-") if "_" in name else name.replace("SHA", "SHA-")


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


def _file(
    archive: Archive, node: int, done: int, total: int, progress: Tell, digest: Digest | None, by: str
) -> _Verdict:
    """``digest``: the file must have it, says ``by``."""
    if archive.compression and not archive.image.has_members and not archive.parts:
        return _known_damage(archive, node)
    size, offset = archive.image.size[node - 1], 0
    copier, running = Copier(), _hash(digest)
    try:
        while offset < size:
            for piece in archive.read(node, offset, STEP):
                own = copier.own(piece)  # of a map it is read now
                offset += len(own)
                if running is not None:
                    running.update(own)
            progress(done + offset, total)
        archive.check(node)
    except (FormatError, OSError) as error:
        return str(error), offset, isinstance(error, PasswordError)
    finally:
        copier.close()
    if digest is not None and running is not None and running.digest() != digest.value:
        return f"it does not have the {_name(digest)} that {by} says", None, False
    return _GOOD


def _known_damage(archive: Archive, node: int) -> _Verdict:
    end, suspect = archive.stream.size, archive.suspect[-1]
    for extent in archive.image.each_extent(node):
        nearest = bisect_right(suspect, extent.offset, key=itemgetter(1))
        if nearest < len(suspect) and (start := suspect[nearest][0]) < extent.offset + extent.length:
            return "its data failed its check", extent.logical + max(0, start - extent.offset), False
        if extent.offset + extent.length > end:
            return (
                "the archive ends before its data does",
                extent.logical + max(0, end - extent.offset),
                False,
            )
    return _GOOD
