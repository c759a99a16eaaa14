"""A kernel made of bytes: the requests it sends, by hand, and the checks it makes of a reply."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from errno import ENODATA, ENXIO
from typing import NamedTuple

from rofuse_mount import wire
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import (
    ROOT_INODE,
    Attr,
    Buffer,
    Context,
    DirEntry,
    Entry,
    MountOptions,
    OpenResponse,
    StatFS,
    Statx,
)
from rofuse_mount.wire import InitFlag, Opcode

UNIQUE = 0x1234

# What kernels of these protocols offer at INIT (fs/fuse/inode.c): all flags known to them that concern us.
_BITS_26 = sum(1 << bit for bit in range(21)) & ~InitFlag.FILE_OPS
OFFERS = {
    26: _BITS_26,
    28: _BITS_26 | InitFlag.ABORT_ERROR | InitFlag.MAX_PAGES | InitFlag.CACHE_SYMLINKS,
    31: _BITS_26 | sum(1 << bit for bit in range(21, 26)),
    35: _BITS_26 | sum(1 << bit for bit in range(21, 30)),
    36: _BITS_26 | sum(1 << bit for bit in range(21, 31)) | InitFlag.SECURITY_CTX | InitFlag.HAS_INODE_DAX,
    38: _BITS_26 | sum(1 << bit for bit in (*range(21, 31), 32, 33, 34, 35)),
    40: _BITS_26 | sum(1 << bit for bit in (*range(21, 31), *range(32, 40))),
    45: _BITS_26 | sum(1 << bit for bit in (*range(21, 31), *range(32, 43))),
}

NO_REPLY = {Opcode.FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY, Opcode.BATCH_FORGET}


def request(opcode: int, body: bytes = b"", *, unique: int = UNIQUE, nodeid: int = ROOT_INODE) -> bytes:
    """A request from uid 1000, gid 100, pid 42."""
    size = wire.IN_HEADER.size + len(body)
    return wire.IN_HEADER.pack(size, opcode, unique, nodeid, 1000, 100, 42, 0, 0) + body


def init_body(minor: int, flags: int, *, major: int = 7, max_readahead: int = 131072) -> bytes:
    """INIT as a kernel of that minor has it: 16 bytes before 7.36, 64 since."""
    if minor < 36:
        return wire.COMPAT_INIT_IN.pack(major, minor, max_readahead, flags & 0xFFFFFFFF)
    return wire.INIT_IN.pack(major, minor, max_readahead, flags & 0xFFFFFFFF, flags >> 32)


def read_body(size: int = 4096, offset: int = 0, fh: int = 0) -> bytes:
    return wire.READ_IN.pack(fh, offset, size, 0, 0, 0, 0)


BODIES: dict[int, bytes] = {
    Opcode.LOOKUP: b"hello\0",
    Opcode.FORGET: wire.FORGET_IN.pack(1),
    Opcode.GETATTR: wire.GETATTR_IN.pack(0, 0, 0),
    Opcode.SETATTR: bytes(wire.SETATTR_IN.size),
    Opcode.SYMLINK: b"new\0target\0",
    Opcode.MKNOD: wire.MKNOD_IN.pack(0o100644, 0, 0o22, 0) + b"new\0",
    Opcode.MKDIR: wire.MKDIR_IN.pack(0o755, 0o22) + b"new\0",
    Opcode.UNLINK: b"hello\0",
    Opcode.RMDIR: b"dir\0",
    Opcode.RENAME: wire.RENAME_IN.pack(1) + b"hello\0new\0",
    Opcode.LINK: wire.LINK_IN.pack(2) + b"new\0",
    Opcode.OPEN: wire.OPEN_IN.pack(0, 0),
    Opcode.READ: read_body(),
    Opcode.WRITE: wire.WRITE_IN.pack(0, 0, 4, 0, 0, 0, 0) + b"data",
    Opcode.RELEASE: bytes(wire.RELEASE_IN.size),
    Opcode.FSYNC: bytes(wire.FSYNC_IN.size),
    Opcode.SETXATTR: wire.SETXATTR_IN.pack(1, 0, 0, 0) + b"user.a\0v",
    Opcode.GETXATTR: wire.GETXATTR_IN.pack(0, 0) + b"user.a\0",
    Opcode.LISTXATTR: wire.GETXATTR_IN.pack(0, 0),
    Opcode.REMOVEXATTR: b"user.a\0",
    Opcode.FLUSH: bytes(wire.FLUSH_IN.size),
    Opcode.OPENDIR: wire.OPEN_IN.pack(0, 0),
    Opcode.READDIR: read_body(),
    Opcode.RELEASEDIR: bytes(wire.RELEASE_IN.size),
    Opcode.FSYNCDIR: bytes(wire.FSYNC_IN.size),
    Opcode.GETLK: bytes(wire.LK_IN.size),
    Opcode.SETLK: bytes(wire.LK_IN.size),
    Opcode.SETLKW: bytes(wire.LK_IN.size),
    Opcode.ACCESS: wire.ACCESS_IN.pack(4, 0),
    Opcode.CREATE: wire.CREATE_IN.pack(0o101, 0o644, 0o22, 0) + b"new\0",
    Opcode.INTERRUPT: wire.INTERRUPT_IN.pack(UNIQUE),
    Opcode.BMAP: wire.BMAP_IN.pack(0, 512, 0),
    Opcode.IOCTL: wire.IOCTL_IN.pack(0, 0, 0x5401, 0, 4, 8) + b"\1\2\3\4",
    Opcode.POLL: wire.POLL_IN.pack(0, 7, 1, 1),
    Opcode.NOTIFY_REPLY: bytes(wire.NOTIFY_RETRIEVE_IN.size),
    Opcode.BATCH_FORGET: wire.BATCH_FORGET_IN.pack(2, 0)
    + wire.FORGET_ONE.pack(2, 1)
    + wire.FORGET_ONE.pack(3, 4),
    Opcode.FALLOCATE: bytes(wire.FALLOCATE_IN.size),
    Opcode.READDIRPLUS: read_body(),
    Opcode.RENAME2: wire.RENAME2_IN.pack(1, 0, 0) + b"hello\0new\0",
    Opcode.LSEEK: wire.LSEEK_IN.pack(0, 0, 3, 0),
    Opcode.COPY_FILE_RANGE: bytes(wire.COPY_FILE_RANGE_IN.size),
    Opcode.SETUPMAPPING: bytes(wire.SETUPMAPPING_IN.size),
    Opcode.REMOVEMAPPING: wire.REMOVEMAPPING_IN.pack(1) + bytes(wire.REMOVEMAPPING_ONE.size),
    Opcode.SYNCFS: bytes(wire.SYNCFS_IN.size),
    Opcode.TMPFILE: wire.CREATE_IN.pack(0o2, 0o644, 0o22, 0),
    Opcode.STATX: wire.STATX_IN.pack(0, 0, 0, 0, 0xFFF),
    Opcode.COPY_FILE_RANGE_64: bytes(wire.COPY_FILE_RANGE_IN.size),
}


class Reply(NamedTuple):
    errno: int
    payload: bytes


def check(reply: Sequence[Buffer] | None, unique: int = UNIQUE) -> Reply | None:
    """What the kernel checks of a reply before it believes it (fuse_dev_do_write)."""
    if reply is None:
        return None
    data = b"".join(reply)
    length, error, answered = wire.OUT_HEADER.unpack_from(data)
    assert length == len(data)
    assert answered == unique
    assert -512 < error <= 0
    assert error == 0 or length == wire.OUT_HEADER.size
    assert len(reply) <= 1024
    return Reply(-error, data[wire.OUT_HEADER.size :])


def ask(engine: Engine, opcode: int, body: bytes | None = None, *, nodeid: int = ROOT_INODE) -> Reply:
    """The reply to one well-formed request, which must have one."""
    if body is None:
        body = BODIES.get(opcode, b"")
    reply = check(engine.handle(request(opcode, body, nodeid=nodeid)))
    assert reply is not None
    return reply


def connect(
    filesystem: Filesystem,
    minor: int = 45,
    *,
    options: MountOptions | None = None,
    log: list[str] | None = None,
    flags: int | None = None,
) -> Engine:
    """An engine after INIT with a kernel of that minor. What it logs goes to ``log``, or fails the test."""

    def fail(message: str) -> None:
        raise AssertionError(message)

    engine = Engine(filesystem, options, log=fail if log is None else log.append)
    offer = OFFERS[minor] if flags is None else flags
    assert ask(engine, Opcode.INIT, init_body(minor, offer)).errno == 0
    return engine


NS = 1_000_000_000


ATTRS = {
    1: Attr(1, stat.S_IFDIR | 0o755, nlink=3, mtime_ns=1_600_000_000 * NS),
    2: Attr(2, stat.S_IFREG | 0o644, size=6, uid=1000, gid=100, mtime_ns=1_600_000_000 * NS + 7),
    3: Attr(3, stat.S_IFLNK | 0o777, size=5, mtime_ns=-NS),
    4: Attr(4, stat.S_IFDIR | 0o700, nlink=2),
}
NAMES: dict[int, dict[bytes, int]] = {1: {b"hello": 2, b"link": 3, b"dir": 4}, 4: {}}
PARENT = {1: 1, 2: 1, 3: 1, 4: 1}
XATTRS = {b"user.a": b"value", b"user.empty": b""}


class Example(Filesystem):
    """A root with a file, a symbolic link and a directory; every method written."""

    export = True

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def _attr(self, ino: int) -> Attr:
        if ino not in ATTRS:
            raise FileNotFoundError
        return ATTRS[ino]

    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
        names = {b".": parent, b"..": PARENT[parent], **NAMES.get(parent, {})}
        if name not in names:
            return Entry(0, entry_timeout=float("inf"))
        return Entry(names[name], self._attr(names[name]), entry_timeout=1.5, attr_timeout=float("inf"))

    def forget(self, ctx: Context, ino: int, nlookup: int) -> None:
        self.calls.append(("forget", ino, nlookup))

    def getattr(self, ctx: Context, ino: int, fh: int | None) -> tuple[Attr, float]:
        return self._attr(ino), 60.25

    def statx(self, ctx: Context, ino: int, fh: int | None, flags: int, mask: int) -> Statx:
        return Statx(self._attr(ino), btime_ns=5 * NS + 1)

    def readlink(self, ctx: Context, ino: int) -> bytes:
        return b"hello"

    def open(self, ctx: Context, ino: int, flags: int) -> OpenResponse:
        return OpenResponse(fh=77, keep_cache=True)

    def release(self, ctx: Context, ino: int, fh: int) -> None:
        self.calls.append(("release", ino, fh))

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Buffer | Sequence[Buffer]:
        return b"hello\n"[offset : offset + size]

    def opendir(self, ctx: Context, ino: int, flags: int) -> OpenResponse:
        return OpenResponse(fh=78, keep_cache=True, cache_dir=True)

    def releasedir(self, ctx: Context, ino: int, fh: int) -> None:
        self.calls.append(("releasedir", ino, fh))

    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntry]:
        names = [(b".", ino), (b"..", PARENT[ino]), *NAMES[ino].items()]
        for position, (name, child) in enumerate(names[offset:], offset + 1):
            yield DirEntry(child, position, ATTRS[child].mode >> 12, name)

    def statfs(self, ctx: Context, ino: int) -> StatFS:
        return StatFS(blocks=1, files=4)

    def access(self, ctx: Context, ino: int, mask: int) -> None:
        if mask & 2:
            raise PermissionError

    def getxattr(self, ctx: Context, ino: int, name: bytes) -> bytes:
        if name not in XATTRS:
            raise OSError(ENODATA, "no such attribute")
        return XATTRS[name]

    def listxattr(self, ctx: Context, ino: int) -> Iterable[bytes]:
        return XATTRS

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> int:
        if offset >= 6:
            raise OSError(ENXIO, "behind the end")
        return offset if whence == 3 else 6

    def ioctl(
        self, ctx: Context, ino: int, fh: int, flags: int, cmd: int, arg: int, data: bytes, out_size: int
    ) -> int | tuple[int, Buffer]:
        return 5, data[::-1]

    def poll(self, ctx: Context, ino: int, fh: int, events: int, kh: int | None) -> int:
        self.calls.append(("poll", kh))
        return events

    def bmap(self, ctx: Context, ino: int, block: int, blocksize: int) -> int:
        return block + 100


def answering(method: str, answer: object, **attributes: object) -> Filesystem:
    """A filesystem one of whose methods returns ``answer``, or raises it."""

    def reply(self: Filesystem, *arguments: object) -> object:
        if isinstance(answer, BaseException) or (
            isinstance(answer, type) and issubclass(answer, BaseException)
        ):
            raise answer
        return answer

    made: type[Filesystem] = type("Answering", (Filesystem,), {method: reply, **attributes})
    return made()
