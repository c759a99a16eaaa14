"""The operations: what each opcode asks of the filesystem, and how the answer becomes bytes.

Strategy
An operation is a function marked with the opcodes it answers and the least its request has behind the header. It is
given the engine, who asks, the inode and the whole request, and returns the bytes behind the reply's header: one
buffer, a list of them, or None where no reply is due. A new opcode is one new function.

Rules
- Errors are raised; the engine frames them. What the kernel sent wrong is EINVAL, what changes the filesystem EROFS.
- What the filesystem returns is checked before it is sent: the kernel fails a request whose reply is malformed, and
  some mistakes it takes out on more than that request.
- A buffer given to READ is never looked at: it may be a mapping whose file was truncated.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import E2BIG, EINVAL, EIO, ENAMETOOLONG, ENOSYS, ERANGE, EROFS
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from rofuse_mount import listing, wire
from rofuse_mount.buffers import octets, within
from rofuse_mount.encoding import (
    FOREVER,
    NAME_MAX,
    encode_attr,
    encode_entry,
    encode_statfs,
    encode_statx,
    pack_attr,
    ready,
)
from rofuse_mount.records import ROOT_INODE, Attr, Buffer, Context, ForgetEntry, OpenResponse
from rofuse_mount.wire import GetattrFlag, InitFlag, Opcode, OpenFlag, PollFlag

if TYPE_CHECKING:
    from rofuse_mount.engine import Engine

Payload: TypeAlias = Buffer | list[Buffer] | None
Operation: TypeAlias = Callable[["Engine", Context, int, bytes], Payload]

LINK_MAX = 4095  # bytes of a symbolic link's target
XATTR_MAX = 65536  # bytes of an extended attribute's value, and of a list of names

# open(2), as on all machines served here
O_ACCMODE = 0o3
O_TRUNC = 0o1000

# The root of a filesystem that lists directories and has no ``getattr``.
_PLAIN_ROOT = pack_attr(Attr(ROOT_INODE, 0o040555, nlink=2), FOREVER)

_HEADER = wire.IN_HEADER.size
_read_span = Struct("<QQI").unpack_from  # what matters of read_in: fh, offset, size

OPERATIONS: dict[int, tuple[Operation, int]] = {}
"""By opcode, with the least length of a request."""

SILENT = frozenset((Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY))
"""What is never answered, not even with an error."""


def operation(*opcodes: int, least: int = 0) -> Callable[[Operation], Operation]:
    """Marks what answers ``opcodes``; their requests have at least ``least`` bytes behind the header."""

    def register(function: Operation) -> Operation:
        for opcode in opcodes:
            OPERATIONS[opcode] = (function, _HEADER + least)
        return function

    return register


# --- the connection ---------------------------------------------------------------------


@operation(Opcode.INIT, least=8)
def _init(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    return engine.negotiate(ctx, request)


@operation(Opcode.DESTROY)
def _destroy(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    engine.destroy()
    return b""


# --- names and attributes ---------------------------------------------------------------


@operation(Opcode.LOOKUP)
def _lookup(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    name = request[_HEADER:-1]
    if not name or request[-1] or b"/" in name or b"\0" in name:
        raise OSError(EINVAL, "not a name")
    if len(name) > NAME_MAX:
        raise OSError(ENAMETOOLONG, "no name is that long")
    entry = engine.filesystem.lookup(ctx, nodeid, name)
    if type(entry) is bytes and len(entry) == wire.ENTRY_OUT.size:
        return entry
    return encode_entry(entry, engine.entries_last)


@operation(Opcode.FORGET, least=wire.FORGET_IN.size)
def _forget(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    if engine.forgets:
        (nlookup,) = wire.FORGET_IN.unpack_from(request, _HEADER)
        engine.filesystem.forget(ctx, nodeid, nlookup)
    return None


@operation(Opcode.BATCH_FORGET, least=wire.BATCH_FORGET_IN.size)
def _batch_forget(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    if engine.forgets:
        count, _ = wire.BATCH_FORGET_IN.unpack_from(request, _HEADER)
        begin = _HEADER + wire.BATCH_FORGET_IN.size
        count = min(count, (len(request) - begin) // wire.FORGET_ONE.size)
        pairs = wire.FORGET_ONE.iter_unpack(request[begin : begin + count * wire.FORGET_ONE.size])
        engine.filesystem.batch_forget(ctx, [ForgetEntry(ino, nlookup) for ino, nlookup in pairs])
    return None


@operation(Opcode.GETATTR, least=wire.GETATTR_IN.size)
def _getattr(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    if engine.entries_last and nodeid == ROOT_INODE:
        return _PLAIN_ROOT
    flags, _, fh = wire.GETATTR_IN.unpack_from(request, _HEADER)
    attr = engine.filesystem.getattr(ctx, nodeid, fh if flags & GetattrFlag.FH else None)
    if type(attr) is bytes and len(attr) == wire.ATTR_OUT.size:
        return attr
    return encode_attr(attr)


@operation(Opcode.STATX, least=wire.STATX_IN.size)
def _statx(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    flags, _, fh, sx_flags, sx_mask = wire.STATX_IN.unpack_from(request, _HEADER)
    handle = fh if flags & GetattrFlag.FH else None
    return encode_statx(engine.filesystem.statx(ctx, nodeid, handle, sx_flags, sx_mask))


@operation(Opcode.READLINK)
def _readlink(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    target = octets(engine.filesystem.readlink(ctx, nodeid))
    if len(target) > LINK_MAX:
        raise OSError(ENAMETOOLONG, "no link's target is that long")
    if not target or b"\0" in target:
        raise ValueError(f"{target!r} is no link's target")
    return target


@operation(Opcode.ACCESS, least=wire.ACCESS_IN.size)
def _access(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    mask, _ = wire.ACCESS_IN.unpack_from(request, _HEADER)
    engine.filesystem.access(ctx, nodeid, mask)
    return b""


@operation(Opcode.STATFS)
def _statfs(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    return encode_statfs(engine.filesystem.statfs(ctx, nodeid))


# --- files ------------------------------------------------------------------------------


@operation(Opcode.OPEN, least=wire.OPEN_IN.size)
def _open(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    flags, _ = wire.OPEN_IN.unpack_from(request, _HEADER)
    if flags & (O_ACCMODE | O_TRUNC):
        raise OSError(EROFS, "opening to write")
    try:
        response = engine.filesystem.open(ctx, nodeid, flags)
        return _passed_through(engine, nodeid, response) or _opened(response)
    except OSError as error:
        if error.errno != ENOSYS or engine.flags & InitFlag.NO_OPEN_SUPPORT:
            raise
        return wire.OPEN_OUT.pack(0, OpenFlag.KEEP_CACHE, 0)


@operation(Opcode.OPENDIR, least=wire.OPEN_IN.size)
def _opendir(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    flags, _ = wire.OPEN_IN.unpack_from(request, _HEADER)
    if flags & O_ACCMODE:
        raise OSError(EROFS, "opening to write")
    try:
        return _opened(engine.filesystem.opendir(ctx, nodeid, flags))
    except OSError as error:
        if error.errno != ENOSYS or engine.flags & InitFlag.NO_OPENDIR_SUPPORT:
            raise
        return wire.OPEN_OUT.pack(0, OpenFlag.KEEP_CACHE | OpenFlag.CACHE_DIR, 0)


def _passed_through(engine: Engine, nodeid: int, response: OpenResponse | Buffer) -> bytes:
    """open_out of a file that the kernel reads itself. Nothing, where that is not so; also where it cannot be (its
    filesystem is itself a stack, ...): it is read from us instead."""
    if not isinstance(response, OpenResponse) or response.backing_fd is None:
        return b""
    if engine.backing is None or not engine.flags & InitFlag.PASSTHROUGH:
        return b""
    try:
        backing_id = engine.backing.acquire(nodeid, response.backing_fd)
    except OSError:
        return b""
    # The kernel takes no flag about its cache beside this one.
    flags = OpenFlag.PASSTHROUGH | (OpenFlag.DIRECT_IO if response.direct_io else 0)
    return wire.OPEN_OUT.pack(response.fh, flags, backing_id)


def _opened(response: OpenResponse | Buffer) -> bytes:
    """open_out."""
    if not isinstance(response, OpenResponse):
        return ready(response, wire.OPEN_OUT)
    flags = (
        (OpenFlag.DIRECT_IO if response.direct_io else 0)
        | (OpenFlag.KEEP_CACHE if response.keep_cache else 0)
        | (OpenFlag.NONSEEKABLE if response.nonseekable else 0)
        | (OpenFlag.CACHE_DIR if response.cache_dir else 0)
    )
    return wire.OPEN_OUT.pack(response.fh, flags, 0)


@operation(Opcode.READ, least=wire.READ_IN.size)
def _read(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, offset, size = _read_span(request, _HEADER)
    if size > engine.largest:
        raise OSError(EINVAL, "no request is that large")
    data = engine.filesystem.read(ctx, nodeid, fh, offset, size)
    if type(data) is bytes and len(data) <= size:
        return data
    if type(data) is memoryview and data.nbytes <= size and data.c_contiguous:
        return data
    return within(data, size)


@operation(Opcode.RELEASE, least=wire.RELEASE_IN.size)
def _release(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    if engine.backing is not None and engine.flags & InitFlag.PASSTHROUGH:
        engine.backing.release(nodeid)
    engine.filesystem.release(ctx, nodeid, wire.RELEASE_IN.unpack_from(request, _HEADER)[0])
    return b""


@operation(Opcode.LSEEK, least=wire.LSEEK_IN.size)
def _lseek(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, offset, whence, _ = wire.LSEEK_IN.unpack_from(request, _HEADER)
    return wire.LSEEK_OUT.pack(engine.filesystem.lseek(ctx, nodeid, fh, offset, whence))


@operation(Opcode.BMAP, least=wire.BMAP_IN.size)
def _bmap(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    block, blocksize, _ = wire.BMAP_IN.unpack_from(request, _HEADER)
    return wire.BMAP_OUT.pack(engine.filesystem.bmap(ctx, nodeid, block, blocksize))


@operation(Opcode.IOCTL, least=wire.IOCTL_IN.size)
def _ioctl(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, flags, cmd, arg, in_size, out_size = wire.IOCTL_IN.unpack_from(request, _HEADER)
    data = request[_HEADER + wire.IOCTL_IN.size :]
    if len(data) < in_size:
        raise OSError(EINVAL, "too short")
    answer = engine.filesystem.ioctl(ctx, nodeid, fh, flags, cmd, arg, data[:in_size], out_size)
    result, output = answer if isinstance(answer, tuple) else (answer, b"")
    given = octets(output)
    if len(given) > out_size:
        raise ValueError(f"an ioctl gave {len(given)} bytes where {out_size} were asked for")
    return wire.IOCTL_OUT.pack(result, 0, 0, 0) + given


@operation(Opcode.POLL, least=wire.POLL_IN.size)
def _poll(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, kh, flags, events = wire.POLL_IN.unpack_from(request, _HEADER)
    handle = kh if flags & PollFlag.SCHEDULE_NOTIFY else None
    return wire.POLL_OUT.pack(engine.filesystem.poll(ctx, nodeid, fh, events, handle), 0)


# --- directories ------------------------------------------------------------------------


@operation(Opcode.READDIR, least=wire.READ_IN.size)
def _readdir(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, offset, size = _read_span(request, _HEADER)
    if size > engine.largest:
        raise OSError(EINVAL, "no request is that large")
    if engine.lists or not engine.lists_plus:
        return listing.readdir(engine.filesystem, ctx, nodeid, fh, offset, size)
    return listing.readdir_without_plus(engine.filesystem, ctx, nodeid, fh, offset, size)


@operation(Opcode.READDIRPLUS, least=wire.READ_IN.size)
def _readdirplus(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    fh, offset, size = _read_span(request, _HEADER)
    if size > engine.largest:
        raise OSError(EINVAL, "no request is that large")
    if engine.lists_plus or not engine.lists:
        return listing.readdirplus(engine.filesystem, ctx, nodeid, fh, offset, size, engine.entries_last)
    return listing.readdirplus_by_lookup(
        engine.filesystem, ctx, nodeid, fh, offset, size, engine.entries_last, engine.report
    )


@operation(Opcode.RELEASEDIR, least=wire.RELEASE_IN.size)
def _releasedir(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    engine.filesystem.releasedir(ctx, nodeid, wire.RELEASE_IN.unpack_from(request, _HEADER)[0])
    return b""


# --- extended attributes ----------------------------------------------------------------


@operation(Opcode.GETXATTR, least=wire.GETXATTR_IN.size)
def _getxattr(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    size, _ = wire.GETXATTR_IN.unpack_from(request, _HEADER)
    name = request[_HEADER + wire.GETXATTR_IN.size : -1]
    if not name or request[-1] or b"\0" in name:
        raise OSError(EINVAL, "not a name")
    return _sized(octets(engine.filesystem.getxattr(ctx, nodeid, name)), size)


@operation(Opcode.LISTXATTR, least=wire.GETXATTR_IN.size)
def _listxattr(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    size, _ = wire.GETXATTR_IN.unpack_from(request, _HEADER)
    names = bytearray()
    for name in engine.filesystem.listxattr(ctx, nodeid):
        if not name or b"\0" in name:
            raise ValueError(f"{name!r} is no name of an extended attribute")
        names += name + b"\0"
        if len(names) > XATTR_MAX:
            raise OSError(E2BIG, "too many extended attributes")
    return _sized(bytes(names), size)


# --- the rest ---------------------------------------------------------------------------


@operation(Opcode.INTERRUPT, Opcode.NOTIFY_REPLY)
def _ignored(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    return None


@operation(
    Opcode.SETATTR,
    Opcode.SYMLINK,
    Opcode.MKNOD,
    Opcode.MKDIR,
    Opcode.UNLINK,
    Opcode.RMDIR,
    Opcode.RENAME,
    Opcode.RENAME2,
    Opcode.LINK,
    Opcode.WRITE,
    Opcode.CREATE,
    Opcode.TMPFILE,
    Opcode.SETXATTR,
    Opcode.REMOVEXATTR,
    Opcode.FALLOCATE,
    Opcode.COPY_FILE_RANGE,
    Opcode.COPY_FILE_RANGE_64,
)
def _read_only(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    raise OSError(EROFS, "read-only")


def unknown(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    """FLUSH, FSYNC, locks and what is not known: the kernel does without and does not ask again."""
    raise OSError(ENOSYS, "not an operation")


def too_early(engine: Engine, ctx: Context, nodeid: int, request: bytes) -> Payload:
    raise OSError(EIO, "INIT comes first")


def _sized(value: bytes, size: int) -> bytes:
    """The reply that getxattr(2) and listxattr(2) are made of: for size 0 the length, else the value, if it fits."""
    if len(value) > XATTR_MAX:
        raise OSError(E2BIG, "too large for an extended attribute")
    if size == 0:
        return wire.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise OSError(ERANGE, "the value is longer")
    return value
