"""An archive without its central directory: its members by their local headers, front to back.

Strategy
Behind a member whose packed size its header says comes the next header. Where the size stands behind the data, in a
descriptor, that is searched: it is where the distance from the data is the size that it tells. Where no header is, the
next one is searched.

Rules
- A header counts only when everything in it is possible: a version, a method and flags that exist, a name.
- What only the central directory knows is lost: permissions, types, which of two members with one name is meant.
- A member that the archive does not hold to its end is shown as its header has it; with no size, it is not shown.
- The search is given up when far more was read than there is: descriptors that fit nothing would keep it going.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import NamedTuple

from rofuse_formats.archives.zip import local, records
from rofuse_formats.archives.zip.describing import Describer, Entry
from rofuse_formats.archives.zip.extra import Facts, widened
from rofuse_formats.archives.zip.local import Local
from rofuse_formats.archives.zip.names import Names
from rofuse_formats.entry import Builder, ScanOptions
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

_FIRST_WINDOW, _LARGEST_WINDOW = 1 << 12, 1 << 20
_READ_COSTS = 256  # as many bytes as a read takes time, whatever its size
_PATIENCE, _TIMES = 64 * MIB, 100  # bytes that may be read: so many, and that many times the archive's size
_NEWEST_VERSION = 63  # APPNOTE 6.3
_POSSIBLE_FLAGS = 0x2FFF
_LONGEST_NAME = 4096
_DIRECTORIES = (records.CENTRAL, records.END, records.END64)

# A descriptor: crc, packed size, size; with or without its signature, of zip64 or not. That of zip64 first: read as one
# without it looks right, too.
_DESCRIPTORS = (
    (records.DESCRIPTOR, Struct("<4xIQQ")),
    (records.DESCRIPTOR, Struct("<4xIII")),
    (b"", Struct("<IQQ")),
    (b"", Struct("<III")),
)


class _GivenUp(Exception):
    """More was read than the search is worth."""


class _Metered:
    """A Source whose reads are counted."""

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self._source, self._left = source, _PATIENCE + _TIMES * source.size

    def pread(self, size: int, offset: int, /) -> bytes:
        self._left -= size + _READ_COSTS
        if self._left < 0:
            raise _GivenUp
        return self._source.pread(size, offset)


class _Described(NamedTuple):
    """What a descriptor says, and where it ends."""

    crc: int
    packed: int
    size: int
    end: int


def rebuild(
    source: Source, builder: Builder, options: ScanOptions, known: Mapping[int | None, bytes] | None = None
) -> None:
    """Describes the members that are not ``known``, by place or by name. Raises DamagedError when there are none and
    none is known."""
    names = Names(options.encoding, lambda: _unmarked_names(source))
    describer = Describer(source, builder, names, (0,), options)
    known_names = set(known.values()) if known else set()
    count = 0
    for entry, problem in members(source):
        if problem:
            builder.damaged(problem, entry.at)
        if known is not None and (entry.at in known or entry.name in known_names):
            continue
        if not count and known is None:
            builder.damaged("has no central directory: members are shown by their own headers", source.size)
        count += 1
        if entry.size < 0:
            builder.skipped(describer.path(entry, Facts(entry.extra)), "its size cannot be told")
        else:
            describer.describe(entry)
    if not count and known is None:
        raise DamagedError("has no central directory, and no member that could be found without it", 0)
    describer.finish()


def members(source: Source) -> Iterator[tuple[Entry, str]]:
    """The members, each with what is wrong before it."""
    try:
        yield from _members(_Metered(source))
    except _GivenUp:
        return  # those that were found are enough to say that it is damaged


def _members(source: Source) -> Iterator[tuple[Entry, str]]:
    position, problem = 0, ""
    while (found := _header(source, position)) is not None:
        sizes = _sizes(source, found)
        crc, packed, size = sizes or (0, 0, -1)
        yield _entry(found, position, crc, packed, size), problem
        problem = ""
        following = found.data + packed if sizes else source.size
        described = _descriptor_at(source, following, found.data) if sizes else None
        following = described.end if described else following
        signature = source.pread(4, following) if following < source.size else b""
        if signature in _DIRECTORIES:
            return
        if signature != records.LOCAL:
            following = _next_header(source, found.data)
            problem = f"no member's header is where the one before ends; the next is at byte {following}"
        position = following


def _header(source: Source, position: int) -> Local | None:
    """The header at ``position``; None where the archive ends."""
    if position == 0 and source.pread(4, 0) != records.LOCAL:
        position = _next_header(source, 0)
    try:
        return local.read(source, position) if position < source.size else None
    except DamagedError:  # the last one, and cut
        return None


def _entry(found: Local, position: int, crc: int, packed: int, size: int) -> Entry:
    system = records.FAT if b"/" not in found.name and b"\\" in found.name else records.UNIX
    return Entry(
        found.name,
        system,
        found.flags,
        found.method,
        found.stamp,
        crc,
        packed,
        size,
        found.extra,
        0,
        0,
        position,
    )


def _sizes(source: Source, found: Local) -> tuple[int, int, int] | None:
    """crc, packed size, size; None where the archive does not say them."""
    wide = widened(Facts(found.extra).zip64, found.size, found.packed)
    if wide is None:
        return None
    size, packed = wide
    if found.flags & records.DESCRIBED and not packed:
        return _described(source, found.data)
    return found.crc, packed, size


def _described(source: Source, data: int) -> tuple[int, int, int] | None:
    """What the descriptor behind data that begins at ``data`` says."""
    for place in _signatures(source, data):
        found = _descriptor_at(source, place, data) or _descriptor_before(source, place, data)
        if found:
            return found[:3]
    return None


def _descriptor_at(source: Source, at: int, data: int) -> _Described | None:
    """The descriptor with a signature at ``at`` that is of data from ``data`` on. It ends at another record, or else
    is taken for the shorter kind."""
    found = None
    for signature, fields in _DESCRIPTORS[:2]:
        found = _descriptor(source, at, data, signature, fields)
        if found and _is_record(source, found.end):
            break
    return found


def _descriptor_before(source: Source, end: int, data: int) -> _Described | None:
    """The same without a signature, before the record at ``end``."""
    kinds = (_descriptor(source, end - kind[1].size, data, *kind) for kind in _DESCRIPTORS[2:])
    return next(filter(None, kinds), None)


def _descriptor(source: Source, at: int, data: int, signature: bytes, fields: Struct) -> _Described | None:
    record = source.pread(fields.size, at) if at >= data else b""
    if len(record) != fields.size or not record.startswith(signature):
        return None
    crc, packed, size = fields.unpack(record)
    return _Described(crc, packed, size, at + fields.size) if packed == at - data and not size >> 62 else None


def _is_record(source: Source, at: int) -> bool:
    signature = source.pread(4, at)
    return not signature or (signature.startswith(b"PK") and signature[2:] in _SECOND_HALVES)


def _next_header(source: Source, position: int) -> int:
    """Where the next header is; the source's size where none is."""
    return next((at for at in _signatures(source, position) if _plausible(source, at)), source.size)


