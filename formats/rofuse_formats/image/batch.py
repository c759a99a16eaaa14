"""Many members at once, column by column.

Strategy
Told one at a time, a member costs a dozen calls; told together, its share of a few, and only directories and links are
looked at by themselves. That goes where each row makes the record that follows the one of the row before it: every
directory is new, comes before what lies in it, and nothing is refused. Where that is not so, nothing is done: the
builder then goes row by row, and knows what to do.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from rofuse_formats.entry import PackedRow
from rofuse_formats.image import layout

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder

_MEMBER = layout.DATA_MEMBER << layout.DATA_SHIFT


def add(builder: ImageBuilder, rows: Sequence[PackedRow]) -> bool:
    """Adds all rows, of which there is one at least, or none of them; returns whether it did."""
    columns: list[tuple[int, ...]]
    told, *columns = zip(*rows, strict=True)
    modes, owners, sizes, mtimes, *members = columns
    paths, directories, links = list(told), _of_kind(stat.S_IFDIR, modes), _of_kind(stat.S_IFLNK, modes)
    for row in directories:
        paths[row] = paths[row].rstrip(b"/")
    heads, _slashes, names = zip(*[path.rpartition(b"/") for path in paths], strict=True)
    if not (
        builder.have_room(len(rows), (told[row] for row in directories))
        and builder.are_plain(names, sizes, mtimes)
        and all(builder.is_target(members[0][row]) for row in links)
    ):
        return False
    number_of = _numbers(builder, heads, {row: (paths[row], names[row]) for row in directories})
    if number_of is None:
        return False
    for row in directories:
        _keep(builder, paths[row], number_of[heads[row]], names[row], len(builder.mode) + row)
    first, count = _MEMBER + len(builder.member_rows["member_at"]), len(rows)
    data = list(range(first, first + count))
    for row in directories:
        data[row] = number_of[paths[row]]
    for row in links:
        data[row] = members[0][row]
    builder.name_at.fromlist(list(accumulate(map(len, names), initial=len(builder.names)))[1:])
    builder.names += b"".join(names)
    builder.directory.fromlist([number_of[head] for head in heads])
    builder.mode.fromlist(list(modes))
    builder.owners.fromlist(list(owners))
    builder.size.fromlist(list(sizes))
    builder.mtime.fromlist(list(mtimes))
    builder.mtime_ns.frombytes(bytes(builder.mtime_ns.itemsize * count))
    builder.data.fromlist(data)
    for column, values in zip(builder.member_rows.values(), members, strict=True):
        column.fromlist(list(values))
    return True


def _of_kind(kind: int, modes: Sequence[int]) -> list[int]:
    """The rows that are of this kind."""
    wanted = {mode for mode in set(modes) if stat.S_IFMT(mode) == kind}
    return [row for row, mode in enumerate(modes) if mode in wanted] if wanted else []


def _numbers(
    builder: ImageBuilder, heads: Sequence[bytes], new: Mapping[int, tuple[bytes, bytes]]
) -> dict[bytes, int] | None:
    """The numbers of the directories that the rows lie in, and of those that come with them (``new``: path and name, by
    row), by path. None where one is unknown, or is not new, or comes after what lies in it."""
    number_of = {
        head: builder.find_directory(head) for head in set(heads).difference(path for path, _ in new.values())
    }
    if -1 in number_of.values():
        return None
    first_in = dict(zip(reversed(heads), range(len(heads) - 1, -1, -1), strict=True)) if new else {}
    made = set[tuple[int, bytes]]()
    for number, (row, (path, name)) in enumerate(new.items(), len(builder.directory_record)):
        place = number_of.get(heads[row], -1), name
        if place[0] < 0 or place in made or place in builder.directories or first_in.get(path, row) < row:
            return None
        made.add(place)
        number_of[path] = number
    return number_of


def _keep(builder: ImageBuilder, path: bytes, parent: int, name: bytes, record: int) -> None:
    """Tells the builder of a directory that gets this record, and the next number."""
    builder.directories[parent, name] = builder.head_directories[path] = len(builder.directory_record)
    builder.directory_record.append(record)
    builder.directory_told.append(record + 1)
