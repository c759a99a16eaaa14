"""Who has which name and which number: a builder's records as dirents and inodes, in canonical order.

Strategy
Directories are taken breadth first from the root; in each, who keeps a name is settled, then its entries get the next
numbers in archive order. An inode that several names share is numbered at the first of them. So the numbers follow
from the tree and the order of its directories' entries alone, and a directory's number is above its parent's.

Archives tell what is in one directory one after the other, so records are taken in *runs*: as many as follow each other
and lie in one directory. They stay together: their names are cut apart in one go, and what belongs to them is moved as
one piece (``Runs``). Only where a name comes twice in a directory, or there are hard links, is each looked at.
"""

from __future__ import annotations

import stat
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from itertools import accumulate, compress, islice
from operator import lt, ne
from typing import TYPE_CHECKING

from rofuse_formats.image import layout
from rofuse_formats.image.links import HardLinks
from rofuse_formats.image.runs import Runs

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder

_REPLACED = "a file with the name of a directory that has entries"
_BYTES = "latin-1"  # names as text, a character for each byte: in the same order, and compared faster
_NEVER = 1 << 32  # the number of no record
_MANY = 1 << 14  # names that are objects at a time, where one directory has no more


class Tree:
    """Columns of dirents (``name_at``, ``names``, ``child``, ``order``) and of inodes (``parent``, ``nlink``, and
    ``records`` that they come from); of directories, by their number in the builder, ``first`` and ``count``."""

    def __init__(self, builder: ImageBuilder) -> None:
        self._builder = builder
        self._directories = _Directories(builder)
        self._links = HardLinks(builder, self._directories.records)
        for record, reason in self._links.dropped.items():
            builder.report.skip(builder.record_name(record), reason)
        self._linked = {*self._links.target_of, *self._links.target_of.values()}
        self._linked_node: dict[int, int] = {}  # of records that share an inode
        self._more_names = Counter[int]()  # of inodes, beside their first
        self.records = Runs(array("I", [0]), array("I", [1]))
        self._inodes = 1
        self.name_at, self.names = array("I", [0]), bytearray()
        self.child, self.order = array("I"), array("I")
        self.parent = array("I", [layout.ROOT])
        directories = len(builder.directory_record)
        self.first, self.count = array("Q", bytes(8 * directories)), array("Q", bytes(8 * directories))
        self._node = array("I", bytes(4 * directories))  # of each directory; those of a lost one stay 0
        self._node[0] = layout.ROOT
        self._upper_nodes: list[int] = []  # of each directory but the root, that of the one that it lies in
        self._fill_all()
        self.nlink = self._link_counts()

    def _fill_all(self) -> None:
        self._text = str(self._builder.names, _BYTES)
        names: list[str] = []  # not yet kept
        first, queue = 0, deque([0])
        while queue:
            directory = queue.popleft()
            found, order, runs = self._settled(directory)
            self.first[directory], self.count[directory] = first, len(found)
            self.order.extend(
                range(first, first + len(found)) if order is None else map(first.__add__, order)
            )
            names += found
            if len(names) >= _MANY:
                self._keep(names)
            self._number(runs, len(found), self._node[directory])
            queue += self._enter(directory, runs, first)
            first += len(found)
        self._keep(names)
        self._text = ""
        if not self._linked:
            self.child.extend(range(layout.ROOT + 1, layout.ROOT + 1 + first))

    def _keep(self, names: list[str]) -> None:
        self.name_at.extend(accumulate(map(len, names), initial=self.name_at.pop()))
        self.names += "".join(names).encode(_BYTES)
        names.clear()

    # -- who has which name ----------------------------------------------------------------------------------

    def _settled(self, directory: int) -> tuple[list[str], list[int] | None, Runs]:
        """The names of a directory in archive order, how they are sorted (None: they are), and the records that
        have them."""
        runs = self._directories.records(directory)
        at, text = self._builder.name_at, self._text
        names: list[str] = []
        for start, stop in runs.bounds():
            names += text[start + at[start] : stop - 1 + at[stop]].split("/")
        if not self._links.dropped:
            if all(map(lt, names, islice(names, 1, None))):
                return names, None, runs
            if len(set(names)) == len(names):
                return names, sorted(range(len(names)), key=names.__getitem__), runs
        names, records = self._winners(names, runs)
        return names, sorted(range(len(names)), key=names.__getitem__), Runs.of(array("I", records))

    def _winners(self, names: list[str], records: Iterable[int]) -> tuple[list[str], list[int]]:
        dropped = self._links.dropped
        winner: dict[str, int] = {}
        for name, record in zip(names, records, strict=True):
            if record not in dropped:
                rival = winner.get(name)
                if rival is None or self._replaces(record, rival):
                    winner[name] = record
        kept = sorted((record, name) for name, record in winner.items())
        return [name for _record, name in kept], [record for record, _name in kept]

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
        return bool(self._directories.records(number)) or self._builder.directory_told[number] > rival

    # -- which number ----------------------------------------------------------------------------------------

    def _number(self, runs: Runs, count: int, directory_node: int) -> None:
        """Gives the inodes of so many records the next numbers."""
        if self._linked:
            if not self._linked.isdisjoint(runs):
                new = self._number_linked(runs)
                runs, count = Runs.of(array("I", new)), len(new)
            else:
                first = self._inodes + 1
                self.child.extend(range(first, first + count))
        self.records += runs
        self._inodes += count
        self.parent += array("I", (directory_node,)) * count

    def _number_linked(self, records: Iterable[int]) -> list[int]:
        """Where some of them are, or lead to, hard links; returns those whose inodes are new."""
        node_of, target_of, linked = self._linked_node, self._links.target_of, self._linked
        node, new = self._inodes, list[int]()
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

    def _enter(self, directory: int, runs: Runs, first: int) -> list[int]:
        """Tells the directories among the records of one, the first of which is dirent ``first``, their nodes; returns
        them."""
        below = self._directories.below(directory)
        if not below:
            return below
        found, records = [], self._builder.directory_record
        bounds = runs.bounds()
        start = stop = 0  # of the run that the dirents from ``first`` on are of
        for number in below:
            record = records[number]
            while stop <= record:
                first += stop - start
                start, stop = next(bounds, (_NEVER, _NEVER + 1))
            if start <= record:
                dirent = first + record - start
                self._node[number] = self.child[dirent] if self._linked else layout.ROOT + 1 + dirent
                found.append(number)
        self._upper_nodes += [self._node[directory]] * len(found)
        return found

    def _link_counts(self) -> array[int]:
        counts = array("I", (1,)) * self._inodes
        for node in self._node:
            if node:
                counts[node - 1] = 2
        for nodes in Counter(self._upper_nodes), self._more_names:
            for node, count in nodes.items():
                counts[node - 1] += count
        return counts


