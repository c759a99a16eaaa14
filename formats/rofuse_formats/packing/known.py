"""Chunks that are stored already, and where in the stream.

Strategy
Most chunks are new, and a digest that nobody can forge takes as long as a good part of compressing them. Where what was
read can be read again at once, a quick checksum says what a chunk may be equal to, and that is read again and compared.
Where reading again takes decoding, SHA-256 decides.

Rules
- Every chunk is looked for, and all are remembered alike: it makes no difference what is known of the tree beforehand.
- Only what is equal byte for byte counts as known, whatever an archive was made to look like. Where two chunks have one
  checksum and differ, the later one is not remembered.
- ``REMEMBERED`` chunks are; those after them are stored as if they were new.
- What was asked for last is what ``add`` tells of.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from rofuse_formats.archives.pack.superblock import checksum

REMEMBERED = 1 << 22


class Known(Protocol):
    def find(self, data: bytes, /) -> int | None:
        """Where these bytes are; None where they are not known. May raise what reading raises."""
        ...

    def add(self, position: int, node: int, offset: int, /) -> None:
        """The bytes are now stored there: those of a file, from ``offset`` on."""
        ...


class KnownByDigest:
    def __init__(self) -> None:
        self._position: dict[bytes, int] = {}
        self._digest = b""

    def find(self, data: bytes, /) -> int | None:
        self._digest = sha256(data).digest()
        return self._position.get(self._digest)

    def add(self, position: int, node: int, offset: int, /) -> None:
        if len(self._position) < REMEMBERED:
            self._position[self._digest] = position


class KnownByReading:
    """``read`` gives bytes of a file again: by inode, offset and size."""

    def __init__(self, read: Callable[[int, int, int], bytes]) -> None:
        self._read = read
        self._row: dict[int, int] = {}  # by checksum
        self._positions, self._nodes, self._offsets = array("Q"), array("Q"), array("Q")
        self._sizes = array("I")
        self._checksum = self._size = 0

    def find(self, data: bytes, /) -> int | None:
        self._checksum, self._size = checksum(data), len(data)
        row = self._row.get(self._checksum)
        if row is None or self._sizes[row] != self._size:
            return None
        if self._read(self._nodes[row], self._offsets[row], self._size) != data:
            return None
        return self._positions[row]

    def add(self, position: int, node: int, offset: int, /) -> None:
        row = len(self._positions)
        if row < REMEMBERED and self._row.setdefault(self._checksum, row) == row:
            self._positions.append(position)
            self._nodes.append(node)
            self._offsets.append(offset)
            self._sizes.append(self._size)