def _plausible(source: Source, at: int) -> bool:
    head = source.pread(records.LOCAL_HEADER.size, at)
    if len(head) < records.LOCAL_HEADER.size:
        return False
    fields: tuple[bytes, int, int, int, int, int, int, int, int, int] = records.LOCAL_HEADER.unpack(head)
    signature, needed, flags, method, _stamp, _crc, _packed, _size, name, _extra = fields
    return (
        signature == records.LOCAL
        and needed & 0xFF <= _NEWEST_VERSION
        and flags & _POSSIBLE_FLAGS == flags
        and method < 100
        and 0 < name <= _LONGEST_NAME
    )


def _signatures(source: Source, position: int) -> Iterator[int]:
    """Where signatures of records are, from ``position`` on."""
    size = _FIRST_WINDOW
    while position < source.size:
        window = source.pread(size, position)
        at = -1
        while (at := window.find(b"PK", at + 1)) >= 0:
            if window[at + 2 : at + 4] in _SECOND_HALVES:
                yield position + at
        if len(window) < size:
            return
        position += len(window) - 3  # a signature may lie across
        size = min(4 * size, _LARGEST_WINDOW)


_SECOND_HALVES = frozenset((b"\1\2", b"\3\4", b"\5\6", b"\6\6", b"\7\10"))


def _unmarked_names(source: Source) -> Iterator[bytes]:
    return (entry.name for entry, _problem in members(source) if not entry.flags & records.UTF8)
