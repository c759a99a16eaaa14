"""Who has which name and which number: a builder's records as dirents and inodes, in canonical order.

Directories are taken breadth first from the root; in each, who keeps a name is settled, then its entries get the next
numbers in archive order. An inode that several names share is numbered at the first of them. So the numbers follow
from the tree and the order of its directories' entries alone, and a directory's number is above its parent's.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING

from rofuse_formats.image import layout
from rofuse_formats.image.links import HardLinks

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder

_REPLACED = "a file with the name of a directory that has entries"


class Tree:
    """Columns of dirents (``name_at``, ``names``, ``child``, ``order``) and of inodes (``record`` it comes from,
    ``parent``, ``nlink``); of directories, by their number in the builder, ``first`` and ``count``."""

    def __init__(self, builder: ImageBuilder) -> None:
        self._builder = builder
        self._by_directory = sorted(range(1, len(builder.directory)), key=builder.directory.__getitem__)
        self._links = HardLinks(builder, self._by_directory)
        for record, reason in self._links.dropped.items():
            builder.report.skip(builder.record_name(record), reason)
        self.name_at, self.names = array("I", [0]), bytearray()
        self.child, self.order = array("I"), array("I")
        self.record, self.parent, self.nlink = array("I", [0]), array("I", [layout.ROOT]), array("I", [2])
        directories = len(builder.directory_record)
        self.first, self.count = array("Q", bytes(8 * directories)), array("Q", bytes(8 * directories))
        self._node = array("I", bytes(4 * len(builder.directory)))  # of each record; 0: none yet
        self._node[0] = layout.ROOT
        queue, modes, data = deque([0]), builder.mode, builder.data
        while queue:
            records = self._fill(queue.popleft())
            queue += (data[r] for r in records if modes[r] & 0o170000 == stat.S_IFDIR)

    def _records_of(self, directory: int) -> list[int]:
        key = self._builder.directory.__getitem__
        start = bisect_left(self._by_directory, directory, key=key)
        return self._by_directory[start : bisect_left(self._by_directory, directory + 1, lo=start, key=key)]

    def _fill(self, directory: int) -> list[int]:
        """Numbers the entries of one directory; returns the records that have a name there."""
        names, records = self._winners(self._records_of(directory))
        first = len(self.child)
        self.first[directory], self.count[directory] = first, len(records)
        self._number(records, self._node[self._builder.directory_record[directory]])
        name_at = self.name_at
        name_at.pop()
        name_at.extend(accumulate(map(len, names), initial=len(self.names)))
        self.names += b"".join(names)
        self.order.extend(map(first.__add__, sorted(range(len(names)), key=names.__getitem__)))
        return records

    def _number(self, records: list[int], directory_node: int) -> None:
        """Gives the records' inodes the next numbers."""
        node_of, modes, target_of = self._node, self._builder.mode, self._links.target_of
        child, nlink, parent, inode_record = self.child, self.nlink, self.parent, self.record
        for record in records:
            if target_of:
                record = target_of.get(record, record)
            node = node_of[record]
            if node:
                nlink[node - 1] += 1
            else:
                inode_record.append(record)
                node = node_of[record] = len(inode_record)
                parent.append(directory_node)
                if modes[record] & 0o170000 == stat.S_IFDIR:
                    nlink.append(2)
                    nlink[directory_node - 1] += 1
                else:
                    nlink.append(1)
            child.append(node)

    def _winners(self, records: list[int]) -> tuple[list[bytes], list[int]]:
        """The names of one directory and the records that have them, in archive order."""
        builder = self._builder
        heap, name_at, dropped = builder.names, builder.name_at, self._links.dropped
        if dropped:
            records = [record for record in records if record not in dropped]
        names = [bytes(heap[name_at[record] : name_at[record + 1]]) for record in records]
        if len(set(names)) == len(names):
            return names, records
        winner: dict[bytes, int] = {}
        for name, record in zip(names, records, strict=True):
            rival = winner.get(name)
            if rival is None or self._replaces(record, rival):
                winner[name] = record
        records = sorted(winner.values())
        return [builder.record_name(record) for record in records], records

    def _replaces(self, later: int, earlier: int) -> bool:
        """Whether the later record takes the name. At most one of the two is a directory: a directory is one record
        however often it comes, so what counts is when it came last and whether it has entries."""
        modes = self._builder.mode
        if stat.S_ISDIR(modes[earlier]):
            if stays := self._directory_stays(earlier, later):
                self._builder.report.skip(self._builder.record_name(later), _REPLACED)
            return not stays
        if stat.S_ISDIR(modes[later]):
            return self._directory_stays(later, earlier)
        return True

    def _directory_stays(self, record: int, rival: int) -> bool:
        number = self._builder.data[record]
        return bool(self._records_of(number)) or self._builder.directory_told[number] > rival
