"""A header structure of an RPM package: tags, and for each an array of numbers or texts.

Layout (big-endian): magic, 4 bytes, number of entries, bytes of the store; a table of entries (tag, type, offset in the
store, number of items); the store. Source: the RPM package format, "Header format".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from struct import Struct

from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

_MAGIC = b"\x8e\xad\xe8\x01"
_INTRO = Struct(">4s4xII")
_ENTRY = Struct(">IIII")
_MOST_ENTRIES = 0xFFFF  # as rpm has it
LARGEST = 256 * MIB
"""Bytes of a store."""
_MOST_ITEMS = 1 << 22  # of one tag: files of a package
_NUMBERS = {2: "B", 3: "H", 4: "I", 5: "Q"}
_BINARY = 7
_TEXTS = frozenset((6, 8, 9))


class Header:
    """The structure at ``start`` of a package. Raises DamagedError where it is none, or not all there."""

    def __init__(self, source: Source, start: int, what: str) -> None:
        intro = source.pread(_INTRO.size, start)
        if len(intro) < _INTRO.size or not intro.startswith(_MAGIC):
            raise DamagedError(f"the {what} is not at byte {start}, where it should be", start)
        _magic, entries, stored = _INTRO.unpack(intro)
        if entries > _MOST_ENTRIES or stored > LARGEST:
            raise DamagedError(f"the {what} claims {entries} entries and {stored} bytes", start)
        table_size = entries * _ENTRY.size
        self.start = start
        self.end: int = start + _INTRO.size + table_size + stored
        if self.end > source.size:
            raise DamagedError(f"the package is cut at byte {source.size}, in its {what}", source.size)
        self._source, self._store_at = source, start + _INTRO.size + table_size
        self._stored: int = stored
        table = source.pread(table_size, start + _INTRO.size)
        self._entries: dict[int, tuple[int, int, int]] = {
            tag: (kind, at, count) for tag, kind, at, count in _ENTRY.iter_unpack(table)
        }

    def numbers(self, tag: int) -> Sequence[int]:
        """The items of a tag; none where it is missing. Raises DamagedError where they are no numbers, or lie outside
        the store."""
        kind, at, count = self._entries.get(tag, (4, 0, 0))
        if kind not in _NUMBERS or count > _MOST_ITEMS:
            raise DamagedError(f"tag {tag} of the header should be numbers", self.start)
        found = array(_NUMBERS[kind])
        found.frombytes(self._bytes(tag, at, count * found.itemsize))
        if sys.byteorder == "little":
            found.byteswap()
        return found

    def texts(self, tag: int) -> list[bytes]:
        """As ``numbers``, of a tag of texts."""
        kind, at, count = self._entries.get(tag, (8, 0, 0))
        if not count:
            return []
        if kind not in _TEXTS or count > _MOST_ITEMS:
            raise DamagedError(f"tag {tag} of the header should be texts", self.start)
        data = self._bytes(tag, at, self._text_bytes(at))
        found = data.split(b"\0", count)
        if len(found) <= count:
            raise DamagedError(f"tag {tag} of the header has too few texts", self.start)
        return found[:count]

    def binary(self, tag: int) -> bytes:
        """The bytes of a tag of such, nothing where it is missing. Raises as ``numbers``."""
        kind, at, count = self._entries.get(tag, (_BINARY, 0, 0))
        if kind != _BINARY or count > _MOST_ITEMS:
            raise DamagedError(f"tag {tag} of the header should be bytes", self.start)
        return self._bytes(tag, at, count)

    def text(self, tag: int) -> bytes:
        """The first text of a tag, nothing where it is missing."""
        return (self.texts(tag) or [b""])[0]

    def _text_bytes(self, at: int) -> int:
        """How far the texts at a place of the store reach at most: to the next entry."""
        following = (other for _kind, other, _count in self._entries.values() if other > at)
        return max(0, min(following, default=self._stored) - at)

    def _bytes(self, tag: int, at: int, size: int) -> bytes:
        if at + size > self._stored:
            raise DamagedError(f"tag {tag} of the header lies outside it", self.start)
        data = self._source.pread(size, self._store_at + at)
        if len(data) < size:
            raise DamagedError("the package has become shorter while it was read", self.start)
        return data
