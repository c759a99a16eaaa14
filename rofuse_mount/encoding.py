"""Records to the bytes the kernel reads.

Strategy
``pack_...`` makes a structure of a record; ``encode_...`` takes what a filesystem method returned, a record or the
wire-ready bytes it would become, and gives bytes of exactly the structure's size. ``direntplus(n)`` and ``dirent(n)``
give the one ``pack`` call that makes a whole directory record with a name of n bytes, for filesystems that build
listings ahead.

Rules
- What cannot be sent raises: struct.error for a number out of its field's range, ValueError or TypeError for the
  rest. The engine answers such a request with EIO and logs why.
- A name in a listing has 1 to 255 bytes and neither NUL nor slash: the kernel refuses the whole listing for one.
- Validity of ``FOREVER`` seconds or more is sent as ``FOREVER``: 136 years, which any kernel can count. (It clamps
  larger ones itself, by rules that differ between 32 and 64 bits.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Any

from rofuse_mount import wire
from rofuse_mount.records import Attr, Buffer, Entry, StatFS, Statx

FOREVER = 0xFFFFFFFF
NAME_MAX = 255
UNKNOWN_INO = 0xFFFFFFFF  # C libraries skip directory entries with inode number 0

STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800

NO_ENTRY = bytes(wire.ENTRY_OUT.size)  # nodeid 0: nothing is said of the name's inode

_NS = 1_000_000_000
_U64 = (1 << 64) - 1


def validity(timeout: float) -> tuple[int, int]:
    """Seconds and nanoseconds of a validity; 0 for what is not above 0."""
    if timeout >= FOREVER:
        return FOREVER, 0
    if not timeout > 0:
        return 0, 0
    seconds = int(timeout)
    return seconds, int((timeout - seconds) * _NS)


def _attr_values(attr: Attr) -> tuple[int, ...]:
    """The fields of wire.ATTR in order. Seconds before 1970 are two's complement in an unsigned field."""
    atime, atime_ns = divmod(attr.atime_ns, _NS)
    mtime, mtime_ns = divmod(attr.mtime_ns, _NS)
    ctime, ctime_ns = divmod(attr.ctime_ns, _NS)
    return (
        attr.ino,
        attr.size,
        (attr.size + 511) >> 9 if attr.blocks is None else attr.blocks,
        atime & _U64,
        mtime & _U64,
        ctime & _U64,
        atime_ns,
        mtime_ns,
        ctime_ns,
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.blksize,
        attr.flags,
    )


def pack_entry(entry: Entry, lasting: bool = False) -> bytes:
    """entry_out. ``lasting``: the attributes hold as long as the kernel keeps the inode, whatever the entry says."""
    entry_valid, entry_valid_ns = validity(entry.entry_timeout)
    if entry.ino == 0:
        return wire.ENTRY_OUT.pack(0, 0, entry_valid, 0, entry_valid_ns, *(0,) * 17)
    if entry.attr is None:
        raise ValueError(f"an entry of inode {entry.ino} without attributes")
    attr_valid, attr_valid_ns = validity(FOREVER if lasting else entry.attr_timeout)
    return wire.ENTRY_OUT.pack(
        entry.ino,
        entry.generation,
        entry_valid,
        attr_valid,
        entry_valid_ns,
        attr_valid_ns,
        *_attr_values(entry.attr),
    )


def pack_attr(attr: Attr, timeout: float = 1.0) -> bytes:
    """attr_out."""
    valid, valid_ns = validity(timeout)
    return wire.ATTR_OUT.pack(valid, valid_ns, 0, *_attr_values(attr))


def pack_statfs(statfs: StatFS) -> bytes:
    """statfs_out."""
    return wire.STATFS_OUT.pack(
        statfs.blocks,
        statfs.bfree,
        statfs.bavail,
        statfs.files,
        statfs.ffree,
        statfs.bsize,
        statfs.namelen,
        statfs.frsize,
        0,
    )