class _Directories:
    """What lies in each directory, by its number: records, and other directories; both in archive order."""

    def __init__(self, builder: ImageBuilder) -> None:
        in_directory, end = builder.directory, len(builder.directory)
        following = islice(in_directory, 2, None)  # all but the root's record lie in a directory
        changes = compress(range(2, end), map(ne, following, islice(in_directory, 1, None)))
        starts = array("I", [1, *changes] if end > 1 else [])
        stops = array("I", [*starts[1:], end] if end > 1 else [])
        of_run = array("I", map(in_directory.__getitem__, starts))
        sorted_runs = sorted(range(len(starts)), key=of_run.__getitem__)
        self._starts = array("I", map(starts.__getitem__, sorted_runs))
        self._stops = array("I", map(stops.__getitem__, sorted_runs))
        in_each, numbers = Counter(of_run), range(len(builder.directory_record))
        self._at = array("I", accumulate(map(in_each.__getitem__, numbers), initial=0))
        self._below: dict[int, list[int]] = {}
        for number in numbers[1:]:
            self._below.setdefault(in_directory[builder.directory_record[number]], []).append(number)

    def records(self, directory: int) -> Runs:
        runs = slice(self._at[directory], self._at[directory + 1])
        return Runs(self._starts[runs], self._stops[runs])

    def below(self, directory: int) -> list[int]:
        return self._below.get(directory, [])
