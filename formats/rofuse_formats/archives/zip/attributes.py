"""Type and permissions of a member, from the system it was made on and its external attributes."""

from __future__ import annotations

import stat

from rofuse_formats.archives.zip.records import UNIX_LIKE

_MANY = 1 << 16
_READ_ONLY, _DIRECTORY = 0x01, 0x10  # DOS attributes
_TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}

DIRECTORY_MODE, FILE_MODE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


class Modes(dict[int, int]):
    """From ``attributes << 8 | system`` to the mode."""

    def __missing__(self, key: int) -> int:
        if len(self) >= _MANY:
            self.clear()
        mode = self[key] = mode_of(key & 0xFF, key >> 8)
        return mode


def mode_of(system: int, attributes: int) -> int:
    """Mode with type bits. A Unix mode is in the upper half, also where another system is named but the lower half does
    not contradict; else DOS attributes say it, as far as they can."""
    mode, dos = attributes >> 16, attributes & 0xFFFF
    if mode and (system in UNIX_LIKE or _agree(mode, dos)):
        kind = stat.S_IFMT(mode)
        if kind in _TYPES:
            return mode
        if not kind:
            return mode | (stat.S_IFDIR if dos & _DIRECTORY else stat.S_IFREG)
    mode = DIRECTORY_MODE if dos & _DIRECTORY else FILE_MODE
    return mode & ~0o222 if dos & _READ_ONLY else mode


def as_directory(mode: int) -> int:
    """The mode of what is called like a directory."""
    if stat.S_ISDIR(mode):
        return mode
    return DIRECTORY_MODE if mode in (FILE_MODE, FILE_MODE & ~0o222) else stat.S_IFDIR | stat.S_IMODE(mode)


def _agree(mode: int, dos: int) -> bool:
    """Whether a Unix mode and DOS attributes can be of one file."""
    kind = stat.S_IFMT(mode)
    readable = mode & stat.S_IRUSR != 0
    writable = mode & stat.S_IWUSR != 0
    directory = stat.S_ISDIR(mode) or not kind
    return (
        kind in {*_TYPES, 0}
        and readable
        and writable != bool(dos & _READ_ONLY)
        and (directory or not dos & _DIRECTORY)
    )
