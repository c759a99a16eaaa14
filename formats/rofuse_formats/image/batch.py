"""Many members at once, column by column.

Strategy
Told one at a time, a member costs a dozen calls; told together, its share of a few, and only directories and links are
looked at by themselves. That goes where each row makes the record that follows the one of the row before it: every
directory is new, and comes before what lies in it. Where a row does otherwise (what lies in a directory that nobody
told of, a directory told of again), those before it are added together, and it is added by itself. Where there is
something to refuse or to mend, all rows are added one by one: that does it.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate, chain, compress, repeat
from operator import ne, sub
from typing import TYPE_CHECKING

from rofuse_formats import lanes
from rofuse_formats.entry import PackedColumns
from rofuse_formats.image import layout

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder

_MEMBER = layout.DATA_MEMBER << layout.DATA_SHIFT - 32  # the upper half of data words
_IS_DIRECTORY, _IS_LINK = (  # by the top byte of a mode
    bytes(stat.S_IFMT(byte << 8) == kind for byte in range(256)) for kind in (stat.S_IFDIR, stat.S_IFLNK)
)
_FEW = 8  # rows; so few are added one by one


def add(builder: ImageBuilder, members: PackedColumns) -> None:
    """Adds members."""
    if len(members.paths) > _FEW:
        batch = _Batch(builder, members)
        if batch.is_plain():
            batch.add()
            return
    _add_each(builder, members)


def _add_each(builder: ImageBuilder, members: PackedColumns) -> None:
    *columns, of_members = members
    for path, mode, owner, size, mtime, *member in zip(*columns, *of_members, strict=True):
        data = builder.packed(*member) if stat.S_ISREG(mode) else member[0]
        builder.add(path, mode, owner, size, mtime, 0, data)


class _Batch:
    def __init__(self, builder: ImageBuilder, members: PackedColumns) -> None:
        self._builder, self._members = builder, members
        self._directories, self._links = (
            _of_kind(_IS_DIRECTORY, members.modes),
            _of_kind(_IS_LINK, members.modes),
        )
        self._paths = members.paths
        if self._directories:
            self._paths = list(self._paths)
            for row in self._directories:
                self._paths[row] = self._paths[row].rstrip(b"/")
        parted = map(bytes.rpartition, self._paths, repeat(b"/"))
        self._heads, _slashes, self._names = zip(*parted, strict=True)
        changes = compress(range(1, len(self._heads)), map(ne, self._heads[1:], self._heads))
        self._changes = [
            0,
            *changes,
        ]  # rows before which there is none, or one that lies in another directory
        self._text = b"/".join(self._names) + b"/"
        self._number_of: dict[bytes, int] = {}  # of directories, by path; -1 for what is none yet
        self._new: list[int] = []  # rows of directories that are known, but not yet added
        self._start = 0  # the first row that is not yet added

    def is_plain(self) -> bool:
        """Whether no row is refused, or shown otherwise than it is told."""
        builder, members = self._builder, self._members
        return (
            builder.have_room(len(members.paths), map(members.paths.__getitem__, self._directories))
            and builder.are_plain(self._text, max(map(len, self._names)), members.sizes, members.mtimes)
            and all(builder.is_target(members.members[0][row]) for row in self._links)
        )

    def add(self) -> None:
        heads, paths = self._heads, self._paths
        self._number_of = {
            head: self._builder.find_directory(head) for head in {heads[row] for row in self._changes}
        }
        for row in self._events():
            if self._goes_with_those_before(row):
                continue
            self._add_together(row)
            self._add_each(row, row + 1)
            self._start = row + 1
            known = self._find(heads[row])
            if stat.S_ISDIR(self._members.modes[row]):
                known = self._find(paths[row])
            if known < 0:  # it was refused, and what else is said to lie there will be
                self._add_each(row + 1, len(heads))
                return
        self._add_together(len(heads))

    def _add_each(self, start: int, stop: int) -> None:
        """The rows [start, stop), one by one."""
        _add_each(self._builder, self._members.part(start, stop))

    def _events(self) -> list[int]:
        """The rows before which the tree may have to change: directories, and the first in each that is none by
        then."""
        heads, unknown = self._heads, {head for head, number in self._number_of.items() if number < 0}
        if not unknown:
            return self._directories
        first_in = {heads[row]: row for row in reversed(self._changes)}
        told = {self._paths[row]: row for row in reversed(self._directories)}
        events = {row for head in unknown if (row := first_in[head]) <= told.get(head, row)}
        return sorted(events.union(self._directories))

    def _goes_with_those_before(self, row: int) -> bool:
        """Whether what it lies in is there by then; and where it is a directory, that is new: then it is known now."""
        builder, parent = self._builder, self._find(self._heads[row])
        if parent < 0 or not stat.S_ISDIR(self._members.modes[row]):
            return parent >= 0
        path, place = self._paths[row], (parent, self._names[row])
        if place in builder.directories:
            return False
        number, record = len(builder.directory_record), len(builder.mode) + row - self._start
        self._number_of[path] = builder.directories[place] = builder.head_directories[path] = number
        builder.directory_record.append(record)
        builder.directory_told.append(record + 1)
        builder.directory_depth.append(builder.directory_depth[parent] + 1)
        self._new.append(row)
        return True

    def _find(self, head: bytes) -> int:
        """Number of a directory, -1 where there is none by now."""
        number = self._number_of.get(head, -1)
        if number < 0:
            number = self._number_of[head] = self._builder.find_directory(head)
        return number

    def _add_together(self, stop: int) -> None:
        """The rows from the first that is not yet added to ``stop``, each of which goes with those before."""
        start, builder = self._start, self._builder
        if stop - start <= _FEW and not self._new:
            self._add_each(start, stop)
            return
        builder.demand_room(stop - start)
        names = self._names[start:stop]
        builder.name_at.extend(array("Q", list(accumulate(map(len, names), initial=builder.name_at.pop()))))
        builder.names += self._text if len(names) == len(self._names) else b"/".join((*names, b""))
        builder.directory.extend(self._numbers(start, stop))
        part = self._members.part(start, stop)
        data = self._data(start, stop)
        builder.mode += part.modes
        builder.owners += part.owners
        builder.size += part.sizes
        builder.mtime += part.mtimes
        builder.mtime_ns.frombytes(bytes(builder.mtime_ns.itemsize * len(names)))
        builder.data += data
        for column, values in zip(builder.member_rows.values(), part.members, strict=True):
            column += values
        self._new.clear()

    def _numbers(self, start: int, stop: int) -> array[int]:
        """Of the directories that the rows [start, stop) lie in."""
        changes = self._changes[bisect_right(self._changes, start) : bisect_left(self._changes, stop)]
        bounds = [start, *changes, stop]
        numbers = [self._number_of[self._heads[row]] for row in bounds[:-1]]
        return array("I", list(chain.from_iterable(map(repeat, numbers, map(sub, bounds[1:], bounds)))))

    def _data(self, start: int, stop: int) -> array[int]:
        """Data words of the rows [start, stop), each of which is one of the table of members."""
        first, members = len(self._builder.member_rows["member_at"]), self._members
        data = lanes.widened("Q", array("I", range(first, first + stop - start)), _MEMBER)
        for row in self._new:
            data[row - start] = self._number_of[self._paths[row]]
        for row in self._links[bisect_left(self._links, start) : bisect_left(self._links, stop)]:
            data[row - start] = members.members[0][row]
        return data


def _of_kind(table: bytes, modes: array[int]) -> list[int]:
    """The rows that are of the type that the table is for."""
    wanted = lanes.top_bytes(modes).translate(table)
    return list(compress(range(len(modes)), wanted)) if 1 in wanted else []
