"""The listings of an archive's directories, made before they are asked for where somebody walks the tree.

Strategy
Who walks a tree asks for a directory, then for what may follow in it (nothing, mostly), and then for the directory
that comes next, depth first. While the kernel makes inodes of one listing it asks for nothing else, so the next is made
then: of the same directory where there is more of it, else of the next one.

Rules
- Only for who walks: what was asked for must be what was expected. So a guess that is wrong costs one listing.
- One listing is kept, for as much room as there was before, and given out once.
- Directory offsets: 1 after ``.``, 2 after ``..``, then 3, 4... after the entries, in archive order.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import NamedTuple

from rofuse_formats.image.layout import ROOT
from rofuse_formats.image.reader import Image
from rofuse_mount import wire
from rofuse_mount.encoding import NO_ENTRY, direntplus

# The maker and the size of a record, by the length of its name.
_RECORDS = [direntplus(length) for length in range(256)]
_RECORD_SIZES = [wire.DIRENTPLUS.size + wire.rec_align(length) for length in range(256)]
LEAST_ROOM = _RECORD_SIZES[1] + _RECORD_SIZES[2] + _RECORD_SIZES[255]
"""Bytes in which any entry fits; the kernel's buffer is a page or more."""

# What stands in a listing for ``.`` and ``..``: the kernel knows their inodes.
_NO_INODE = wire.ENTRY_OUT.unpack(NO_ENTRY)

_NEAR = 256  # inodes that the next directory is looked for among


class _Asked(NamedTuple):
    node: int
    offset: int
    size: int


class _Listing(NamedTuple):
    records: bytes
    more: int
    """The offset of what did not fit, 0 where everything did."""


_NOTHING = _Asked(0, 0, 0)
_NO_LISTING = _Listing(b"", 0)


class Listings:
    """``nodeid_of`` and ``attr_of`` give a node's number and the fields of wire.ATTR, as the kernel knows them;
    ``valid`` are entry_out's fields between those. ``touched`` is told how many entries of the image were looked at."""

    def __init__(
        self,
        image: Image,
        nodeid_of: Callable[[int], int],
        attr_of: Callable[[int], tuple[int, ...]],
        valid: tuple[int, ...],
        touched: Callable[[int], None],
    ) -> None:
        self._image, self._valid = image, valid
        self._nodeid_of, self._attr_of, self._touched = nodeid_of, attr_of, touched
        self._given, self._more = _NOTHING, 0  # what was asked for last, and what is left of it
        self._is_expected = False  # whether that was what had been expected
        self._expected = _NOTHING
        self._prepared = _NOTHING, _NO_LISTING  # one value: who answers without the turn comes at any time

    def reply(self, node: int, offset: int, size: int) -> bytes:
        """The records of a directory behind ``offset`` that fit into ``size`` bytes (LEAST_ROOM or more)."""
        asked = _Asked(node, offset, size)
        prepared_for, listing = self._prepared
        if asked == prepared_for:
            self._prepared = _NOTHING, _NO_LISTING
        else:
            listing = self._make(asked)
        if listing.records:
            self._given, self._more = asked, listing.more
            self._is_expected = asked == self._expected
        return listing.records

    def prepare(self) -> None:
        """Makes the listing that somebody who walks will ask for next."""
        given, self._given = self._given, _NOTHING
        if given == _NOTHING:
            return
        try:
            self._expected = self._behind(given, self._more)
            if self._is_expected and self._expected != _NOTHING:
                self._prepared = self._expected, self._make(self._expected)
        except Exception:  # of a damaged image: whoever asks for that meets it too, and is answered
            self._expected = _NOTHING

    def _make(self, asked: _Asked) -> _Listing:
        node, offset, size = asked
        image, ino = self._image, self._nodeid_of(node)
        records: list[bytes] = []
        for mark, name in enumerate((b".", b".."), 1):
            if offset < mark:
                records.append(_RECORDS[len(name)](*_NO_INODE, ino, mark, len(name), 4, name))
        room = size - sum(map(len, records))
        rows = image.dirents(node)
        child, names, name_at, attr_of, valid = (
            image.child,
            image.names,
            image.name_at,
            self._attr_of,
            self._valid,
        )
        first, more = rows.start + max(offset - 2, 0), 0
        for mark, row in enumerate(range(first, rows.stop), max(offset, 2) + 1):
            begin, end = name_at[row], name_at[row + 1]
            length = end - begin
            room -= _RECORD_SIZES[length]
            if room < 0:
                more = mark - 1
                break
            attr = attr_of(child[row])
            inode = attr[0]
            record = _RECORDS[length](
                inode, *valid, *attr, inode, mark, length, attr[9] >> 12, bytes(names[begin:end])
            )
            records.append(record)
        self._touched(len(records))
        return _Listing(b"".join(records), more)

    def _behind(self, given: _Asked, more: int) -> _Asked:
        node, _offset, size = given
        if more:
            return _Asked(node, more, size)
        following = self._next_directory(node)
        return _Asked(following, 0, size) if following else _NOTHING

    def _next_directory(self, node: int) -> int:
        """The directory behind one, depth first; 0 where it is not near. Numbers are given out directory by directory,
        so who has one in the same directory has it nearby."""
        image = self._image
        mode, parent = image.mode, image.parent
        rows = image.dirents(node)
        near = rows[:_NEAR]
        for child in image.child[near.start : near.stop]:
            if stat.S_ISDIR(mode[child - 1]):
                return child
        beside = node + 1
        for _ in range(_NEAR - len(near)):
            if node == ROOT:
                return 0
            if beside > image.inode_count or parent[beside - 1] != parent[node - 1]:
                node = parent[node - 1]
                beside = node
            elif stat.S_ISDIR(mode[beside - 1]):
                return beside
            beside += 1
        return 0
