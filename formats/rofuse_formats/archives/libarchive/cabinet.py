"""Which files of a cabinet are compressed together (Microsoft Cabinet Format): libarchive reads it and does not
tell."""

from __future__ import annotations

import struct
from collections.abc import Callable

_HEADER = struct.Struct("<4s4xI4xI4xBBHHHHH")
_FILE = struct.Struct("<IIHHHH")
_LONGEST_NAME = 256
_WINDOW = 1 << 16
_MOST_FOLDER = 0xFFFC  # what is above spans cabinets

Pread = Callable[[int, int], bytes]


def folders(pread: Pread) -> list[tuple[int, int]] | None:
    """(folder, size) of each file in the order of the cabinet; None where that cannot be told."""
    head = pread(_HEADER.size, 0)
    if len(head) < _HEADER.size:
        return None
    _magic, _size, at, _minor, _major, _folders, count, _flags, _set, _number = _HEADER.unpack(head)
    found: list[tuple[int, int]] = []
    window, base = b"", at
    for _ in range(count):
        if at + _FILE.size + _LONGEST_NAME > base + len(window):
            window, base = pread(_WINDOW, at), at
        start = at - base
        end = window.find(b"\0", start + _FILE.size)
        if end < 0:
            return None
        size, _offset, folder, *_rest = _FILE.unpack_from(window, start)
        if folder > _MOST_FOLDER:
            return None
        found.append((folder, size))
        at = base + end + 1
    return found
