"""Directory listings: entries packed until the kernel's buffer is full.

Strategy
``fill`` is the one loop: it takes entries and packs each by a function that says None when there is no room left. An
entry that did not fit is asked for again by its predecessor's offset, so nothing is kept between requests. The kinds
of listing differ in that function only: dirent or direntplus, as the filesystem gives it or made from the other.

Rules
- Each direntplus that reaches the kernel with a nodeid counts as a lookup, but those of ``.`` and ``..``. So nothing
  is looked up before there is room for it, and what a filesystem counted but the kernel does not see is forgotten.
- An iterable is closed when no more is taken from it.
- An error after the first entry ends the listing there: the kernel comes back for the rest and meets the error then.
- What was to go on after an offset and has that offset again is an error at once: who lists would never come to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from errno import EINVAL
from typing import TypeVar

from rofuse_mount import wire
from rofuse_mount.encoding import (
    NO_ENTRY,
    UNKNOWN_INO,
    check_name,
    check_offset,
    dirent,
    encode_entry,
)
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Attr, Buffer, Context, DirEntry, DirEntryPlus, Entry

T = TypeVar("T", DirEntry, DirEntryPlus)
Report = Callable[[str], None]

_DOTS = (b".", b"..")
_NODEID, _INO, _MODE = (wire.ENTRY_OUT.fields.index(name) for name in ("nodeid", "ino", "mode"))


class _BegunAnewError(ValueError):
    """The offset was not looked at, or is not the entry's alone."""


def fill(entries: Iterable[T], after: int, size: int, pack: Callable[[T, int], bytes | None]) -> bytes:
    """As many records as fit into ``size`` bytes, of the entries after an offset. ``pack`` is given an entry and the
    room that is left. Raises EINVAL where not even one fits."""
    records: list[bytes] = []
    room = size
    iterator = iter(entries)
    try:
        for entry in iterator:
            if entry.offset == after and after:
                raise _BegunAnewError(
                    f"what was asked for after offset {after} has an entry with that offset"
                )
            record = pack(entry, room)
            if record is None:
                if not records:
                    raise OSError(EINVAL, "no room for one directory entry")
                break
            records.append(record)
            room -= len(record)
    except Exception as error:
        if not records or isinstance(error, _BegunAnewError):
            raise
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    return b"".join(records)


def whole(data: Buffer, size: int) -> bytes:
    """A listing that the filesystem packed itself; it cannot be cut."""
    listing = bytes(data)
    if len(listing) > size:
        raise ValueError(f"a listing of {len(listing)} bytes where {size} were asked for")
    return listing


def _pack_dirent(ino: int, offset: int, type_: int, name: bytes, room: int) -> bytes | None:
    length = len(check_name(name))
    if wire.DIRENT.size + wire.rec_align(length) > room:
        return None
    return dirent(length)(ino or UNKNOWN_INO, check_offset(offset), length, type_, name)


def _pack_direntplus(entry: bytes, ino: int, offset: int, type_: int, name: bytes, room: int) -> bytes | None:
    record = _pack_dirent(ino, offset, type_, name, room - len(entry))
    return None if record is None else entry + record


