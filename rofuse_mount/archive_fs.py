"""The filesystem over an archive: the inode image as the kernel's structures.

Strategy
Nothing of an archive ever changes, so every answer is valid for ever, absent names included, and every method gives
the bytes of the kernel's structure, made from the image's columns with one ``pack``. Files and directories are
stateless: there is nothing to open. What the archive does not have (extended attributes, times of birth) is answered
ENOSYS, and the kernel never asks again.

Rules
- nodeid = row in the image + 1, so FORGET means nothing and any server of the same image answers the same. With
  ``subdir`` its nodeid and the root's change places.
- What an archive cannot give (it ends too early, its data is damaged) is EIO, or EOPNOTSUPP for what nobody here can
  decode, EACCES for what takes a password and EFBIG for what becomes more than so little may. It is told to ``log``
  once for each inode, and is never zeros.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from errno import EACCES, EFBIG, EINVAL, EIO, EISDIR, ENODATA, ENOSYS, ENOTDIR, ENXIO, EOPNOTSUPP, ESTALE
from struct import Struct
from typing import Any

from rofuse_formats import Archive, patience
from rofuse_formats.errors import (
    ChangedError,
    FormatError,
    MissingLibraryError,
    PasswordError,
    RatioError,
    UnsupportedError,
)
from rofuse_formats.image.layout import DATA_PIECES, DATA_SHIFT, HAS_ATIME, HAS_BTIME, HAS_CTIME
from rofuse_formats.image.reader import Image
from rofuse_mount import wire
from rofuse_mount.archive_listing import LEAST_ROOM, Listings
from rofuse_mount.device import was_sent_before
from rofuse_mount.encoding import pack_statx, validity
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.memory import mapped_memory
from rofuse_mount.pushing import Pusher, Store
from rofuse_mount.records import Attr, Config, Context, FileHandle, StatFS, Statx
from rofuse_mount.showing import printable, show
from rofuse_mount.view import View, root

ROOT = 1
SEEK_DATA, SEEK_HOLE = 3, 4
_BLOCK = 4096
_U64 = (1 << 64) - 1
_NS = 1_000_000_000
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
# Bytes of the index, of the archive and of programs that may count as this process's memory; of the index where all
# else is as much.
_MOST_MAPPED, _LEAST_LET_GO = 32 << 20, 16 << 20
_LOOKED_UP = 16  # entries that a name is looked for among
_SELDOM = 256  # entries that are looked at between two looks at memory
_LOOKED_AT = 256  # inodes, for a first file
_MANY_PIECES = 64  # that are counted once: so many take more of the index than what is remembered of them
_MOST_TOLD = 1000  # damaged inodes that are named in the log


class ArchiveFilesystem(Filesystem):
    """Serves an archive. ``log`` is told, in one line, of what could not be read. Raises NotADirectoryError where
    ``view.subdir`` is none of the archive."""

    export = True
    knows_readers = False
    """Whether a reader's pid means the same process here, so that it can be seen when that has ended."""

    def __init__(
        self, archive: Archive, view: View | None = None, *, log: Callable[[str], None] = lambda line: None
    ) -> None:
        view = view or View()
        image = archive.image
        self.archive, self._image, self._log = archive, image, log
        self._contents = archive.contents
        archive.log = log
        self._told: set[int] = set()
        self._top = root(image, view)
        owners = range(len(image.uid))
        self._uids = [image.uid[row] if view.uid is None else view.uid for row in owners]
        self._gids = [image.gid[row] if view.gid is None else view.gid for row in owners]
        self._file_bits, self._directory_bits = 0o177777 & ~view.fmask, 0o177777 & ~view.dmask
        entry_seconds, entry_ns = validity(view.entry_timeout)
        attr_seconds, attr_ns = validity(view.attr_timeout)
        self._valid = (0, entry_seconds, attr_seconds, entry_ns, attr_ns)  # generation first, as in entry_out
        self._attr_valid = (attr_seconds, attr_ns, 0)
        self._attr_timeout = view.attr_timeout
        self._absent = wire.ENTRY_OUT.pack(0, *self._valid, *(0,) * 16)
        self._has_times = len(image.time_node) > 0
        self._has_btimes: bool | None = None  # not known yet
        permitting = view.permissions and not view.fmask and not view.dmask
        self.posix_acl = permitting and not image.xattr_names().isdisjoint(_ACLS)
        self._statfs: StatFS | None = None
        self._pusher: Pusher | None = None
        self._named = 0  # the file whose name was asked for last ...
        self._is_awaited_read = False  # ... whether it was read then ...
        # ... and the one that will be, for that reason; it is not decoded yet. At first any: what decoding takes is
        # then loaded before somebody waits for it.
        self._awaited = _first_file(image)
        self._touched = 0  # entries of the index, about, since memory was looked at
        self._others = 0  # bytes that were mapped when nothing of the index was
        self._blocks: dict[int, int] = {}  # of files in many pieces, by node
        self._listings = Listings(image, self._node, self._attr, self._valid, self._touch)

    def init(self, ctx: Context, config: Config) -> None:
        self.archive.bring_in()

    def store_ahead(self, store: Store) -> None:
        """See ``rofuse_mount.turns``: pushes from now on what its readers will want next."""

        def counted(nodeid: int, data: list[memoryview]) -> bool:
            self._touch(1)
            return store(nodeid, data)

        self._pusher = Pusher(self.archive, self._node, counted)

    def push(self) -> None:
        """See ``rofuse_mount.turns``."""
        if self._pusher is not None:
            self._pusher.push()

    # -- numbers ---------------------------------------------------------------------------------------------

    def _node(self, nodeid: int) -> int:
        """The image's number of a kernel's nodeid, and back: they differ for two inodes at most. A number that is
        none of the image's raises."""
        if nodeid == ROOT:
            return self._top
        if nodeid == self._top:
            return ROOT
        if not 0 < nodeid <= self._image.inode_count:
            raise FileNotFoundError
        return nodeid

    def _attr(self, node: int) -> tuple[int, ...]:
        """The fields of wire.ATTR."""
        image, row = self._image, node - 1
        mode, size = image.mode[row], image.size[row]
        kind = mode & 0o170000
        blocks, rdev = (size + 511) >> 9, 0
        if kind == stat.S_IFREG:
            mode &= self._file_bits
            if image.data[row] >> DATA_SHIFT == DATA_PIECES:
                blocks = self._blocks_in_pieces(node)
        elif kind == stat.S_IFDIR:
            mode &= self._directory_bits
            size = blocks = 0
        elif kind != stat.S_IFLNK:
            rdev = image.data[row] & 0xFFFFFFFF
        if node == self._top or node == ROOT:
            node = self._node(node)
        mtime, mtime_ns, owner = image.mtime[row] & _U64, image.mtime_ns[row], image.owner[row]
        atime, atime_ns, ctime, ctime_ns = mtime, mtime_ns, mtime, mtime_ns
        if self._has_times and (told := image.time_row(row + 1)) >= 0:
            has, ((atimes, atimes_ns), (ctimes, ctimes_ns), _btimes) = (
                image.time_has[told],
                image.time_columns,
            )
            if has & HAS_ATIME:
                atime, atime_ns = atimes[told] & _U64, atimes_ns[told]
            if has & HAS_CTIME:
                ctime, ctime_ns = ctimes[told] & _U64, ctimes_ns[told]
        uid, gid = self._uids[owner], self._gids[owner]
        times = atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns
        return (node, size, blocks, *times, mode, image.nlink[row], uid, gid, rdev, _BLOCK, 0)

    def _blocks_in_pieces(self, node: int) -> int:
        """Of 512 bytes. Counted once where there are many: each name of the file asks for them."""
        blocks = self._blocks.get(node)
        if blocks is None:
            lengths = self._image.piece_lengths(node)
            blocks = sum((length + 511) >> 9 for length in lengths)
            if len(lengths) > _MANY_PIECES:
                self._blocks[node] = blocks
        return blocks

    # -- names and attributes --------------------------------------------------------------------------------

    def lookup(self, ctx: Context, parent: int, name: bytes) -> bytes:
        node = self._node(parent)
        self._touch(_LOOKED_UP)
        if name == b".":
            found = node
        elif name == b"..":
            found = node if node == self._top else self._image.parent[node - 1]
        else:
            if not self._image.is_directory(node):
                raise NotADirectoryError(ENOTDIR, "not a directory")
            found = self._image.lookup(node, name)
        if not found:
            return self._absent
        if stat.S_ISREG(self._image.mode[found - 1]):
            self._awaited = found if self._is_awaited_read else 0
            self._named, self._is_awaited_read = found, False
            if self._awaited:
                self._contents.announce(found)
        return wire.ENTRY_OUT.pack(self._node(found), *self._valid, *self._attr(found))

    def getattr(self, ctx: Context, ino: int, fh: FileHandle | None) -> bytes:
        return wire.ATTR_OUT.pack(*self._attr_valid, *self._attr(self._node(ino)))

    def statx(self, ctx: Context, ino: int, fh: FileHandle | None, flags: int, mask: int) -> bytes:
        if self._has_btimes is None:
            self._has_btimes = any(has & HAS_BTIME for has in self._image.time_has)
        if not self._has_btimes:
            raise OSError(ENOSYS, "no times of birth")
        node = self._node(ino)
        fields = self._attr(node)
        atime, mtime, ctime = (_signed(fields[i]) * _NS + fields[i + 3] for i in (3, 4, 5))
        number, size, blocks = fields[:3]
        mode, nlink, uid, gid, rdev = fields[9:14]
        attr = Attr(number, mode, nlink, size, blocks, uid, gid, rdev, atime, mtime, ctime)
        btime = self._image.times(node)[2]
        birth = None if btime is None else btime.seconds * _NS + btime.nanoseconds
        return pack_statx(Statx(attr, btime_ns=birth, attr_timeout=self._attr_timeout))

    def readlink(self, ctx: Context, ino: int) -> bytes:
        node = self._node(ino)
        if not stat.S_ISLNK(self._image.mode[node - 1]):
            raise OSError(EINVAL, "not a symbolic link")
        try:
            return self.archive.target(node)
        except FormatError as error:
            self._tell(node, 0, error)
            raise OSError(_errno_of(error), str(error)) from error

    def readdirplus(self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int) -> bytes:
        node = self._node(ino)
        if not self._image.is_directory(node):
            raise NotADirectoryError(ENOTDIR, "not a directory")
        if offset and self._pusher is not None:
            self._pusher.listed(node)
        if size < LEAST_ROOM:
            raise OSError(EINVAL, "too little room for any entry")
        return self._listings.reply(node, offset, size)

    def _touch(self, entries: int) -> None:
        """Notes that so much of the index was looked at. What of it is mapped counts as this process's memory."""
        self._touched += entries
        if self._touched > _SELDOM:
            self._touched = 0
            try:
                if mapped_memory() >= max(_MOST_MAPPED, self._others + _LEAST_LET_GO):
                    self.archive.let_go()
                    self._others = mapped_memory()
            except OSError:  # it is not told how much
                self.archive.let_go()

    # -- what takes no time ----------------------------------------------------------------------------------

    def is_quick(self, request: memoryview, /) -> bool:
        """See ``rofuse_mount.turns``: all but reading what must be decoded, or is large, or what others are pushed
        behind, and listing the end of a directory whose files are."""
        opcode = request[_OPCODE_AT]
        if opcode == wire.Opcode.READLINK:
            nodeid = _NODEID.unpack_from(request)[0]
            return not 0 < nodeid <= self._image.inode_count or not self._image.is_packed(self._node(nodeid))
        if opcode not in _READING or len(request) < _READ_END:
            return True
        nodeid, offset, size = _WHAT_IS_READ.unpack_from(request)
        if not 0 < nodeid <= self._image.inode_count:
            return True
        node, pusher = self._node(nodeid), None if was_sent_before(request) else self._pusher
        if opcode == wire.Opcode.READDIRPLUS:
            return not offset or pusher is None or not pusher.claims_listed(node)
        if node == self._awaited:
            self._awaited = 0  # it is being read already
        if pusher is not None and not offset and pusher.claims(node):
            return False
        return not stat.S_ISREG(self._image.mode[node - 1]) or self._contents.is_at_hand(node, offset, size)

    def prepare(self) -> None:
        """See ``rofuse_mount.turns``: who looked up one file and read it, and looks up another, will read that; and
        who lists one directory after the other, the next."""
        self._listings.prepare()
        if node := self._awaited:
            self._awaited = 0
            self._contents.prepare(node)

    # -- data ------------------------------------------------------------------------------------------------

    def read(self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int) -> list[memoryview]:
        node = self._node(ino)
        if not stat.S_ISREG(self._image.mode[node - 1]):
            raise IsADirectoryError(EISDIR, "not a file")
        self._touch(1)
        if node == self._named:
            self._is_awaited_read = True
        try:
            data = self._read(ctx, node, offset, size)
            if not offset and self._pusher is not None and self._pusher.is_small(node):
                self._awaited = self._pusher.after(node)
        finally:
            if self._pusher is not None:
                self._pusher.disclaim()
        return data

    def _read(self, ctx: Context, node: int, offset: int, size: int) -> list[memoryview]:
        patience.reading_for(ctx.pid if self.knows_readers else 0)
        try:
            return self._contents.read(node, offset, size)
        except FormatError as error:
            self._tell(node, offset, error)
            raise OSError(_errno_of(error), str(error)) from error
        finally:
            patience.reading_for(0)

    def lseek(self, ctx: Context, ino: int, fh: FileHandle, offset: int, whence: int) -> int:
        node = self._node(ino)
        size = self._image.size[node - 1]
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise OSError(EINVAL, "not a way to seek")
        if offset >= size:
            raise OSError(ENXIO, "beyond the end")
        runs = self._image.extents_from(node, offset)
        if whence == SEEK_DATA:
            for extent in runs:
                return max(extent.logical, offset)
            raise OSError(ENXIO, "no data up to the end")
        for extent in runs:
            if extent.logical > offset:
                break
            offset = extent.logical + extent.length
        return min(offset, size)

    # -- extended attributes ---------------------------------------------------------------------------------

    def getxattr(self, ctx: Context, ino: int, name: bytes) -> bytes:
        for found, value in self._xattrs(ino):
            if found == name:
                return value
        raise OSError(ENODATA, "no such attribute")

    def listxattr(self, ctx: Context, ino: int) -> Iterable[bytes]:
        return [name for name, _value in self._xattrs(ino)]

    def _xattrs(self, ino: int) -> list[tuple[bytes, bytes]]:
        if not self._image.has_xattrs:
            raise OSError(ENOSYS, "no extended attributes")
        return self._image.xattrs(self._node(ino))

    # -- the whole -------------------------------------------------------------------------------------------

    def statfs(self, ctx: Context, ino: int) -> StatFS:
        if self._statfs is None:
            image = self._image
            sizes = (size for size, mode in zip(image.size, image.mode, strict=True) if stat.S_ISREG(mode))
            self._statfs = StatFS(blocks=(sum(sizes) + _BLOCK - 1) // _BLOCK, files=image.inode_count)
        return self._statfs

    def figures(self) -> dict[str, Any]:
        """What ``status`` shows of it."""
        cache = self._contents.cache
        return {
            "cache": {"hits": cache.hits, "misses": cache.misses, "bytes": cache.bytes},
            "pushed": self._pusher.figures() if self._pusher is not None else {},
        }

    def _tell(self, node: int, offset: int, error: FormatError) -> None:
        if node not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(node)
            path = show(self._image.path(node))
            self._log(f"{path}: byte {offset} cannot be read: {printable(str(error))}")


def _first_file(image: Image) -> int:
    """A file that is likely to be small, 0 where there is none near the beginning."""
    nodes = range(1, min(image.inode_count, _LOOKED_AT) + 1)
    return next((node for node in nodes if stat.S_ISREG(image.mode[node - 1]) and image.size[node - 1]), 0)


def _errno_of(error: FormatError) -> int:
    """What a reader is told of what an archive cannot give."""
    if isinstance(error, ChangedError):
        return ESTALE
    if isinstance(error, UnsupportedError | MissingLibraryError):
        return EOPNOTSUPP
    if isinstance(error, RatioError):
        return EFBIG
    return EACCES if isinstance(error, PasswordError) else EIO


# Of a request, without a look at the rest: the header's opcode (its low byte) and nodeid, offset and size of one that
# reads a file or a directory.
_OPCODE_AT = 4
_WHAT_IS_READ = Struct("<16xQ24xQI")
_READING = wire.Opcode.READ, wire.Opcode.READDIRPLUS
_NODEID = Struct("<16xQ")
_READ_END = wire.IN_HEADER.size + wire.READ_IN.size


def _signed(seconds: int) -> int:
    return seconds - (1 << 64) if seconds >> 63 else seconds
