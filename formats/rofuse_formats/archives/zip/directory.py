"""Where the central directory is.

Strategy
The end record is searched backwards from the end of the file: behind it may stand its comment, and behind that garbage.
A comment may hold what looks like an end record. So the last one counts from which there is a way to a central
directory: just before the end record (something may have been put before the archive, and the offsets all be too low by
its length), or else where its offset says.

Rules
- A directory without entries is believed only where nothing else is found.
- Of a zip64 end record all fields count, if it leads to a directory; else those of the plain one.
- In an archive that was split, an offset counts from the beginning of its disk. Only where all disks are joined, as
  many as the end record says, is there a way to anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from rofuse_formats.source import Source, starts_of

TAIL = END_RECORD.size + LONGEST_COMMENT
_LONG_TAIL = 1 << 20  # where garbage follows the archive
_FAR = 1 << 62


class Directory(NamedTuple):
    """A central directory: bytes [start, end) of the source."""

    start: int
    end: int
    disks: Sequence[int]
    """Where in the source the disks begin of an archive that was split; else how many bytes are before the archive, by
    which all its offsets are too low."""
    entries: int
    """As the end record has it; perhaps the remainder by 65,536."""
    behind: int
    """Bytes of garbage behind the archive."""


class _Claim(NamedTuple):
    """What an end record says."""

    at: int
    """Where the directory ends, if nothing lies between."""
    disk: int
    """The last, counted from 0."""
    first_disk: int
    """On which the directory begins."""
    entries: int
    size: int
    offset: int


def place(disks: Sequence[int], offset: int, disk: int) -> int | None:
    """Where in the source an offset on a disk is; None for a disk that there is not. What was never split has one,
    whatever number it is given."""
    if len(disks) == 1:
        disk = 0
    return disks[disk] + offset if disk < len(disks) else None


def find(source: Source) -> Directory | None:
    """The central directory; None where no end record leads to one. Raises UnsupportedError for a part of a split
    archive."""
    empty = None
    for claim, behind in _all_claims(source, (TAIL, _LONG_TAIL)):
        found = _follow(source, claim, behind)
        if found is not None and claim.disk and len(found.disks) == 1:
            raise UnsupportedError("is the last part of a split archive, whose other parts are not beside it")
        if found is not None and found.start < found.end:
            return found
        empty = empty or found
    return empty


def disks_before(source: Source) -> int:
    """How many disks a split archive has before the one that ``source`` is; 0 where it is none, or not the last."""
    for claim, behind in _all_claims(source, (END_RECORD.size, TAIL)):
        if claim.disk and not behind:
            return claim.disk
        if not claim.disk and _follow(source, claim, behind) is not None:
            return 0
    return 0


def _all_claims(source: Source, tails: tuple[int, ...]) -> Iterator[tuple[_Claim, int]]:
    """What every end record says in what the source ends with, the last first, and how many bytes are behind it; of
    each of these sizes, as long as more is asked for."""
    for size in sorted({min(size, source.size) for size in tails}):
        base = source.size - size
        tail = source.pread(size, base)
        for at in ends(tail):
            fields = END_RECORD.unpack_from(tail, at)
            behind = size - at - END_RECORD.size - fields[-1]
            for claim in _claims(source, base + at, fields):
                yield claim, behind


def ends(tail: bytes) -> Iterator[int]:
    """Where an end record may be in what a file ends with, the last first: its comment lies within the file."""
    at = len(tail)
    while (at := tail.rfind(END, 0, at + len(END) - 1)) >= 0:
        if at + END_RECORD.size <= len(tail):
            comment = END_RECORD.unpack_from(tail, at)[-1]
            if at + END_RECORD.size + comment <= len(tail):
                yield at


def is_end(tail: bytes, at: int) -> bool:
    """Whether an end record stands where an archive ends, as far as what a file ends with can say."""
    _signature, _disk, _start, _here, entries, size, _offset, comment = END_RECORD.unpack_from(tail, at)
    if at + END_RECORD.size + comment == len(tail):
        return True
    start = at - size
    return entries > 0 and size >= CENTRAL_HEADER.size and start >= 0 and tail.startswith(CENTRAL, start)


def _claims(
    source: Source, at: int, fields: tuple[bytes, int, int, int, int, int, int, int]
) -> Iterator[_Claim]:
    """What the end record at ``at`` says: by zip64 first."""
    yield from _claims64(source, at)
    _signature, disk, start, _here, entries, size, offset, _comment = fields
    yield _Claim(at, disk if disk != MAX16 else 0, start if start != MAX16 else 0, entries, size, offset)


def _claims64(source: Source, end: int) -> Iterator[_Claim]:
    at = end - LOCATOR64_RECORD.size
    if at < 0:
        return
    record = source.pread(LOCATOR64_RECORD.size, at)
    if len(record) < LOCATOR64_RECORD.size or not record.startswith(LOCATOR64):
        return
    _signature, disk, offset, _disks = LOCATOR64_RECORD.unpack(record)
    # The second: where something was put before the archive.
    for found in (place(starts_of(source), offset, disk), at - END64_RECORD.size):
        if found is None or not 0 <= found <= at - END64_RECORD.size:
            continue
        signature, size, _made, _needed, disk, start, _here, entries, length, first = END64_RECORD.unpack(
            source.pread(END64_RECORD.size, found)
        )
        if signature == END64 and found + 12 + size <= at:
            last = disk if disk != MAX32 else 0
            yield _Claim(found, last, start if start != MAX32 else 0, entries, length, first)


def _follow(source: Source, claim: _Claim, behind: int) -> Directory | None:
    """The directory that a claim leads to."""
    disks = starts_of(source)
    if claim.disk and claim.disk + 1 == len(disks):
        return _follow_split(source, claim, behind, disks)
    for start in dict.fromkeys((claim.at - claim.size, claim.offset)):
        before = start - claim.offset
        if not 0 <= start <= claim.at or before < 0 or claim.offset >= _FAR:
            continue
        if not claim.entries and not claim.size:
            return Directory(start, start, (before,), 0, behind)
        if _is_directory(source, start, claim.at):
            return Directory(start, claim.at, (before,), claim.entries, behind)
    return None


def _follow_split(source: Source, claim: _Claim, behind: int, disks: Sequence[int]) -> Directory | None:
    start = place(disks, claim.offset, claim.first_disk)
    if start is None or start > claim.at:
        return None
    if not claim.entries and not claim.size:
        return Directory(start, start, disks, 0, behind)
    found = _is_directory(source, start, claim.at)
    return Directory(start, claim.at, disks, claim.entries, behind) if found else None


def _is_directory(source: Source, start: int, end: int) -> bool:
    return end - start >= CENTRAL_HEADER.size and source.pread(4, start) == CENTRAL
