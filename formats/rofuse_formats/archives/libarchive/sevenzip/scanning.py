"""Describes a 7z archive to the builder from its header alone: a hundred thousand members take a fraction of a second.

Rules
- What is told is what libarchive tells, which decodes the members later: the same kinds, the same order of what has
  bytes. What it might see in another way, and what is encrypted, is left to it; then nothing was told yet.
- Times before 1970 are told as they are, which it cuts off.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

from rofuse_formats.archives.libarchive.records import NUMBERS, STORED
from rofuse_formats.archives.libarchive.sevenzip.description import description
from rofuse_formats.archives.libarchive.sevenzip.members import FILE, Members, Moments
from rofuse_formats.archives.libarchive.sevenzip.streams import Folder
from rofuse_formats.entry import Builder, Time
from rofuse_formats.source import Source, SourcePart
from rofuse_formats.spool import LEAST

_METHOD = NUMBERS["7zip"]
_EPOCH, _A_SECOND = 116_444_736_000_000_000, 10_000_000  # 1970, from 1601 on


def scan(source: Source, start: int, builder: Builder) -> bool:
    """Whether the archive was described that begins at ``start`` of the source; if not, nothing was."""
    part = SourcePart(source, start, source.size - start)
    found = description(part.pread, part.size, builder.limits.max_window)
    if found is None or len(found.modes) > builder.limits.max_entries:
        return False
    folders, members, modes = found
    _describe(builder, members, modes, _files(folders, start, part.size))
    together = (sum(folder.sizes) for folder in folders if not _is_stored(folder, part.size))
    builder.together(sum(size for size in together if size >= LEAST))
    return True


class _File(NamedTuple):
    """What has bytes, if perhaps none of them."""

    size: int
    linear: int
    """Where its bytes begin in the linear stream."""
    place: int
    """Where they lie in the source as they are; -1: they must be decoded."""
    checksum: int | None


def _files(folders: list[Folder], start: int, end: int) -> Iterator[_File]:
    linear = 0
    for folder in folders:
        is_stored, place = _is_stored(folder, end), start + folder.place
        for size, checksum in zip(folder.sizes, folder.checksums, strict=True):
            yield _File(size, linear, place if is_stored else -1, checksum)
            linear, place = linear + size, place + size


def _is_stored(folder: Folder, end: int) -> bool:
    return 0 <= folder.place <= end - sum(folder.sizes)


def _word(builder: Builder, mode: int, file: _File) -> int:
    """The data word of a file or a link."""
    if not file.size:
        return 0
    if file.place >= 0 and file.checksum is not None:
        return builder.packed(file.place, file.size, file.checksum, _METHOD, STORED)
    if file.place >= 0 and stat.S_ISREG(mode):
        return file.place
    return builder.packed(file.linear, 0, 0, _METHOD, 0)


def _describe(builder: Builder, members: Members, modes: list[int], files: Iterator[_File]) -> None:
    owner, add = builder.implied_owner, builder.add
    have_more = bool(members.atimes or members.ctimes)
    mtimes = members.mtimes or repeat(None)
    for row, (name, kind, mode, mtime) in enumerate(
        zip(members.names, members.kinds, modes, mtimes, strict=False)
    ):
        size = word = 0
        if kind == FILE:
            file = next(files)
            size, word = file.size, _word(builder, mode, file)
            if not size:
                mode = stat.S_IFREG | stat.S_IMODE(mode)
        seconds, rest = divmod(mtime - _EPOCH, _A_SECOND) if mtime else (0, 0)
        member = add(name, mode, owner, size, seconds, 100 * rest, word)
        if have_more:
            atime, ctime = _time(members.atimes, row), _time(members.ctimes, row)
            builder.times(member, atime=atime, ctime=ctime)


def _time(moments: Moments, row: int) -> Time | None:
    moment = moments[row] if moments else None
    if moment is None:
        return None
    seconds, rest = divmod((moment or _EPOCH) - _EPOCH, _A_SECOND)
    return Time(seconds, 100 * rest)
