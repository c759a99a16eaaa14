"""Lays a settled tree out as the bytes of an image (``layout``).

Whatever rows refer to (owners, strings, extents) is numbered anew in the order of the rows that refer to it: what
only lost records used is left out, and the bytes follow from the tree alone.
"""

from __future__ import annotations

import re
import stat
import sys
from array import array
from itertools import compress
from operator import or_
from typing import TYPE_CHECKING, TypeAlias

from rofuse_formats import lanes
from rofuse_formats.errors import LimitError
from rofuse_formats.image import layout
from rofuse_formats.image.runs import Runs

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder
    from rofuse_formats.image.tree import Tree

Piece: TypeAlias = "bytes | bytearray | array[int]"  # array takes no parameter before Python 3.12

_MEMBER = layout.DATA_MEMBER << layout.DATA_SHIFT - 32  # the upper half of data words
_NOT_REGULAR = bytes(not stat.S_ISREG(byte << 8) for byte in range(256))  # by the top byte of a mode
_KINDS = bytes(byte >> layout.DATA_SHIFT % 8 for byte in range(256))  # by the top byte of a word
_IN_PIECES = re.compile(bytes((layout.DATA_PIECES,)))
_OF_MEMBERS = re.compile(bytes((layout.DATA_MEMBER,)) + b"+")
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)


def columns(builder: ImageBuilder, tree: Tree) -> list[Piece]:
    """The image in pieces, in order."""
    return _Columns(builder, tree).pieces()


