"""What the header of a package says of its files."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from rofuse_formats.archives.rpm.header import LARGEST, Header
from rofuse_formats.errors import DamagedError

OLDFILENAMES, DIRINDEXES, BASENAMES, DIRNAMES = 1027, 1116, 1117, 1118
FILESIZES, LONGFILESIZES = 1028, 5008
FILEMODES, FILERDEVS, FILEMTIMES = 1030, 1033, 1034
FILEUSERNAME, FILEGROUPNAME, FILEDEVICES, FILEINODES = 1039, 1040, 1095, 1096
FILEFLAGS = 1037
FILECAPS = 5010
GHOST = 1 << 6
"""Of FILEFLAGS: listed, and not in the payload."""

_Column = TypeVar("_Column", bound="Sequence[int] | list[bytes]")


class File(NamedTuple):
    """All of one file."""

    path: bytes
    mode: int
    size: int
    mtime: int
    rdev: int
    """As rpm keeps it: eight bits of a major and of a minor number."""
    names: tuple[bytes, bytes]
    """Of user and group."""
    inode: tuple[int, int]
    """Device and number: what they have in common are names of one file."""
    links: int
    """So many names in the payload."""
    is_last: bool
    """Whether it is the last of them."""


class Files:
    """The list of a header's files. ``damage``: why it is empty, though there may be files."""

    def __init__(self, header: Header) -> None:
        self.damage: DamagedError | None = None
        self.paths: list[bytes] = []
        self._columns: dict[int, Sequence[int]] = {}
        self._texts: dict[int, list[bytes]] = {}
        try:
            paths = paths_of(header)
            for tag in (LONGFILESIZES, FILESIZES, FILEMODES, FILERDEVS, FILEMTIMES):
                self._columns[tag] = _whole(header.numbers, tag, len(paths))
            for tag in (FILEDEVICES, FILEINODES, FILEFLAGS):
                self._columns[tag] = _whole(header.numbers, tag, len(paths))
            for tag in (FILEUSERNAME, FILEGROUPNAME, FILECAPS):
                self._texts[tag] = _whole(header.texts, tag, len(paths))
            self.paths = paths
        except DamagedError as error:
            self.damage = error
        self._numbers = {path.lstrip(b"/"): number for number, path in enumerate(self.paths)}

    def names(self, path: bytes) -> tuple[bytes, bytes]:
        """User and group of what the payload calls ``path``; nothing where the header does not know it."""
        number = self._number(path)
        return self._names(number) if number >= 0 else (b"", b"")

    def capabilities(self, path: bytes) -> bytes:
        """Those of what the payload calls ``path``, as text; nothing where it has none."""
        number = self._number(path)
        return self._texts[FILECAPS][number] if number >= 0 and self._texts[FILECAPS] else b""

    def _number(self, path: bytes) -> int:
        """-1 where the header does not know it."""
        return self._numbers.get(path.removeprefix(b".").lstrip(b"/"), -1)

    def file(self, number: int) -> File | None:
        """All of the file of this number; None where there is none."""
        if number >= len(self.paths):
            return None

        def item(tag: int) -> int:
            return self._columns[tag][number] if self._columns[tag] else 0

        names = self._links.get(self._inode(number), ())
        return File(
            self.paths[number],
            item(FILEMODES),
            item(LONGFILESIZES) or item(FILESIZES),
            item(FILEMTIMES),
            item(FILERDEVS),
            self._names(number),
            self._inode(number),
            len(names),
            number == max(names, default=number),
        )

    def _inode(self, number: int) -> tuple[int, int]:
        devices, inodes = self._columns[FILEDEVICES], self._columns[FILEINODES]
        return devices[number] if devices else 0, inodes[number] if inodes else 0

    @cached_property
    def _links(self) -> dict[tuple[int, int], list[int]]:
        """The names of each regular file that has one in the payload, by number."""
        found: dict[tuple[int, int], list[int]] = {}
        modes, flags = self._columns[FILEMODES], self._columns[FILEFLAGS]
        if not self._columns[FILEINODES]:
            return found
        for number, mode in enumerate(modes):
            if stat.S_ISREG(mode) and not (flags and flags[number] & GHOST):
                found.setdefault(self._inode(number), []).append(number)
        return found

    def _names(self, number: int) -> tuple[bytes, bytes]:
        users, groups = self._texts[FILEUSERNAME], self._texts[FILEGROUPNAME]
        return users[number] if users else b"", groups[number] if groups else b""


def paths_of(header: Header) -> list[bytes]:
    """Of all files that a header lists. Raises DamagedError."""
    bases = header.texts(BASENAMES)
    if not bases:
        return header.texts(OLDFILENAMES)
    folders = header.texts(DIRNAMES)
    places = header.numbers(DIRINDEXES)
    if len(places) != len(bases) or max(places) >= len(folders):
        raise DamagedError("the header's list of files contradicts itself", header.start)
    size = sum(map(len, bases)) + sum(map(len, map(folders.__getitem__, places)))
    if size > LARGEST:
        raise DamagedError(f"the header's list of files has paths of {size} bytes", header.start)
    return [folders[place] + base for place, base in zip(places, bases, strict=True)]


def _whole(read: Callable[[int], _Column], tag: int, count: int) -> _Column:
    found = read(tag)
    if len(found) not in (0, count):
        raise DamagedError(f"the header has {count} files and {len(found)} items of tag {tag}", None)
    return found
