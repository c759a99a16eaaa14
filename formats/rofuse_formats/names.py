"""What an archive has under a name, for scripts: ``Archive.stat`` and ``Archive.walk``.

Strategy
An ``Entry`` is a name and an inode's number; everything else is read from the image's columns when it is asked for, so
that walking over a million names makes a million small objects and no more. A path is followed through the image's
sorted names, directory by directory, as the kernel follows it through a mount.

Rules
- Paths have no leading slash; that of the root is empty. As text they are what ``os.fsdecode`` makes of UTF-8: bytes
  that are none are surrogate escapes.
- Symbolic links are followed within the archive alone: ``/`` is the archive's root, and ``..`` of it the root itself.
"""

from __future__ import annotations

import os
import stat as stat_modes
from collections.abc import Iterator
from errno import EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO
from typing import TYPE_CHECKING, TypeAlias

from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image import layout

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive

Path: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

MOST_LINKS = 40
"""Symbolic links that are followed on one way, as many as the kernel follows."""

TYPES = {
    stat_modes.S_IFREG: "file",
    stat_modes.S_IFDIR: "dir",
    stat_modes.S_IFLNK: "symlink",
    stat_modes.S_IFCHR: "char",
    stat_modes.S_IFBLK: "block",
    stat_modes.S_IFIFO: "fifo",
    stat_modes.S_IFSOCK: "socket",
}


