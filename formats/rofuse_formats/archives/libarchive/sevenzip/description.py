"""What a 7z archive holds, where its header leaves no doubt that libarchive sees it likewise.

Rules
- All that has bytes is a file or a symbolic link. Nothing is encrypted, nothing is a reparse point of Windows.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

from rofuse_formats.archives.libarchive.sevenzip.header import Pread, header_of
from rofuse_formats.archives.libarchive.sevenzip.members import (
    DIRECTORY,
    EMPTY_FILE,
    FILE,
    Members,
    members_of,
)
from rofuse_formats.archives.libarchive.sevenzip.reading import MisunderstoodError
from rofuse_formats.archives.libarchive.sevenzip.streams import Folder

_READ_ONLY, _IS_DIRECTORY, _REPARSE_POINT, _HAS_MODE = 1, 0x10, 0x400, 0x8000
_PERMISSIONS = {
    FILE: 0o666,
    EMPTY_FILE: 0o666,
    DIRECTORY: 0o777,
}  # where there are none, as libarchive has it
_MOST_DATA = (1 << 62) - 1


class Description(NamedTuple):
    folders: list[Folder]
    members: Members
    modes: list[int]
    """Type and permissions of each member."""


def description(pread: Pread, size: int, window: int) -> Description | None:
    """Of an archive of ``size`` bytes; None where there is a doubt. ``window``: bytes that the dictionary may have by
    which the header is compressed."""
    try:
        folders, members = members_of(header_of(pread, size, window))
        if any(folder.coders.is_encrypted for folder in folders):
            return None
        modes = _modes(members)
    except MisunderstoodError:
        return None
    if sum(sum(folder.sizes) for folder in folders) > _MOST_DATA:
        return None
    return Description(folders, members, modes)


def _modes(members: Members) -> list[int]:
    """Type and permissions of each."""
    of = {both: _mode(*both) for both in set(zip(members.kinds, members.attributes, strict=True))}
    return [of[both] for both in zip(members.kinds, members.attributes, strict=True)]


def _mode(kind: int, attributes: int) -> int:
    mode = attributes >> 16
    if bool(mode) != bool(attributes & _HAS_MODE) or attributes & _REPARSE_POINT:
        raise MisunderstoodError
    if not mode:
        mode = _PERMISSIONS[kind] | (stat.S_IFDIR if kind == DIRECTORY else stat.S_IFREG)
    wanted = (stat.S_IFDIR,) if kind == DIRECTORY else (stat.S_IFREG, stat.S_IFLNK)
    if stat.S_IFMT(mode) not in wanted or (attributes & _IS_DIRECTORY and kind != DIRECTORY):
        raise MisunderstoodError
    if kind == EMPTY_FILE:  # a link without a target is a file
        mode = stat.S_IFREG | stat.S_IMODE(mode)
    return mode & ~0o222 if attributes & _READ_ONLY else mode
