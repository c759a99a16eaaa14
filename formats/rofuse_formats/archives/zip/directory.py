"""Where the central directory is.

Strategy
The end record is searched backwards from the end of the file: behind it may stand its comment, and behind that garbage.
A comment may hold what looks like an end record. So the last one counts from which there is a way to a central
directory: just before the end record (something may have been put before the archive, and the offsets all be too low by
its length), or else where its offset says.

Rules
- A directory without entries is believed only where nothing else is found.
- Of a zip64 end record all fields count, if it leads to a directory; else those of the plain one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rofuse_formats.archives.zip.records import (
    CENTRAL,
    CENTRAL_HEADER,
    END,
    END64,
    END64_RECORD,
    END_RECORD,
    LOCATOR64,
    LOCATOR64_RECORD,
    LONGEST_COMMENT,
    MAX16,
    MAX32,
)
from rofuse_formats.errors import UnsupportedError
from rofuse_formats.source import Source

TAIL = END_RECORD.size + LONGEST_COMMENT
_LONG_TAIL = 1 << 20  # where garbage follows the archive
_FAR = 1 << 62


class Directory(NamedTuple):
    """A central directory: bytes [start, end) of the source."""

    start: int
    end: int
    before: int
    """Bytes before the archive, by which all its offsets are too low."""
    entries: int
    """As the end record has it; perhaps the remainder by 65,536."""
    behind: int
    """Bytes of garbage behind the archive."""


class _Claim(NamedTuple):
    """What an end record says."""

    at: int
    """Where the directory ends, if nothing lies between."""
    disk: int
    entries: int
    size: int
    offset: int


def find(source: Source) -> Directory | None:
    """The central directory; None where no end record leads to one. Raises UnsupportedError for a part of a split
    archive."""
    empty = None
    for size in sorted({min(TAIL, source.size), min(_LONG_TAIL, source.size)}):
        base = source.size - size
        tail = source.pread(size, base)
        for at in ends(tail):
            fields = END_RECORD.unpack_from(tail, at)
            behind = size - at - END_RECORD.size - fields[-1]
            for claim in _claims(source, base + at, fields):
                found = _follow(source, claim, behind)
                if found is not None and claim.disk:
                    raise UnsupportedError("is the last part of a split archive; join its parts first")
                if found is not None and found.start < found.end:
                    return found
                empty = empty or found
    return empty


def ends(tail: bytes) -> Iterator[int]:
    """Where an end record may be in what a file ends with, the last first: its comment lies within the file."""
    at = len(tail)
    while (at := tail.rfind(END, 0, at + len(END) - 1)) >= 0:
        if at + END_RECORD.size <= len(tail):
            comment = END_RECORD.unpack_from(tail, at)[-1]
            if at + END_RECORD.size + comment <= len(tail):
                yield at


def _claims(
    source: Source, at: int, fields: tuple[bytes, int, int, int, int, int, int, int]
) -> Iterator[_Claim]:
    """What the end record at ``at`` says: by zip64 first."""
    yield from _claims64(source, at)
    _signature, disk, _start, _here, entries, size, offset, _comment = fields
    yield _Claim(at, disk if disk != MAX16 else 0, entries, size, offset)


def _claims64(source: Source, end: int) -> Iterator[_Claim]:
    at = end - LOCATOR64_RECORD.size
    if at < 0:
        return
    signature, _disk, offset, _disks = LOCATOR64_RECORD.unpack(source.pread(LOCATOR64_RECORD.size, at))
    if signature != LOCATOR64:
        return
    for place in (offset, at - END64_RECORD.size):  # the second: where something was put before the archive
        if not 0 <= place <= at - END64_RECORD.size:
            continue
        signature, size, _made, _needed, disk, _start, _here, entries, length, first = END64_RECORD.unpack(
            source.pread(END64_RECORD.size, place)
        )
        if signature == END64 and place + 12 + size <= at:
            yield _Claim(place, disk if disk != MAX32 else 0, entries, length, first)


def _follow(source: Source, claim: _Claim, behind: int) -> Directory | None:
    """The directory that a claim leads to."""
    for start in dict.fromkeys((claim.at - claim.size, claim.offset)):
        before = start - claim.offset
        if not 0 <= start <= claim.at or before < 0 or claim.offset >= _FAR:
            continue
        if not claim.entries and not claim.size:
            return Directory(start, start, before, 0, behind)
        if claim.at - start >= CENTRAL_HEADER.size and source.pread(4, start) == CENTRAL:
            return Directory(start, claim.at, before, claim.entries, behind)
    return None
