"""Where a pack's blocks lie and what each holds: the section ``BLOCKS``, and the form in which an index keeps it.

Strategy
The section has three columns, one number for each block: its stored bytes and how they are kept (32 bits), its decoded
bytes (32 bits), the checksum of its stored bytes (64 bits). Blocks lie one behind the other, and so does what they
hold: where each begins is the sum of those before it. It is summed up once, when the pack is opened; what is kept in
its index is mapped and looked up by bisection, and holds the dictionary besides.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate

from rofuse_formats.archives.pack.superblock import SIZE, Superblock
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.image.reader import mapped_column

PLAIN = 1 << 31
"""Stored as it is."""
WITH_DICTIONARY = 1 << 30
LENGTH = WITH_DICTIONARY - 1

_HEADER = struct.Struct("<QQ")  # blocks, bytes of the dictionary


def packed(stored: Sequence[int], decoded: Sequence[int], checksums: Sequence[int]) -> bytes:
    """The section. ``stored``: with the flags above."""
    return b"".join(
        _little(array(code, column)) for code, column in zip("IIQ", (stored, decoded, checksums), strict=True)
    )


def summed_up(section: bytes, dictionary: bytes, found: Superblock) -> bytes:
    """What ``Table`` reads. Raises DamagedError where the blocks are not those that the superblock promises."""
    count = found.blocks
    stored, decoded, checksums = array("I"), array("I"), section[8 * count :]
    stored.frombytes(section[: 4 * count])
    decoded.frombytes(section[4 * count : 8 * count])
    for column in stored, decoded:
        if sys.byteorder == "big":
            column.byteswap()
    lengths = [word & LENGTH for word in stored]
    starts, places = array("Q", accumulate(decoded, initial=0)), array("Q", accumulate(lengths, initial=SIZE))
    end = min(place.offset for place in found.sections if place.stored) if count else SIZE
    if starts[-1] != found.decoded or places[-1] > end:
        raise DamagedError("the pack's block index is of other blocks")
    if count and (min(decoded) < 1 or max(decoded) > found.block_size or min(lengths) < 1):
        raise DamagedError("the pack's block index has a block that cannot be")
    for word, length, size in zip(stored, lengths, decoded, strict=True):
        if length != size if word & PLAIN else length > size or (word & WITH_DICTIONARY and not dictionary):
            raise DamagedError("the pack's block index has a block that cannot be")
    kinds = bytes(word >> 30 for word in stored)
    head = _HEADER.pack(count, len(dictionary))
    return b"".join((head, _little(starts), _little(places), checksums, kinds, dictionary))


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


class Table:
    """The blocks of a pack, from what ``summed_up`` made. ``starts``: where in the decoded stream each begins, and the
    last ends; ``places``: the same in the pack; ``checksums``; ``kinds``: the flags, shifted to the right by 30."""

    def __init__(self, view: memoryview) -> None:
        if len(view) < _HEADER.size:
            raise IndexDamagedError("the index lacks the pack's blocks")
        self.count, dictionary = _HEADER.unpack_from(view)
        at = _HEADER.size
        columns = []
        for size in (8 * self.count + 8, 8 * self.count + 8, 8 * self.count, self.count, dictionary):
            columns.append(view[at : at + size])
            at += size
        if at != len(view):
            raise IndexDamagedError("the index is not of this pack's blocks")
        self.starts, self.places, self.checksums = (mapped_column(view, "Q") for view in columns[:3])
        self.kinds, self.dictionary = columns[3], bytes(columns[4])


IS_PLAIN, HAS_DICTIONARY = PLAIN >> 30, WITH_DICTIONARY >> 30
