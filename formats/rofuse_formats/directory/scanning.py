"""Describes a directory, as it is now, to a builder.

Strategy
Breadth first, as the image numbers its inodes: so what each was on disk is noted row by row while it is scanned
(``table``). Who takes the files themselves on the way (``found``) has them depth first, as trees are gone through, and
directory by directory (``advance``): what has been found can be read before all is. The entries of a directory are
taken in the order of their names: a file system gives them in whatever order it keeps them, and what is made of a
snapshot (a pack) shall be the same wherever the same tree lies.

Rules
- Nothing here is fatal but the root, and the limits: what vanishes, changes or cannot be read while it is looked at is
  noted and left out, a directory that cannot be listed is empty.
- No symbolic link is followed; directories are opened as ``paths`` opens them.
- Times of access are not kept: to read the snapshot would change them, and no snapshot would be like another.
- Where holes lie is asked only of files that have fewer blocks than bytes, and remembered of so many; beyond that
  holes are bytes like any.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections import deque
from collections.abc import Callable
from errno import ENODATA, ENOENT, ESTALE
from typing import Protocol

from rofuse_formats.directory.attributes import Attributes
from rofuse_formats.directory.holes import data_runs
from rofuse_formats.directory.paths import ROOT, Folders, Place, open_below
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.directory.table import TableWriter
from rofuse_formats.entry import Builder, Extent, ScanOptions, Time
from rofuse_formats.errors import SourceError
from rofuse_formats.globs import Globs
from rofuse_formats.image import layout

_NS = 1_000_000_000
_SECTOR = 512  # of st_blocks
_MOST_EXTENTS = 1 << 16  # of one file
_ALL_EXTENTS = 1 << 21
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_VANISHED = frozenset((ENOENT, ESTALE, ENODATA))


class Keeper(Protocol):
    """Keeps files' bytes, as they are while they are scanned, in a file of its own (``freezing``)."""

    fd: int

    def keep(self, folder: int, name: bytes, status: os.stat_result) -> tuple[os.stat_result, int]:
        """What the file was when its bytes were kept, and their address. Raises OSError, FormatError."""
        ...


