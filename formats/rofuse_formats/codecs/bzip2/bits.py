"""Bits of a bzip2 file, and the marks among them.

A block begins with a mark of 48 bits, the digits of pi, and so does the end of a stream, with those of its square
root. Neither is aligned to bytes; only stream headers are. Offsets of bits count from the most significant bit of the
source's first byte.

Rules
- A mark that is found by searching is a guess: the same bits may be anywhere in a block. Who trusts one has decoded
  what is before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rofuse_formats.errors import TruncatedError
from rofuse_formats.source import Source

BLOCK, END = 0x314159265359, 0x177245385090
MARK = 48
CHECKSUM = 32
HEADER = re.compile(rb"BZh[1-9]")
HEADER_SIZE = 4
PIECE = 256 << 10  # bytes searched at once: the search holds the GIL

# Of a mark that begins within a byte, the bytes that it fills; those of one that begins with a byte, but for the last.
_FILLED = {
    (mark << 8 - shift).to_bytes(7, "big")[bool(shift) :][:5]: (mark, shift)
    for mark in (BLOCK, END)
    for shift in range(8)
}
_SEARCH = re.compile(b"|".join(map(re.escape, _FILLED)), re.DOTALL)


def recognise(head: bytes) -> bool:
    """Whether a source that starts with ``head`` is bzip2: a header, and what a stream begins with behind it."""
    mark = int.from_bytes(head[HEADER_SIZE : HEADER_SIZE + MARK // 8], "big")
    return HEADER.match(head) is not None and mark in (BLOCK, END)


def bits(source: Source, start: int, count: int) -> int:
    """``count`` bits from bit ``start``, the first one the most significant. Raises TruncatedError."""
    first, last = start >> 3, start + count + 7 >> 3
    data = source.pread(last - first, first)
    if len(data) < last - first:
        end = first + len(data)
        raise TruncatedError(f"bzip2 data ends at offset {end}", end)
    return int.from_bytes(data, "big") >> (-(start + count) & 7) & (1 << count) - 1


def marks(source: Source, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What may be marks between the bits ``start`` and ``end``: ``(offset, BLOCK or END)``, ascending."""
    for base in range(start >> 3, end + 7 >> 3, PIECE):
        piece = source.pread(min(PIECE + MARK // 8, (end + 7 >> 3) - base), base)
        for found in _SEARCH.finditer(piece):
            mark, shift = _FILLED[found.group()]
            at = found.start() - bool(shift)  # of the byte in which it begins
            offset = (base + at << 3) + shift
            seven = int.from_bytes(piece[at : at + 7].ljust(7, b"\0"), "big") if at >= 0 else 0
            if at < PIECE and start <= offset <= end - MARK and seven >> 8 - shift & (1 << MARK) - 1 == mark:
                yield offset, mark
