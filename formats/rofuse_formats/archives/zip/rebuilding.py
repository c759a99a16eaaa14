"""An archive without its central directory: its members by their local headers, front to back.

Strategy
Behind a member whose packed size its header says comes the next header. Where the size stands behind the data, in a
descriptor, that is searched: it is where the distance from the data is the size that it tells. Where no header is, the
next one is searched.

Rules
- A header counts only when everything in it is possible: a version, a method and flags that exist, a name.
- What only the central directory knows is lost: permissions, types, which of two members with one name is meant.
- A member that the archive does not hold to its end is shown as its header has it; with no size, it is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct

from rofuse_formats.archives.zip import local, records
from rofuse_formats.archives.zip.describing import Describer, Entry
from rofuse_formats.archives.zip.extra import Facts, widened
from rofuse_formats.archives.zip.local import Local
from rofuse_formats.archives.zip.names import Names
from rofuse_formats.entry import Builder
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

_WINDOW = 1 << 20
_NEWEST_VERSION = 63  # APPNOTE 6.3
_POSSIBLE_FLAGS = 0x2FFF
_LONGEST_NAME = 4096
_DIRECTORIES = (records.CENTRAL, records.END, records.END64)

# A descriptor: crc, packed size, size; with or without its signature, and with zip64 or not.
_DESCRIPTORS = (
    (records.DESCRIPTOR, Struct("<4xIII")),
    (records.DESCRIPTOR, Struct("<4xIQQ")),
    (b"", Struct("<III")),
    (b"", Struct("<IQQ")),
)


def rebuild(
    source: Source, builder: Builder, encoding: str | None, known: Mapping[int, bytes] | None = None
) -> None:
    """Describes the members that are not ``known``, by place or by name. Raises DamagedError when there are none and
    none is known."""
    names = Names(encoding, lambda: _unmarked_names(source))
    describer = Describer(source, builder, names, 0)
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
            builder.skipped(describer.path(entry, Facts(entry.extra)), "the archive is cut in its data")
        else:
            describer.describe(entry)
    if not count and known is None:
        raise DamagedError("has no central directory, and no member that could be found without it", 0)
    describer.finish()


def members(source: Source) -> Iterator[tuple[Entry, str]]:
    """The members, each with what is wrong before it."""
    position, problem = 0, ""
    while (found := _header(source, position)) is not None:
        sizes = _sizes(source, found)
        crc, packed, size = sizes or (0, 0, -1)
        yield _entry(found, position, crc, packed, size), problem
        problem = ""
        following = found.data + packed if sizes else source.size
        if source.pread(4, following) == records.DESCRIPTOR and following < source.size:
            following = _behind_descriptor(source, following, packed)
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
        for signature, fields in _DESCRIPTORS:
            at = place if signature else place - fields.size
            if at < data:
                continue
            record = source.pread(fields.size, at)
            if len(record) == fields.size and record.startswith(signature):
                crc, packed, size = fields.unpack(record)
                if packed == at - data and not size >> 62:
                    return crc, packed, size
    return None


def _behind_descriptor(source: Source, at: int, packed: int) -> int:
    """Where the descriptor at ``at`` ends: it may be of either width."""
    for signature, fields in _DESCRIPTORS[:2]:
        record = source.pread(fields.size, at)
        if len(record) == fields.size and record.startswith(signature) and fields.unpack(record)[1] == packed:
            return at + fields.size
    return at


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
    while position < source.size:
        window = source.pread(_WINDOW, position)
        at = -1
        while (at := window.find(b"PK", at + 1)) >= 0:
            if window[at + 2 : at + 4] in _SECOND_HALVES:
                yield position + at
        if len(window) < _WINDOW:
            return
        position += len(window) - 3  # a signature may lie across


_SECOND_HALVES = {b"\1\2", b"\3\4", b"\5\6", b"\6\6", b"\7\10"}


def _unmarked_names(source: Source) -> Iterator[bytes]:
    return (entry.name for entry, _problem in members(source) if not entry.flags & records.UTF8)