class Scanner:
    """One scan. ``tell`` is called with the number of entries so far. ``keeper``: of the files' bytes. ``found``, where
    there is one, is told of each regular file that has bytes: its record in the builder, the number of its directory,
    its name there, and what it is; where it has holes is then not asked."""

    def __init__(
        self,
        source: DirectorySource,
        builder: Builder,
        options: ScanOptions,
        tell: Callable[[int], None] = lambda count: None,
        keeper: Keeper | None = None,
        found: Callable[[int, int, bytes, os.stat_result], None] | None = None,
    ) -> None:
        self.table = TableWriter()
        self._source, self._builder, self._tell, self._keeper = source, builder, tell, keeper
        self._found = found
        self._hidden = source.hidden
        self._device = source.status.st_dev if options.one_file_system else None
        self._mountpoints = _mountpoints_below(os.fsencode(source.path))
        self._excluded = (
            Globs(os.fsencode(pattern) for pattern in options.exclude) if options.exclude else None
        )
        self._places: dict[int, Place] = {}
        self.folders = Folders(source, self._places.__getitem__)
        self._below: list[
            tuple[int, bytes]
        ] = []  # those of the directory that is being listed, when they come next
        self._queue: deque[tuple[int, bytes]] = deque()  # directories, and how the paths in them begin
        self._owners: dict[tuple[int, int], int] = {}
        self._first_names: dict[tuple[int, int], bytes] = {}  # of what has several
        self._attributes = Attributes()
        self._user_id = os.geteuid()
        self._extents = 0
        self._address = 0

    def run(self) -> bytes:
        """Scans all; returns the table. Raises SourceError, LimitError."""
        self.begin()
        while self.advance():
            self._tell(len(self.table.modes))
        return self.table.finish()

    def begin(self) -> None:
        """The root itself."""
        status = os.fstat(self._source.fd)
        self._directory(self._source.fd, b".", b".", status, mountpoint=False)
        self._queue.append((ROOT, b""))

    def advance(self) -> bool:
        """Lists one more directory, unless all are: then it is False. Raises as ``run``."""
        if not self._queue:
            return False
        self._list(*self._queue.popleft())
        if self._found is not None:
            self._queue.extendleft(reversed(self._below))
        else:
            self._queue.extend(self._below)
        self._below.clear()
        return True

    def _list(self, node: int, prefix: bytes) -> None:
        try:
            folder = self.folders.get(node)
            names = _names(folder.fd)
        except OSError as error:
            if node == ROOT:
                raise SourceError(f"cannot be listed: {error.strerror}") from error
            self._skip(prefix[:-1], error, "its entries cannot be listed")
            return
        for name in names:
            try:
                self._entry(folder.fd, node, name, prefix + name)
            except OSError as error:
                self._skip(prefix + name, error, "cannot be read")

    def _skip(self, path: bytes, error: OSError, what: str) -> None:
        if error.errno in _VANISHED:
            self._builder.skipped(path, "vanished while the directory was read")
        else:
            self._builder.skipped(path, f"{what}: {error.strerror}")

    def _entry(self, folder: int, parent: int, name: bytes, path: bytes) -> None:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if self._excluded is not None and self._excluded.match(path, kind == stat.S_IFDIR):
            return
        hidden = self._hidden is not None and (status.st_dev, status.st_ino) == self._hidden
        if kind == stat.S_IFDIR:
            self._enter(folder, parent, name, path, status, hidden)
        elif hidden:
            self._builder.skipped(path, "it is the mountpoint")
        elif status.st_nlink > 1 and (first := self._first_names.get((status.st_dev, status.st_ino))):
            self._builder.hardlink(path, first)
        else:
            self._inode(folder, parent, name, path, status)

    # -- one inode -------------------------------------------------------------------------------------------

    def _enter(
        self, folder: int, parent: int, name: bytes, path: bytes, status: os.stat_result, hidden: bool
    ) -> None:
        """A directory, to be listed when its turn comes."""
        mountpoint = path in self._mountpoints
        added = self._directory(folder, name, path, status, mountpoint)
        if added and not hidden and self._device in (None, status.st_dev):
            node = len(self.table.modes)
            self._places[node] = Place(parent, name, mountpoint)
            self._below.append((node, path + b"/"))

    def _directory(
        self, folder: int, name: bytes, path: bytes, status: os.stat_result, mountpoint: bool
    ) -> bool:
        added = self._add(folder, name, path, status, 0, 0) >= 0
        if added:
            self.table.add(status.st_mode, self._address, status.st_ino, mountpoint)
        return added

    def _inode(self, folder: int, parent: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        kind, size, word = stat.S_IFMT(status.st_mode), 0, 0
        start = self._address
        if kind == stat.S_IFREG:
            if self._user_id and not self._is_readable(folder, name, status):
                self._builder.skipped(path, "cannot be read: Permission denied")
                return
            if self._keeper is not None and status.st_size:
                status, start = self._keeper.keep(folder, name, status)
            size, word = status.st_size, start
            if start + size > layout.NOWHERE:
                self._builder.skipped(path, "all files together are larger than can be addressed")
                return
            if status.st_blocks * _SECTOR < size and self._found is None:
                word = self._sparse(folder, name, path, start, size)
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=folder)
            size, word = len(target), self._builder.text(target)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            word = status.st_rdev
        record = self._add(folder, name, path, status, size, word)
        if record >= 0:
            self.table.add(status.st_mode, start, status.st_ino, path in self._mountpoints)
            self._address = start + (size if kind == stat.S_IFREG else 0)
            if status.st_nlink > 1:
                self._first_names[status.st_dev, status.st_ino] = path
            if self._found is not None and kind == stat.S_IFREG and size:
                self._found(record, parent, name, status)

    def _add(
        self, folder: int, name: bytes, path: bytes, status: os.stat_result, size: int, word: int
    ) -> int:
        """Tells the builder; its record, -1 where it did not take it."""
        xattrs = self._attributes.of(folder, name, status.st_dev)
        owner = self._owners.get((status.st_uid, status.st_gid))
        if owner is None:
            owner = self._owner(status.st_uid, status.st_gid)
        seconds, nanoseconds = divmod(status.st_mtime_ns, _NS)
        member = self._builder.add(path, status.st_mode, owner, size, seconds, nanoseconds, word)
        if member < 0:
            return -1
        self._builder.times(member, None, Time(*divmod(status.st_ctime_ns, _NS)))
        if xattrs:
            self._builder.xattrs(member, xattrs)
        return member

    def _owner(self, uid: int, gid: int) -> int:
        """Of a new one."""
        known = self._owners[uid, gid] = self._builder.owner(uid, gid, _user(uid), _group(gid))
        return known

    def _is_readable(self, folder: int, name: bytes, status: os.stat_result) -> bool:
        if self._user_id == status.st_uid and status.st_mode & stat.S_IRUSR:
            return True
        return os.access(name, os.R_OK, dir_fd=folder, effective_ids=True)

    def _sparse(self, folder: int, name: bytes, path: bytes, start: int, size: int) -> int:
        """The data word of a file that may have holes."""
        if self._keeper is not None:
            return self._runs_word(self._keeper.fd, start, start, size)
        fd = open_below(folder, name, cross=path in self._mountpoints)
        try:
            return self._runs_word(fd, 0, start, size)
        finally:
            os.close(fd)

    def _runs_word(self, fd: int, first: int, start: int, size: int) -> int:
        """The data word of what lies in ``fd`` from ``first`` on, and has the address ``start``."""
        extents: list[Extent] = []
        for begin, end in data_runs(fd, first, first + size):
            if len(extents) == _MOST_EXTENTS or self._extents + len(extents) >= _ALL_EXTENTS:
                end = first + size
            extents.append(Extent(begin - first, end - begin, start + begin - first))
            if end == first + size:
                break
        if len(extents) == 1 and extents[0].length == size:
            return start
        self._extents += len(extents)
        return self._builder.extents(extents)


def _names(folder: int) -> list[bytes]:
    """What a directory holds, sorted. (A directory that changes may be listed with a name twice.)"""
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(fd) as entries:
            return sorted({os.fsencode(entry.name) for entry in entries})
    finally:
        os.close(fd)


def _mountpoints_below(root: bytes) -> set[bytes]:
    """The paths, relative to ``root``, that something is mounted on, as far as the mount table tells (proc(5))."""
    below = root.rstrip(b"/") + b"/"
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            paths = [
                _OCTAL.sub(lambda found: bytes((int(found[1], 8),)), line.split(b" ")[4]) for line in table
            ]
    except OSError:
        return set()
    return {path[len(below) :] for path in paths if path.startswith(below)} - {b""}


def _user(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


def _group(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except KeyError:
        return b""
