"""The files of a directory, as the stream that an archive is read from.

Strategy
An address leads to a file (``table``), the file is opened where it lies (``paths``), and given out only while it is
what it was: the same inode, of the same size, neither written nor changed since. Small files are read, large ones
mapped, so that their bytes reach the kernel untouched. Some files are kept open.

Rules
- What has changed raises ChangedError; whether it has is asked whenever a file is opened, and before it is read.
- With ``follow`` nothing is asked: what lies at the path now is read, if it is a regular file.
- Any number of threads.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from errno import ELOOP, ENOENT, ENOTDIR, ENXIO, ESTALE, EXDEV

from rofuse_formats.directory.paths import Folders, Held, Place, open_below
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.directory.table import Table
from rofuse_formats.errors import ChangedError, UnknownFormatError
from rofuse_formats.image.reader import Image
from rofuse_formats.mapped import MappedFile
from rofuse_formats.source import FileSource

_NS = 1_000_000_000
_MOST = 64  # files kept open
_MAPPED = 1 << 17  # bytes from which on a file is mapped: below, that costs more than to copy it
ELSEWHERE = frozenset((ENOENT, ENOTDIR, ELOOP, ENXIO, EXDEV, ESTALE))
"""What opening says of a file that is no longer where it was."""


class DirectoryFiles:
    """A Stream. ``image`` and ``section`` (``table``) are those of the directory's index."""

    def __init__(
        self, source: DirectorySource, image: Image, section: memoryview, *, follow: bool = False
    ) -> None:
        self.follow = follow
        self._image, self._table = image, Table(section, image)
        self._places = _Places(image, self._table)
        self._folders = Folders(source, self._places.of, keep=not follow)
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self.size = self._table.start[-1] + self._length(image.inode_count)
        self._has_all_times = len(image.time_node) == image.inode_count

    # -- one file, by its inode ------------------------------------------------------------------------------

    def open(self, node: int) -> FileSource:
        """A regular file, open, as it lies on disk: whole, from offset 0. Raises ChangedError, OSError."""
        place = self._places.of(node)
        try:
            folder = self._folders.get(place.parent)
            fd = open_below(folder.fd, place.name, cross=place.mountpoint)
        except OSError as error:
            if error.errno in ELSEWHERE:
                raise ChangedError("it is no longer there") from error
            raise
        try:
            file = FileSource(place.name, fd, named=False)
        except UnknownFormatError as error:
            raise ChangedError("it is no longer a file") from error
        if not stat.S_ISREG(file.status.st_mode):
            raise ChangedError("it is no longer a file")
        self.check(node, file.status)
        return file

    def check(self, node: int, status: os.stat_result) -> None:
        """Raises ChangedError where ``status`` is not that of the file as it was."""
        image, row = self._image, node - 1
        if (
            status.st_ctime_ns == self._change_time(node)
            and status.st_mtime_ns == image.mtime[row] * _NS + image.mtime_ns[row]
            and status.st_size == image.size[row]
            and status.st_ino == self._table.inode[row]
        ) or self.follow:
            return
        changes = ", ".join(self.changes(node, status))
        raise ChangedError(f"it has changed since the snapshot was taken ({changes})")

    def _change_time(self, node: int) -> int:
        """In nanoseconds; 0 where the index does not say it."""
        seconds, nanoseconds = self._image.time_columns[1]
        row = node - 1 if self._has_all_times else self._image.time_row(node)
        return seconds[row] * _NS + nanoseconds[row] if row >= 0 else 0

    def changes(self, node: int, status: os.stat_result) -> list[str]:
        """In what a file differs from what it was."""
        image, row = self._image, node - 1
        differs = {
            "another file": status.st_ino != self._table.inode[row],
            "size": status.st_size != image.size[row],
            "modification time": status.st_mtime_ns != image.mtime[row] * _NS + image.mtime_ns[row],
            "change time": status.st_ctime_ns != self._change_time(node),
        }
        return [what for what, it_does in differs.items() if it_does]

    def inode(self, node: int) -> int:
        """The number that it had on disk."""
        return self._table.inode[node - 1]

    def read_now(self, node: int, offset: int, size: int) -> bytes:
        """Bytes of a file as it is now, fewer where it ends; with ``follow``."""
        file = self._known(node) or self._put(node, _OpenFile(self.open(node)))
        return file.source.pread(size, offset)

    def at_hand(self, node: int) -> FileSource:
        """As ``open``, and kept open, for it is read soon. With ``follow`` it is the one that lies there now."""
        return (self._put(node, _OpenFile(self.open(node))) if self.follow else self._file(node)).source

    def place(self, node: int) -> tuple[int, bytes]:
        """The directory that an inode lies in, and its name there: its first ones. Raises ChangedError."""
        image, row = self._image, node - 2
        if image.child[row] == node:  # unless what comes before it has more names than one
            return image.parent[node - 1], image.name(row)
        place = self._places.of(node)
        return place.parent, place.name

    def folder(self, node: int) -> Held:
        """A directory, to open things in. Raises ChangedError, OSError."""
        return self._folders.get(node)

    def was_mountpoint(self, node: int) -> bool:
        """Whether something was mounted on it when it was scanned: who opens what lies below it, enters what is mounted
        there now."""
        return bool(self._table.mountpoint[node - 1])

    # -- as a stream -----------------------------------------------------------------------------------------

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        node, at, size = self._find(offset, size)
        return self._file(node).read(at, size) if size > 0 else []

    def pread(self, size: int, offset: int, /) -> bytes:
        node, at, size = self._find(offset, size)
        return self._file(node).source.pread(size, at) if size > 0 else b""

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        return True

    def is_near(self, offset: int, /) -> bool:
        return False

    def _find(self, address: int, size: int) -> tuple[int, int, int]:
        """The file at an address, the offset there, and how many of ``size`` bytes it has from there on."""
        node = self._table.node_at(address)
        if not node:
            return 0, 0, 0
        at = address - self._table.start[node - 1]
        return node, at, min(size, self._length(node) - at)

    def _length(self, node: int) -> int:
        row = node - 1
        return self._image.size[row] if stat.S_ISREG(self._image.mode[row]) else 0

    def _file(self, node: int) -> _OpenFile:
        """An open file that has been looked at just now."""
        file = self._known(node)
        if file is None:
            return self._put(node, _OpenFile(self.open(node)))
        self.check(node, os.fstat(file.source.fd))
        return file

    def _known(self, node: int) -> _OpenFile | None:
        """A file that is open already."""
        with self._lock:
            file = self._open.get(node)
            if file is not None:
                self._open.move_to_end(node)
            return file

    def _put(self, node: int, file: _OpenFile) -> _OpenFile:
        dropped: list[_OpenFile] = []  # closed when the lock is free again, and nobody reads them any more
        with self._lock:
            if (before := self._open.pop(node, None)) is not None:
                dropped.append(before)
            self._open[node] = file
            while len(self._open) > _MOST:
                dropped.append(self._open.popitem(last=False)[1])
        return file


class _Places:
    """Where inodes lie, by their first names. (Apart from the files: their folders need it, and a circle would keep all
    of them open.)"""

    def __init__(self, image: Image, table: Table) -> None:
        self._image, self._table = image, table

    def of(self, node: int) -> Place:
        parent = self._image.parent[node - 1]
        rows, child = self._image.dirents(parent), self._image.child
        # Inodes are numbered in the order of their first names: it cannot come earlier.
        for row in range(max(rows.start, node - 2), rows.stop):
            if child[row] == node:
                return Place(parent, self._image.name(row), bool(self._table.mountpoint[node - 1]))
        raise ChangedError("its index does not say where it lies")


class _OpenFile:
    """A file, mapped where that is worth while. Closed when nobody refers to it any more."""

    def __init__(self, source: FileSource) -> None:
        self.source = source
        self._mapped: MappedFile | None = None

    def read(self, offset: int, size: int) -> list[memoryview]:
        if self.source.size < _MAPPED:
            return [memoryview(self.source.pread(size, offset))]
        if self._mapped is None:
            self._mapped = MappedFile(self.source)
        return [self._mapped.read(offset, size)]
