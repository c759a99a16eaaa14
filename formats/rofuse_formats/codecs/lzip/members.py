"""Finding the members of a source.

Strategy
Every member ends with a trailer that says how long it is, so a source is first gone through from its end. Where that
fails at some place (the file is cut, a trailer is damaged, something follows) the members before it are looked for from
the front: a header is one only if the trailer before it says that its member began where the last one did. What is left
is a member of unknown size: decoding tells where it ends, and what follows.

Rules
- Memory: 8 bytes a member, for ``MOST_MEMBERS`` at most; a source of more is searched from the front.
- No decoded size is believed that the member's bytes cannot hold.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

MAGIC = b"LZIP"
HEADER = 6  # bytes: magic, version, dictionary size
TRAILER = 20
LEAST_MEMBER = HEADER + TRAILER + 10  # an end marker takes so much
MOST_RATIO = 8192
"""Decoded bytes of one compressed byte, at most: LZMA's longest match, 273 bytes, takes 0.3 bits at least."""
USUAL_RATIO = 8
"""For an estimate where nothing is known."""
MOST_MEMBERS = 1 << 20

_VERSION = 1
_DICTIONARIES = range(1 << 12, (1 << 29) + 1)
_TRAILER = Struct("<IQQ")
_PIECE = 1 << 20


class Trailer(NamedTuple):
    checksum: int
    """CRC-32 of what was compressed."""
    size: int
    """Decoded bytes."""
    length: int
    """Bytes of the member, header and trailer included."""


def dictionary(header: bytes) -> int:
    """Dictionary size that a member's header gives; 0 if it is none."""
    if len(header) < HEADER or not header.startswith(MAGIC) or header[4] != _VERSION:
        return 0
    base = 1 << (header[5] & 31)
    size = base - (base >> 4) * (header[5] >> 5)
    return size if size in _DICTIONARIES else 0


def could_start(head: bytes) -> bool:
    """Whether a member may begin with ``head``."""
    return bool(dictionary(head[:HEADER]))


def trailer(source: Source, end: int) -> Trailer | None:
    """The trailer of a member that may end at ``end``; None if there is no room for one."""
    data = source.pread(TRAILER, end - TRAILER) if end >= LEAST_MEMBER else b""
    return Trailer._make(_TRAILER.unpack(data)) if len(data) == TRAILER else None


def units(source: Source, findings: Findings) -> Iterator[Unit]:
    """All members; see ``Kind.units``."""
    starts = array("Q")
    end = _from_the_end(source, starts)
    position = 0
    for start in _from_the_front(source, end):
        yield _member(source, position, start)
        position = start
    if position < end:
        yield _member(source, position, end)
    for number in range(len(starts) - 1, -1, -1):
        yield _member(source, starts[number], starts[number - 1] if number else source.size)


def _from_the_end(source: Source, starts: array[int]) -> int:
    """Collects the start of every member that can be found from the end, last first; returns the last of these."""
    position = source.size
    while position and len(starts) < MOST_MEMBERS:
        start = _start(source, position)
        if start is None or not (_has_header(source, start) or _ends_member(source, start)):
            break
        position = start
        starts.append(position)
    return position


def _start(source: Source, end: int) -> int | None:
    """Where the member starts that ends at ``end``, by its trailer; None if that cannot be."""
    found = trailer(source, end)
    return end - found.length if found and LEAST_MEMBER <= found.length <= end else None


def _has_header(source: Source, start: int) -> bool:
    return bool(dictionary(source.pread(HEADER, start)))


def _ends_member(source: Source, end: int) -> bool:
    """Whether a whole member ends at ``end``: then what follows is one, even if its header is damaged."""
    start = _start(source, end)
    return start is not None and _has_header(source, start)


def _from_the_front(source: Source, end: int) -> Iterator[int]:
    """Where the second member starts, and the third, and so on, up to ``end``."""
    member, position, start = 0, LEAST_MEMBER, MAGIC + bytes((_VERSION,))
    while position <= end:
        data = source.pread(min(_PIECE, end - position) + HEADER, position)
        at = data.find(start)
        while at >= 0:
            found = trailer(source, position + at)
            if found and found.length == position + at - member and dictionary(data[at : at + HEADER]):
                member = position + at
                yield member
            at = data.find(start, at + 1)
        if len(data) <= HEADER:
            break
        position += len(data) - HEADER + 1


def _member(source: Source, start: int, end: int) -> Unit:
    """The member from ``start`` to ``end``, of unknown size where there is no trailer before ``end``."""
    place = Place(start, end - start)
    found = trailer(source, end)
    if found and found.length == place.length and found.size <= place.length * MOST_RATIO:
        return Unit(place, found.size, joined=start > 0)
    return Unit(place, place.length * USUAL_RATIO, exact=False, joined=start > 0)