def readdir(filesystem: Filesystem, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
    """READDIR from ``Filesystem.readdir``."""
    entries = filesystem.readdir(ctx, ino, fh, offset, size)
    if isinstance(entries, bytes | bytearray | memoryview):
        return whole(entries, size)
    return fill(entries, offset, size, lambda e, room: _pack_dirent(e.ino, e.offset, e.type, e.name, room))


def readdirplus(
    filesystem: Filesystem, ctx: Context, ino: int, fh: int, offset: int, size: int, lasting: bool
) -> bytes:
    """READDIRPLUS from ``Filesystem.readdirplus``. ``lasting`` as in ``encode_entry``."""
    entries = filesystem.readdirplus(ctx, ino, fh, offset, size)
    if isinstance(entries, bytes | bytearray | memoryview):
        return whole(entries, size)

    def pack(entry: DirEntryPlus, room: int) -> bytes | None:
        packed = encode_entry(entry.entry, lasting)
        values = wire.ENTRY_OUT.unpack(packed)
        inode = values[_INO] or values[_NODEID]
        record = _pack_direntplus(packed, inode, entry.offset, values[_MODE] >> 12 & 15, entry.name, room)
        if record is None:
            _forget(filesystem, ctx, values[_NODEID], entry.name)
        return record

    return fill(entries, offset, size, pack)


def readdirplus_by_lookup(
    filesystem: Filesystem,
    ctx: Context,
    ino: int,
    fh: int,
    offset: int,
    size: int,
    lasting: bool,
    report: Report,
) -> bytes:
    """READDIRPLUS from ``readdir`` and ``lookup``. A name whose lookup fails is listed without an inode: the kernel
    looks it up itself when it is used, and that is answered with the error."""
    entries = filesystem.readdir(ctx, ino, fh, offset, size)
    if isinstance(entries, bytes | bytearray | memoryview):
        entries = _dirents(whole(entries, size))

    def pack(entry: DirEntry, room: int) -> bytes | None:
        record = _pack_dirent(entry.ino, entry.offset, entry.type, entry.name, room - wire.ENTRY_OUT.size)
        if record is None or entry.name in _DOTS:
            return record and NO_ENTRY + record
        found = NO_ENTRY
        try:
            found = encode_entry(filesystem.lookup(ctx, ino, entry.name), lasting)
        except OSError:
            pass
        except Exception:
            report(f"lookup of {entry.name!r} in inode {ino} for a listing")
        return found + record

    return fill(entries, offset, size, pack)


def looked_up(
    filesystem: Filesystem, ctx: Context, ino: int, entries: Iterable[DirEntry] | Buffer, size: int
) -> Iterator[DirEntryPlus]:
    """What ``readdir`` gave, each name looked up when it is taken; one whose lookup fails has no inode."""
    if isinstance(entries, bytes | bytearray | memoryview):
        entries = _dirents(whole(entries, size))
    for entry in entries:
        found: Entry | Buffer = Entry()
        if entry.name in _DOTS:
            found = Entry(entry.ino, Attr(entry.ino, entry.type << 12))
        else:
            try:
                found = filesystem.lookup(ctx, ino, entry.name)
            except OSError:
                pass
        yield DirEntryPlus(found, entry.offset, entry.name)


def readdir_without_plus(
    filesystem: Filesystem, ctx: Context, ino: int, fh: int, offset: int, size: int
) -> bytes:
    """READDIR from ``Filesystem.readdirplus``; the kernel counts no lookups here."""
    entries = filesystem.readdirplus(ctx, ino, fh, offset, size)
    if isinstance(entries, bytes | bytearray | memoryview):
        entries = _direntsplus(whole(entries, size))

    def pack(entry: DirEntryPlus, room: int) -> bytes | None:
        values = wire.ENTRY_OUT.unpack(encode_entry(entry.entry))
        _forget(filesystem, ctx, values[_NODEID], entry.name)
        inode = values[_INO] or values[_NODEID]
        return _pack_dirent(inode, entry.offset, values[_MODE] >> 12 & 15, entry.name, room)

    return fill(entries, offset, size, pack)


def _forget(filesystem: Filesystem, ctx: Context, nodeid: int, name: bytes) -> None:
    if nodeid and name not in _DOTS:
        filesystem.forget(ctx, nodeid, 1)


def _dirents(listing: bytes) -> Iterable[DirEntry]:
    """The records of a listing that the filesystem packed."""
    position = 0
    while position < len(listing):
        ino, offset, length, type_ = wire.DIRENT.unpack_from(listing, position)
        position += wire.DIRENT.size
        yield DirEntry(ino, offset, type_, listing[position : position + length])
        position += wire.rec_align(length)


def _direntsplus(listing: bytes) -> Iterable[DirEntryPlus]:
    position = 0
    while position < len(listing):
        entry: Entry | Buffer = listing[position : position + wire.ENTRY_OUT.size]
        position += wire.ENTRY_OUT.size
        _, offset, length, _ = wire.DIRENT.unpack_from(listing, position)
        position += wire.DIRENT.size
        yield DirEntryPlus(entry, offset, listing[position : position + length])
        position += wire.rec_align(length)
