"""The header of .lzma files."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

HEADER = Struct("<BIQ")
LARGEST = 1 << 38  # bytes decoded, that a stream which gives them is believed to have
UNKNOWN = (1 << 64) - 1
LEAST_DICTIONARY = 1 << 12
_LARGEST_PROPERTIES = 224  # (pb * 5 + lp) * 9 + lc


class Header(NamedTuple):
    dictionary: int
    size: int
    """Decoded bytes; -1 where an end marker tells."""


def header(head: bytes) -> Header | None:
    """What a header says; None if it is none. The format has no magic, so only what encoders write is one: dictionaries
    of 2^n or 2^n + 2^(n-1) bytes, and the 0 that the range coder's output begins with."""
    if len(head) <= HEADER.size or head[HEADER.size]:
        return None
    properties, dictionary, size = HEADER.unpack_from(head)
    literal_context, literal_position = properties % 9, properties // 9 % 5
    if properties > _LARGEST_PROPERTIES or literal_context + literal_position > 4:
        return None
    lowest = dictionary & -dictionary
    if dictionary < LEAST_DICTIONARY or dictionary not in (lowest, 3 * lowest):
        return None
    if size == UNKNOWN:
        return Header(dictionary, -1)
    return Header(dictionary, size) if size < LARGEST else None


def recognise(head: bytes) -> bool:
    return header(head) is not None