class _Columns:
    def __init__(self, builder: ImageBuilder, tree: Tree) -> None:
        self.builder, self.tree = builder, tree
        self.texts, self._small = bytearray(), dict[bytes, int]()
        self.column = {name: array(code) for name, code, _table, _extra in layout.COLUMNS}
        for bounds in ("string_at", "pieces_at"):
            self.column[bounds].append(0)
        self._inodes()
        self._owners()
        self._data()
        self._xattrs()
        self._times()
        self.column |= {"name_at": tree.name_at, "child": tree.child, "order": tree.order}

    def pieces(self) -> list[Piece]:
        counts = [0] * layout.TABLES
        for name, _code, table, extra in layout.COLUMNS:
            counts[table] = len(self.column[name]) - extra
        heaps = self.tree.names, self.texts
        found: list[Piece] = [layout.HEADER.pack(layout.MAGIC, *counts, *map(len, heaps))]
        for column in self.column.values():
            if sys.byteorder == "big":
                column.byteswap()
            found += [column, bytes(-len(column) * column.itemsize & 7)]
        for heap in heaps:
            found += [heap, bytes(-len(heap) & 7)]
        return [piece for piece in found if len(piece)]

    def _inodes(self) -> None:
        builder, records = self.builder, self.tree.records
        for name in ("mode", "size", "mtime", "mtime_ns", "data"):
            self.column[name] = records.gathered(getattr(builder, name))
        self.column["nlink"], self.column["parent"] = self.tree.nlink, self.tree.parent

    def _owners(self) -> None:
        """Owners in the order of their first inode."""
        owners = list(self.builder.owner_numbers)
        used = self.tree.records.gathered(self.builder.owners)
        number = {old: new for new, old in enumerate(dict.fromkeys(used))}
        if len(number) > 1:
            self.column["owner"].extend(map(number.__getitem__, used))
        else:
            self.column["owner"].frombytes(bytes(len(used) * used.itemsize))
        for old in number:
            uid, gid, uname, gname = owners[old]
            self.column["uid"].append(uid)
            self.column["gid"].append(gid)
            self.column["uname"].append(self._string(self.builder.string(uname)))
            self.column["gname"].append(self._string(self.builder.string(gname)))

    def _data(self) -> None:
        """Data words, and the sizes that follow from them."""
        modes, sizes, words = self.column["mode"], self.column["size"], self.column["data"]
        links = {mode for mode in set(modes) if stat.S_ISLNK(mode)}
        is_other = map(or_, lanes.zeros(sizes), lanes.top_bytes(modes).translate(_NOT_REGULAR))
        others = list(compress(range(len(words)), is_other))
        kinds = bytearray(lanes.top_bytes(words).translate(_KINDS))  # of each word
        for row in others:
            if not (kinds[row] == layout.DATA_MEMBER and sizes[row] and modes[row] in links):
                words[row], sizes[row] = self._without_bytes(modes[row], words[row])
                kinds[row] = layout.DATA_OFFSET
        for found in _IN_PIECES.finditer(kinds):
            words[found.start()] = self._pieces(words[found.start()])
        self._members(kinds)

    def _members(self, kinds: bytearray) -> None:
        """The members that words of that kind lead to, in their order, which is what the words then say."""
        words, numbers = self.column["data"], lanes.low_halves("I", self.column["data"])
        members, number = array("I"), 0
        in_order = lanes.widened("Q", array("I", range(kinds.count(layout.DATA_MEMBER))), _MEMBER)
        for found in _OF_MEMBERS.finditer(kinds):
            start, stop = found.span()
            members += numbers[start:stop]
            words[start:stop] = in_order[number : number + stop - start]
            number += stop - start
        rows = Runs.of(members)
        for name, values in self.builder.member_rows.items():
            self.column[name] = rows.gathered(values)

    def _without_bytes(self, mode: int, word: int) -> tuple[int, int]:
        """Data word and size of what is no file, or an empty one."""
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFDIR:
            return self.tree.first[word], self.tree.count[word]
        if kind == stat.S_IFLNK:
            target = self.builder.string(word)
            return self._text(target), len(target)
        return (word if kind in _DEVICES else 0), 0

    def _pieces(self, word: int) -> int:
        column = self.column
        for extent in self.builder.pieces[word & layout.DATA_MASK]:
            column["logical"].append(extent.logical)
            column["length"].append(extent.length)
            column["offset"].append(extent.offset)
            column["stream"].append(extent.stream)
        column["pieces_at"].append(len(column["stream"]))
        return layout.DATA_PIECES << layout.DATA_SHIFT | len(column["pieces_at"]) - 2

    def _xattrs(self) -> None:
        kept = self.builder.record_xattrs
        if not kept:
            return
        string = self.builder.string
        for node, record in enumerate(self.tree.records, layout.ROOT):
            for name, value in kept.get(record, ()):
                self.column["xattr_node"].append(node)
                self.column["xattr_name"].append(self._string(string(name)))
                self.column["xattr_value"].append(self._string(string(value)))

    def _times(self) -> None:
        told = self.builder.time_rows
        if not told["record"]:
            return
        row_of = array("I", bytes(4 * len(self.builder.mode)))  # 1 + the last row of each record; 0: none
        for row, record in enumerate(told["record"], 1):
            row_of[record] = row
        pairs = ((node, row_of[record] - 1) for node, record in enumerate(self.tree.records, layout.ROOT))
        found = [(node, row) for node, row in pairs if row >= 0 and told["has"][row]]
        rows = [row for _node, row in found]
        self.column["time_node"].extend(node for node, _row in found)
        self.column["time_has"].extend(map(told["has"].__getitem__, rows))
        for name, values in told.items():
            if name in self.column:
                self.column[name].extend(map(values.__getitem__, rows))

    def _text(self, data: bytes) -> int:
        self.texts += data
        if len(self.texts) > layout.HEAP_MAX:
            raise LimitError("more than 4 GiB of link targets and attributes: too many to index")
        self.column["string_at"].append(len(self.texts))
        return len(self.column["string_at"]) - 2

    def _string(self, data: bytes) -> int:
        """A text that is likely to come again."""
        row = self._small.get(data)
        if row is None:
            row = self._small[data] = self._text(data)
        return row
