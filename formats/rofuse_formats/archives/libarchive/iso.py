"""Where the files of an ISO 9660 image lie (ECMA-119): libarchive says it by the way, and the directories confirm it.

Strategy
All directories are read that the primary and the supplementary (Joliet) volume descriptors lead to. A file that one
record describes as a whole lies in the image as it is, unless it is compressed (zisofs); then its first bytes say so.

Rules
- A place is certain where a record has it together with this size. What is in several sections is not looked for
  here.
- No directory is read twice, and no more of them than ``MOST`` bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from rofuse_formats.archives.libarchive.magic import ISO_AT
from rofuse_formats.limits import MIB

MOST = 256 * MIB
ZISOFS = b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07"
_SECTOR = 2048
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_DIRECTORY, _MORE = 2, 0x80  # file flags
_RECORD = struct.Struct("<BBI4xI4x7xBBB")  # up to the interleave gap, numbers in their little-endian half
_MOST_DESCRIPTORS = 32

Pread = Callable[[int, int], bytes]


def files(pread: Pread) -> set[tuple[int, int]]:
    """(offset, size) of each file that is in one section, wherever its record stands."""
    found: set[tuple[int, int]] = set()
    seen: set[int] = set()
    waiting: list[tuple[int, int, int]] = []
    for number in range(_MOST_DESCRIPTORS):
        sector = pread(_SECTOR, ISO_AT + number * _SECTOR)
        if len(sector) < _SECTOR or sector[1:6] != b"CD001" or sector[0] == _TERMINATOR:
            break
        if sector[0] in (_PRIMARY, _SUPPLEMENTARY):
            block = int.from_bytes(sector[128:130], "little")
            if block in (512, 1024, 2048):
                root = _RECORD.unpack_from(sector, 156)
                waiting.append((root[2], root[3], block))
    budget = MOST
    while waiting and budget > 0:
        place, size, block = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        data = pread(min(size, budget), place * block)
        budget -= len(data) + 1
        _read_directory(data, block, found, waiting)
    return found


def _read_directory(
    data: bytes, block: int, found: set[tuple[int, int]], waiting: list[tuple[int, int, int]]
) -> None:
    at, in_sections = 0, False
    while at + 33 < len(data):
        length, _extended, place, size, flags, unit, gap = _RECORD.unpack_from(data, at)
        if length < 34 or at + length > len(data):
            at += _SECTOR - at % _SECTOR  # no record crosses a sector
            continue
        name = data[at + 33 : at + 34]
        if flags & _DIRECTORY:
            if name not in (b"\0", b"\1") or data[at + 32] != 1:
                waiting.append((place, size, block))
        elif not (in_sections or flags & _MORE or unit or gap or _extended):
            found.add((place * block, size))
        in_sections = bool(flags & _MORE)
        at += length