def pack_statx(statx: Statx) -> bytes:
    """statx_out."""
    attr = statx.attr
    valid, valid_ns = validity(statx.attr_timeout)
    return wire.STATX_OUT.pack(
        valid,
        valid_ns,
        0,
        STATX_BASIC_STATS if statx.btime_ns is None else STATX_BASIC_STATS | STATX_BTIME,
        attr.blksize,
        statx.attributes,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.mode,
        attr.ino,
        attr.size,
        (attr.size + 511) >> 9 if attr.blocks is None else attr.blocks,
        statx.attributes_mask,
        *divmod(attr.atime_ns, _NS),
        0,
        *divmod(statx.btime_ns or 0, _NS),
        0,
        *divmod(attr.ctime_ns, _NS),
        0,
        *divmod(attr.mtime_ns, _NS),
        0,
        attr.rdev >> 8 & 0xFFF,
        attr.rdev & 0xFF | attr.rdev >> 12 & 0xFFF00,
        0,
        0,
    )


def ready(result: object, layout: wire.Layout) -> bytes:
    """What should be wire-ready bytes of a structure, checked."""
    if not isinstance(result, bytes | bytearray | memoryview):
        raise TypeError(f"{result.__class__.__name__} where {layout.name} is due")
    data = bytes(result)
    if len(data) != layout.size:
        raise ValueError(f"{len(data)} bytes where {layout.name} is {layout.size}")
    return data


def encode_entry(result: Entry | Buffer, lasting: bool = False) -> bytes:
    """What ``Filesystem.lookup`` returned, as entry_out. Only an Entry is made ``lasting``."""
    return pack_entry(result, lasting) if isinstance(result, Entry) else ready(result, wire.ENTRY_OUT)


def encode_attr(result: Attr | tuple[Attr, float] | Buffer) -> bytes:
    """What ``Filesystem.getattr`` returned, as attr_out."""
    if isinstance(result, Attr):
        return pack_attr(result)
    return pack_attr(*result) if isinstance(result, tuple) else ready(result, wire.ATTR_OUT)


def encode_statfs(result: StatFS | Buffer) -> bytes:
    """What ``Filesystem.statfs`` returned, as statfs_out."""
    return pack_statfs(result) if isinstance(result, StatFS) else ready(result, wire.STATFS_OUT)


def encode_statx(result: Statx | Buffer) -> bytes:
    """What ``Filesystem.statx`` returned, as statx_out."""
    return pack_statx(result) if isinstance(result, Statx) else ready(result, wire.STATX_OUT)


@cache
def _dirent(padded: int) -> Callable[..., bytes]:
    return Struct(f"{wire.DIRENT.format}{padded}s").pack


@cache
def _direntplus(padded: int) -> Callable[..., bytes]:
    return Struct(f"{wire.DIRENTPLUS.format}{padded}s").pack


def dirent(length: int) -> Callable[..., bytes]:
    """Makes a whole dirent record whose name has ``length`` bytes: call it with wire.DIRENT's fields and the name."""
    return _dirent(wire.rec_align(length))


def direntplus(length: int) -> Callable[..., bytes]:
    """Makes a whole direntplus record whose name has ``length`` bytes: call it with wire.DIRENTPLUS's fields and the
    name."""
    return _direntplus(wire.rec_align(length))


def check_name(name: Any) -> bytes:
    """``name`` if a listing may show it, else ValueError."""
    if not isinstance(name, bytes) or not 0 < len(name) <= NAME_MAX or b"/" in name or b"\0" in name:
        raise ValueError(f"{name!r} is no name for a directory entry")
    return name


def check_offset(offset: int) -> int:
    """``offset`` if the kernel can come back to it, else ValueError. 0 is the beginning, where it would start over."""
    if not 0 < offset < 1 << 63:
        raise ValueError(f"{offset!r} is no offset for a directory entry")
    return offset
