"""The filesystem interface: one method for each thing a kernel may ask of a read-only filesystem.

Strategy
Subclass ``Filesystem`` and write the methods the filesystem has an answer for; every other one has a default that
tells the kernel so in the way that is cheapest for it. The source of what each answer means is the kernel header
(``rofuse_mount.wire``) and the kernel's fs/fuse.

Rules
- Inodes, not paths: a method is given the inode number that ``lookup`` or a directory listing told the kernel. The
  root is ``ROOT_INODE``.
- Names and link targets are bytes. Times are integers of nanoseconds since 1970 (negative before), validity is
  float seconds (``math.inf``: for ever), sizes and offsets are bytes, ``blocks`` are of 512 bytes.
- Errors are exceptions: an OSError's errno is the reply; FileNotFoundError, PermissionError, TimeoutError and their
  like mean themselves without one. Anything else is a bug: it is logged with its traceback, and answered EIO.
- Methods are called from several threads at once. ``init`` is over before the first of them begins.
- Nothing that changes the filesystem is ever asked: the engine answers EROFS, also for opening a file to write.
- Where a record is expected, the wire-ready bytes of the structure it would become are as good, and faster: 128
  bytes of entry_out for an Entry, 104 of attr_out for an Attr, 80 of statfs_out for a StatFS, 288 of statx_out for a
  Statx, and for a listing one buffer of whole dirent or direntplus records no longer than ``size``.
  ``rofuse_mount.encoding`` makes them. Only their size is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from errno import EINVAL, EIO, ENOENT, ENOSYS, ENOTDIR, ENOTTY

from rofuse_mount.records import (
    ROOT_INODE,
    Attr,
    Buffer,
    Config,
    Context,
    DirEntry,
    DirEntryPlus,
    Entry,
    FileHandle,
    ForgetEntry,
    MountOptions,
    OpenResponse,
    StatFS,
    Statx,
)

__all__ = [
    "ROOT_INODE",
    "Attr",
    "Buffer",
    "Config",
    "Context",
    "DirEntry",
    "DirEntryPlus",
    "Entry",
    "FileHandle",
    "Filesystem",
    "ForgetEntry",
    "MountOptions",
    "OpenResponse",
    "StatFS",
    "Statx",
]


class Filesystem:
    """A read-only filesystem; what holds for every method says ``help(rofuse_mount.filesystem)``."""

    export: bool = False
    """Whether ``lookup`` answers ``.`` and ``..`` for every inode there is, known to the kernel or not: what file
    handles (NFS, open_by_handle_at) need to outlive the kernel's cache. Without it there are no file handles."""

    posix_acl: bool = False
    """Whether ``getxattr`` knows system.posix_acl_access and _default, and the kernel shall enforce them (it then
    checks all permissions itself)."""

    passthrough: bool = False
    """Whether ``open`` gives backing_fd. The kernel grants it from 6.9 on, to a server with CAP_SYS_ADMIN."""

    def init(self, ctx: Context, config: Config) -> None:
        """The mount begins; the first call of all. An error ends it."""

    def destroy(self, ctx: Context) -> None:
        """The mount has ended; the last call of all."""

    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry | Buffer:
        """The inode called ``name`` (1 to 255 bytes, no slash) in the directory ``parent``. A lookup that is answered
        with an inode counts as one until ``forget`` takes it back."""
        raise FileNotFoundError(ENOENT, "no lookup")

    def forget(self, ctx: Context, ino: int, nlookup: int) -> None:
        """``nlookup`` lookups of ``ino`` are over; at none left the kernel no longer uses its number. Cannot fail."""

    def batch_forget(self, ctx: Context, entries: Sequence[ForgetEntry]) -> None:
        """As ``forget``, many at once."""
        for entry in entries:
            self.forget(ctx, entry.ino, entry.nlookup)

    def getattr(self, ctx: Context, ino: int, fh: FileHandle | None) -> Attr | tuple[Attr, float] | Buffer:
        """The attributes, alone (valid for a second) or with the seconds they are valid for. Not written, in a
        filesystem that lists directories: those of an Entry hold as long as the kernel keeps its inode, whatever its
        ``attr_timeout``, and the root is a directory that all may read (0555)."""
        raise FileNotFoundError(ENOENT, "no getattr")

    def statx(self, ctx: Context, ino: int, fh: FileHandle | None, flags: int, mask: int) -> Statx | Buffer:
        """The attributes with the time of birth; ``flags`` AT_STATX_*, ``mask`` STATX_*: what is asked for. Sent only
        for what ``getattr`` cannot tell. ENOSYS, the default: never asked again."""
        raise OSError(ENOSYS, "no statx")

    def readlink(self, ctx: Context, ino: int) -> Buffer:
        """The symbolic link's target, 1 to 4095 bytes without NUL."""
        raise OSError(EINVAL, "not a symbolic link")

    def open(self, ctx: Context, ino: int, flags: int) -> OpenResponse | Buffer:
        """Opens a file to read; ``flags`` are those of open(2) (O_NONBLOCK, ...). ENOSYS, the default: files are
        stateless and what was read of them stays cached, and where the kernel can, it never asks again."""
        raise OSError(ENOSYS, "files are stateless")

    def release(self, ctx: Context, ino: int, fh: FileHandle) -> None:
        """The last descriptor of an open file is closed. Its error reaches nobody."""

    def read(
        self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int
    ) -> Buffer | Sequence[Buffer]:
        """The file's bytes [offset, offset + size), fewer only where it ends. A buffer, or a list or tuple of buffers
        that are sent one after the other. They are handed to writev(2) untouched, so a slice of a mapping costs no
        copy and may lie behind the end of a file that was truncated; they must not change until the reply is
        written."""
        raise OSError(EIO, "no read")

    def opendir(self, ctx: Context, ino: int, flags: int) -> OpenResponse | Buffer:
        """As ``open``, for directories. ENOSYS, the default: listings are stateless and cached."""
        raise OSError(ENOSYS, "directories are stateless")

    def releasedir(self, ctx: Context, ino: int, fh: FileHandle) -> None:
        """As ``release``, for directories."""

    def readdir(
        self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int
    ) -> Iterable[DirEntry] | Buffer:
        """The directory's entries after the one whose offset is ``offset``, from the first for 0. ``.`` and ``..`` are
        listed if they are given here. As many are taken as fit into ``size`` bytes, then the iterable is closed;
        the rest is asked for again by offset."""
        raise OSError(ENOTDIR, "not a directory")

    def readdirplus(
        self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int
    ) -> Iterable[DirEntryPlus] | Buffer:
        """As ``readdir``, with each entry's inode looked up. Not written: made of ``readdir`` and ``lookup``. One of
        the two is enough to list directories. An entry that was taken and did not fit is forgotten at once."""
        from rofuse_mount.listing import looked_up  # which builds on this module

        return looked_up(self, ctx, ino, self.readdir(ctx, ino, fh, offset, size), size)

    def statfs(self, ctx: Context, ino: int) -> StatFS | Buffer:
        """The filesystem's size, as ``df`` shows it."""
        return StatFS()

    def access(self, ctx: Context, ino: int, mask: int) -> None:
        """Whether the caller may: R_OK 4, W_OK 2, X_OK 1, F_OK 0; PermissionError if not. Not asked where the kernel
        checks permissions. ENOSYS, the default: allowed, and never asked again."""
        raise OSError(ENOSYS, "no access")

    def getxattr(self, ctx: Context, ino: int, name: bytes) -> Buffer:
        """The extended attribute's value, up to 65,536 bytes; ENODATA where there is none of that name. ENOSYS, the
        default: none anywhere, and never asked again."""
        raise OSError(ENOSYS, "no extended attributes")

    def listxattr(self, ctx: Context, ino: int) -> Iterable[bytes]:
        """The names of the extended attributes. ENOSYS, the default: none anywhere, and never asked again."""
        raise OSError(ENOSYS, "no extended attributes")

    def lseek(self, ctx: Context, ino: int, fh: FileHandle, offset: int, whence: int) -> int:
        """Where data (SEEK_DATA) or a hole (SEEK_HOLE) next begins at or after ``offset``; ENXIO behind the end.
        ENOSYS, the default: all is data, and never asked again."""
        raise OSError(ENOSYS, "no lseek")

    def ioctl(
        self,
        ctx: Context,
        ino: int,
        fh: FileHandle,
        flags: int,
        cmd: int,
        arg: int,
        data: bytes,
        out_size: int,
    ) -> int | tuple[int, Buffer]:
        """An ioctl(2) whose number says how much goes in (``data``) and comes out (up to ``out_size`` bytes): its
        result, alone or with those bytes. ``flags`` are wire.IoctlFlag bits. By default no file knows any."""
        raise OSError(ENOTTY, "no such ioctl")

    def poll(self, ctx: Context, ino: int, fh: FileHandle, events: int, kh: int | None) -> int:
        """The events (POLLIN, ...) of ``events`` that are there now. ``kh``: what a POLL notification names when that
        changes, None where none is wanted. ENOSYS, the default: always ready, and never asked again."""
        raise OSError(ENOSYS, "no poll")

    def bmap(self, ctx: Context, ino: int, block: int, blocksize: int) -> int:
        """The block of the device below that holds a file's ``block``."""
        raise OSError(ENOSYS, "no bmap")
