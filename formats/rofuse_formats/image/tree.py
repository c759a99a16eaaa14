"""Who has which name and which number: a builder's records as dirents and inodes, in canonical order.

Directories are taken breadth first from the root; in each, who keeps a name is settled, then its entries get the next
numbers in archive order. An inode that several names share is numbered at the first of them. So the numbers follow
from the tree and the order of its directories' entries alone, and a directory's number is above its parent's.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left
from collections import Counter, deque
from itertools import accumulate, repeat
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
        self._heap = bytes(builder.names)  # whose slices are bytes
        self._by_directory = sorted(range(1, len(builder.directory)), key=builder.directory.__getitem__)
        self._links = HardLinks(builder, self._by_directory)
        for record, reason in self._links.dropped.items():
            builder.report.skip(builder.record_name(record), reason)
        self.name_at, self.names = array("I", [0]), bytearray()
        self.child, self.order = array("I"), array("I")
        self.record, self.parent, self.nlink = array("I", [0]), array("I", [layout.ROOT]), array("I", [2])
        directories = len(builder.directory_record)
        self.first, self.count = array("Q", bytes(8 * directories)), array("Q", bytes(8 * directories))
        self._node = array("I", bytes(4 * directories))  # of each directory; those of a lost one stay 0
        self._node[0] = layout.ROOT
        self._linked_node: dict[int, int] = {}  # of records that share an inode
        self._more_names = Counter[int]()  # of inodes, beside their first
        self._linked = {*self._links.target_of, *self._links.target_of.values()}
        in_each = Counter(builder.directory[1:])  # all but the root
        self._start = list(accumulate(map(in_each.__getitem__, range(directories)), initial=0))
        self._subdirectories: dict[int, list[int]] = {}
        for number in range(1, directories):
            upper = builder.directory[builder.directory_record[number]]
            self._subdirectories.setdefault(upper, []).append(number)
        queue = deque([0])
        while queue:
            queue += self._fill(queue.popleft())
        for node, count in self._more_names.items():
            self.nlink[node - 1] += count

    def _records_of(self, directory: int) -> list[int]:
        return self._by_directory[self._start[directory] : self._start[directory + 1]]

    def _fill(self, directory: int) -> list[int]:
        """Numbers the entries of one directory; returns the directories among them."""
        names, records = self._winners(self._records_of(directory))
        first = len(self.child)
        self.first[directory], self.count[directory] = first, len(records)
        self._number(records, self._node[directory])
        name_at = self.name_at
        name_at.pop()
        name_at.extend(accumulate(map(len, names), initial=len(self.names)))
        self.names += b"".join(names)
        self.order.extend(map(first.__add__, sorted(range(len(names)), key=names.__getitem__)))
        return self._enter(directory, records, first)

    def _number(self, records: list[int], directory_node: int) -> None:
        """Gives the records' inodes the next numbers."""
        if not self._linked.isdisjoint(records):
            records = self._number_linked(records)
        else:
            first = len(self.record) + 1
            self.child.extend(range(first, first + len(records)))
        self.record.extend(records)
        self.parent.extend(repeat(directory_node, len(records)))
        self.nlink.extend(repeat(1, len(records)))

    def _number_linked(self, records: list[int]) -> list[int]:
        """Where some of them are, or lead to, hard links; returns those whose inodes are new."""
        node_of, target_of, linked = self._linked_node, self._links.target_of, self._linked
        node, new = len(self.record), list[int]()
        for record in records:
            record = target_of.get(record, record)
            known = node_of.get(record)
            if known is not None:
                self._more_names[known] += 1
            else:
                node += 1
                new.append(record)
                if record in linked:
                    node_of[record] = node
            self.child.append(known or node)
        return new

    def _enter(self, directory: int, records: list[int], first: int) -> list[int]:
        """Tells the directories among the records of one their nodes; returns them."""
        found = []
        for number in self._subdirectories.get(directory, ()):
            record = self._builder.directory_record[number]
            at = bisect_left(records, record)
            if at < len(records) and records[at] == record:
                node = self._node[number] = self.child[first + at]
                self.nlink[node - 1] = 2
                found.append(number)
        self.nlink[self._node[directory] - 1] += len(found)
        return found

    def _winners(self, records: list[int]) -> tuple[list[bytes], list[int]]:
        """The names of one directory and the records that have them, in archive order."""
        builder = self._builder
        heap, name_at, dropped = self._heap, builder.name_at, self._links.dropped
        if dropped:
            records = [record for record in records if record not in dropped]
        names = [heap[name_at[record] : name_at[record + 1]] for record in records]
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