class Entry:
    """One name of an archive. Its attributes are those that a mount shows."""

    __slots__ = ("_archive", "ino", "raw_path")

    def __init__(self, archive: Archive, raw_path: bytes, ino: int) -> None:
        self._archive = archive
        self.raw_path = raw_path
        """The path as the archive has it."""
        self.ino = ino
        """The inode's number, which hard links share; what ``Archive.read`` takes."""

    def __repr__(self) -> str:
        return f"<Entry {self.path!r} {self.type}>"

    @property
    def path(self) -> str:
        return text(self.raw_path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return text(self.raw_path.rpartition(b"/")[2])

    @property
    def type(self) -> str:
        """``file``, ``dir``, ``symlink``, ``char``, ``block``, ``fifo`` or ``socket``."""
        return type_of(self._archive.image.mode[self.ino - 1])

    @property
    def mode(self) -> int:
        """Permission bits, with setuid, setgid and sticky."""
        return stat_modes.S_IMODE(self._archive.image.mode[self.ino - 1])

    @property
    def size(self) -> int:
        """Bytes of a file, or of a symbolic link's target; else 0."""
        image = self._archive.image
        return 0 if image.is_directory(self.ino) else int(image.size[self.ino - 1])

    @property
    def uid(self) -> int:
        return int(self._archive.image.uid[self._owner])

    @property
    def gid(self) -> int:
        return int(self._archive.image.gid[self._owner])

    @property
    def uname(self) -> str | None:
        """The owner's name; None where the archive has none."""
        return text(self._archive.image.owner_names(self._owner)[0]) or None

    @property
    def gname(self) -> str | None:
        return text(self._archive.image.owner_names(self._owner)[1]) or None

    @property
    def _owner(self) -> int:
        return int(self._archive.image.owner[self.ino - 1])

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        image, row = self._archive.image, self.ino - 1
        return int(image.mtime[row]) * 1_000_000_000 + int(image.mtime_ns[row])

    @property
    def mtime(self) -> float:
        """Seconds since 1970, about: ``mtime_ns`` says it exactly."""
        return self.mtime_ns / 1e9

    @property
    def nlink(self) -> int:
        return int(self._archive.image.nlink[self.ino - 1])

    @property
    def target(self) -> str | None:
        """Where a symbolic link leads; None of what is none."""
        image = self._archive.image
        return text(self._archive.target(self.ino)) if stat_modes.S_ISLNK(image.mode[self.ino - 1]) else None

    @property
    def rdev(self) -> int | None:
        """A device's number (``os.major``, ``os.minor``); None of what is none."""
        image, row = self._archive.image, self.ino - 1
        mode = image.mode[row]
        is_device = stat_modes.S_ISCHR(mode) or stat_modes.S_ISBLK(mode)
        return image.data[row] & 0xFFFFFFFF if is_device else None

    @property
    def stored(self) -> int | None:
        """Bytes that a file takes in the archive; None where that cannot be said, as in one that is compressed as a
        whole."""
        return stored(self._archive, self.ino)

    @property
    def xattrs(self) -> dict[str, bytes]:
        """Extended attributes by their full names (``user.x``)."""
        return {text(name): value for name, value in self._archive.image.xattrs(self.ino)}

    @property
    def is_dir(self) -> bool:
        return self._archive.image.is_directory(self.ino)

    @property
    def is_file(self) -> bool:
        return stat_modes.S_ISREG(self._archive.image.mode[self.ino - 1])


def text(name: bytes) -> str:
    """A name as text, which ``raw`` makes the same bytes of again."""
    return name.decode("utf-8", "surrogateescape")


def raw(path: Path) -> bytes:
    """The bytes of a path, whatever the locale is."""
    path = os.fspath(path)
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


def type_of(mode: int) -> str:
    """Raises IndexDamagedError."""
    try:
        return TYPES[mode & 0o170000]
    except KeyError as error:
        raise IndexDamagedError("an inode of the index has no type") from error


def stored(archive: Archive, node: int) -> int | None:
    """See ``Entry.stored``."""
    image = archive.image
    if not stat_modes.S_ISREG(image.mode[node - 1]):
        return None
    if not image.size[node - 1]:
        return 0
    total = 0
    for extent in image.each_extent(node):
        if extent.stream == layout.MEMBER_STREAM:
            return image.member(extent.offset).packed or None  # 0: its format cannot say it
        if not _is_plain(archive, extent.offset >> layout.SPAN_SHIFT):
            return None
        total += extent.length
    return total


def _is_plain(archive: Archive, span: int) -> bool:
    """Whether what lies there lies in the archive as it is. ``span``: 0 is the archive, 1 the first one within it."""
    if archive.compression or span > len(archive.parts):
        return False
    return not span or archive.parts[span - 1][2] is None


def locate(archive: Archive, path: bytes, follow: bool = True) -> tuple[bytes, int]:
    """The path, without links and dots, and the inode of what ``path`` leads to; ``follow``: also where that is a link.
    Raises FileNotFoundError, NotADirectoryError, and OSError (ELOOP) for too many links."""
    image = archive.image
    names: list[bytes] = []
    nodes = [layout.ROOT]
    ahead = path.split(b"/")[::-1]
    links = 0
    while ahead:
        name = ahead.pop()
        if not image.is_directory(nodes[-1]):
            raise NotADirectoryError(ENOTDIR, "Not a directory in the archive", text(path))
        if name in (b"", b"."):
            continue
        if name == b"..":
            if names:
                names.pop()
                nodes.pop()
            continue
        node = image.lookup(nodes[-1], name)
        if not node:
            raise FileNotFoundError(ENOENT, "No such file or directory in the archive", text(path))
        if stat_modes.S_ISLNK(image.mode[node - 1]) and (ahead or follow):
            links += 1
            if links > MOST_LINKS:
                raise OSError(ELOOP, "Too many levels of symbolic links in the archive", text(path))
            target = archive.target(node)
            if target.startswith(b"/"):
                names, nodes = [], [layout.ROOT]
            ahead += target.split(b"/")[::-1]
            continue
        names.append(name)
        nodes.append(node)
    return b"/".join(names), nodes[-1]


def stat(archive: Archive, path: Path, follow: bool) -> Entry:
    """See ``Archive.stat``."""
    return Entry(archive, *locate(archive, raw(path), follow))


def walk(archive: Archive, path: Path) -> Iterator[Entry]:
    """See ``Archive.walk``."""
    found, node = locate(archive, raw(path))
    if not archive.image.is_directory(node):
        raise NotADirectoryError(ENOTDIR, "Not a directory in the archive", text(raw(path)))
    return (Entry(archive, below, child) for below, child in archive.image.walk(node, found))


def regular(archive: Archive, path: Path) -> tuple[bytes, int]:
    """As ``locate``, of a regular file. Raises IsADirectoryError, and OSError for what is no file, too."""
    found, node = locate(archive, raw(path))
    mode = archive.image.mode[node - 1]
    if stat_modes.S_ISDIR(mode):
        raise IsADirectoryError(EISDIR, "Is a directory in the archive", text(raw(path)))
    if not stat_modes.S_ISREG(mode):
        raise OSError(ENXIO, f"Is no file in the archive but a {type_of(mode)}", text(raw(path)))
    return found, node
