"""What is said of an entry: as one JSON object a line, and in the words of ``ls -l``.

Strategy
JSON is written by hand: a listing may have a million lines, each with the same keys, most values are numbers, and those
of an owner are the same for thousands of entries. Times have more places than a float.

Keys, in this order: path, type, size, mode, uid, gid, uname, gname, mtime, nlink, ino, target, rdev, stored; xattrs
(``stat`` only). What an entry has not is null.
"""

from __future__ import annotations

import os
import stat
import time
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quoted
from math import floor

from rofuse_formats import Archive
from rofuse_formats.names import stored, text, type_of
from rofuse_mount.cli.sizes import brief

ROOT_PATH = b"/"
"""What the root is called; every other path has no slash before it."""


class Describer:
    """Of the entries of one archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.image = archive, archive.image
        self._owners: dict[int, str] = {}
        self._linked: dict[int, int | None] = {}
        self._wholly_packed = bool(archive.compression) and not archive.image.has_members

    # -- JSON ------------------------------------------------------------------------------------------------

    def objects(self, entries: Iterable[tuple[bytes, int]]) -> Iterator[str]:
        """A line for each path and inode."""
        return (f"{{{self._fields(path, node)}}}" for path, node in entries)

    def object_with_xattrs(self, path: bytes, node: int) -> str:
        xattrs = ", ".join(
            f'{quoted(text(name))}: "{b2a_base64(value, newline=False).decode("ascii")}"'
            for name, value in self.image.xattrs(node)
        )
        return f'{{{self._fields(path, node)}, "xattrs": {{{xattrs}}}}}'

    def _fields(self, path: bytes, node: int) -> str:
        image, row = self.image, node - 1
        mode, size = image.mode[row], image.size[row]
        kind = mode & 0o170000
        target = rdev = kept = "null"
        if kind == stat.S_IFREG:
            if not self._wholly_packed:
                known = self._stored(node)
                kept = "null" if known is None else str(known)
        elif kind == stat.S_IFDIR:
            size = 0
        elif kind == stat.S_IFLNK:
            target = quoted(text(self.archive.target(node)))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = f'"{self._device(node)}"'
        owner = image.owner[row]
        who = self._owners.get(owner) or self._owner(owner)
        return (
            f'"path": {quoted(text(path or ROOT_PATH))}, "type": "{type_of(mode)}", "size": {size}, '
            f'"mode": {mode & 0o7777}, {who}, "mtime": {decimal(image.mtime[row], image.mtime_ns[row])}, '
            f'"nlink": {image.nlink[row]}, "ino": {node}, "target": {target}, "rdev": {rdev}, "stored": {kept}'
        )

    def _stored(self, node: int) -> int | None:
        """As ``stored``; counted once of a file of several names, which may have a million pieces."""
        if self.image.nlink[node - 1] < 2:
            return stored(self.archive, node)
        if node not in self._linked:
            self._linked[node] = stored(self.archive, node)
        return self._linked[node]

    def _owner(self, owner: int) -> str:
        names = (quoted(text(name)) if name else "null" for name in self.image.owner_names(owner))
        uname, gname = names
        uid, gid = self.image.uid[owner], self.image.gid[owner]
        self._owners[owner] = found = f'"uid": {uid}, "gid": {gid}, "uname": {uname}, "gname": {gname}'
        return found

    # -- words -----------------------------------------------------------------------------------------------

    def _device(self, node: int) -> str:
        number = self.image.data[node - 1] & 0xFFFFFFFF
        return f"{os.major(number)}:{os.minor(number)}"

    def owner_names(self, node: int) -> tuple[bytes, bytes]:
        """User and group, as numbers where the archive has no names."""
        owner = self.image.owner[node - 1]
        uname, gname = self.image.owner_names(owner)
        return uname or b"%d" % self.image.uid[owner], gname or b"%d" % self.image.gid[owner]

    def size(self, node: int, human: bool) -> str:
        """Bytes, or a device's number."""
        mode, size = self.image.mode[node - 1], self.image.size[node - 1]
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            return self._device(node)
        if stat.S_ISDIR(mode):
            return "-"
        return brief(size) if human else str(size)

    def mtime(self, node: int) -> str:
        return moment(self.image.mtime[node - 1])


def decimal(seconds: int, nanoseconds: int) -> str:
    """A time with as many places as it has: ``1.5`` is a second and a half; the seconds are rounded down."""
    if not nanoseconds:
        return str(seconds)
    if seconds < 0:
        seconds, nanoseconds = seconds + 1, 1_000_000_000 - nanoseconds
        sign = "-"
    else:
        sign = ""
    return f"{sign}{abs(seconds)}.{nanoseconds:09d}".rstrip("0")


def moment(seconds: float) -> str:
    """The local date and time, to the minute."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(floor(seconds)))
    except (OverflowError, ValueError, OSError):
        return f"@{floor(seconds)}"
