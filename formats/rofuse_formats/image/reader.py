"""Asking an inode image.

Strategy
The columns are ``memoryview.cast`` views of the mapped file: reading a field is one index operation and copies
nothing. An image is trusted no further than its header: a value that points astray raises IndexError or
IndexDamagedError here, it never reads outside the image.

Rules
- Inodes are named by nodeid (row + 1). Methods take nodeids, columns are indexed by row.
- Names are bytes. Nothing is decoded.
"""

from __future__ import annotations

import stat
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from rofuse_formats.entry import Extent, PackedMember, Time
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image import layout

Column = memoryview


def mapped_column(view: memoryview, code: str) -> memoryview:
    """Little-endian numbers of a type of ``array``, where they lie."""
    if sys.byteorder == "big":
        swapped = array(code, view.tobytes())
        swapped.byteswap()
        return memoryview(swapped)
    native: Any = code  # the types know literal codes only; ours are in layout's table
    numbers: memoryview = view.cast(native)
    return numbers


class Image:
    """An immutable tree. ``buffer`` is the image's bytes (a memoryview over a map, or bytes)."""

    def __init__(self, buffer: bytes | memoryview) -> None:
        view = memoryview(buffer)
        columns, heaps, counts = layout.places(view, len(view))
        found = {
            name: mapped_column(view[at : at + size], code)
            for (name, code, _table, _extra), (at, size) in zip(layout.COLUMNS, columns, strict=True)
        }
        self.buffer = view
        self._expected = -1  # where in ``order`` the next name is that is looked up; a hint
        self.inode_count = counts[layout.INODES]
        self.dirent_count = counts[layout.DIRENTS]
        self.extent_count = counts[layout.EXTENTS]
        self.size, self.mtime, self.data = found["size"], found["mtime"], found["data"]
        self.owner, self.nlink, self.parent = found["owner"], found["nlink"], found["parent"]
        self.mtime_ns, self.mode = found["mtime_ns"], found["mode"]
        self.name_at, self.child, self.order = found["name_at"], found["child"], found["order"]
        self.uid, self.gid = found["uid"], found["gid"]
        self.owner_name_rows = found["uname"], found["gname"]
        self.string_at, self.pieces_at = found["string_at"], found["pieces_at"]
        self._extents = found["logical"], found["length"], found["offset"], found["stream"]
        self._members = tuple(
            found[name] for name in ("member_at", "packed", "member_crc", "method", "member_flags")
        )
        self.xattr_rows = found["xattr_node"], found["xattr_name"], found["xattr_value"]
        self.time_node, self.time_has = found["time_node"], found["time_has"]
        self.time_columns = tuple((found[name], found[name + "_ns"]) for name in ("atime", "ctime", "btime"))
        self.names, self.texts = (view[at : at + size] for at, size in heaps)
        if not stat.S_ISDIR(self.mode[0]):
            raise IndexDamagedError("the inode image's root is not a directory")

    @property
    def has_xattrs(self) -> bool:
        return len(self.xattr_rows[0]) > 0

    def xattr_names(self) -> set[bytes]:
        """Every name that an extended attribute has."""
        return {self.string(row) for row in set(self.xattr_rows[1])}

    def is_directory(self, node: int) -> bool:
        return stat.S_ISDIR(self.mode[node - 1])

    def dirents(self, node: int) -> range:
        """Rows of a directory's dirents, in archive order. Empty for what is no directory."""
        row = node - 1
        if not stat.S_ISDIR(self.mode[row]):
            return range(0)
        first = self.data[row]
        end = first + self.size[row]
        if end > self.dirent_count:
            raise IndexDamagedError(f"directory {node} claims entries {first} to {end}")
        return range(first, end)

    def name(self, dirent: int) -> bytes:
        return bytes(self.names[self.name_at[dirent] : self.name_at[dirent + 1]])

    def lookup(self, node: int, name: bytes) -> int:
        """Nodeid of ``name`` in directory ``node``, 0 where there is none. O(log n) whatever the names are, and at once
        where they are looked up in their order."""
        low, high = (rows := self.dirents(node)).start, rows.stop
        order, names, name_at = self.order, self.names, self.name_at
        middle = self._expected
        while low < high:
            if not low <= middle < high:
                middle = (low + high) >> 1
            dirent = order[middle]
            found = bytes(names[name_at[dirent] : name_at[dirent + 1]])
            if found < name:
                low = middle + 1
            elif found == name:
                self._expected = middle + 1
                return self.child[dirent]
            else:
                high = middle
            middle = -1
        return 0

    def resolve(self, path: bytes) -> int:
        """Nodeid of a path below the root (leading and doubled slashes and ``.`` allowed), 0 where there is none.
        Symlinks are not followed."""
        node = layout.ROOT
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            node = self.parent[node - 1] if name == b".." else self.lookup(node, name)
            if node == 0:
                break
        return node

    def string(self, row: int) -> bytes:
        return bytes(self.texts[self.string_at[row] : self.string_at[row + 1]])

    def target(self, node: int) -> bytes:
        """A symlink's target, unless that is packed."""
        return self.string(self.data[node - 1])

    def is_packed(self, node: int) -> bool:
        """Whether the bytes of a regular file, or a symlink's target, are a member that is compressed by itself."""
        row = node - 1
        is_filled = stat.S_ISREG(self.mode[row]) or stat.S_ISLNK(self.mode[row])
        return is_filled and self.data[row] >> layout.DATA_SHIFT == layout.DATA_MEMBER

    def owner_names(self, owner: int) -> tuple[bytes, bytes]:
        """User and group name of a row of owners; empty where the archive has none."""
        unames, gnames = self.owner_name_rows
        return self.string(unames[owner]), self.string(gnames[owner])

    def extents(self, node: int) -> list[Extent]:
        """A regular file's runs of bytes, ascending; what none covers is a hole."""
        return list(self.each_extent(node))

    def each_extent(self, node: int) -> Iterator[Extent]:
        """The same one by one: there may be a million."""
        row = node - 1
        if not stat.S_ISREG(self.mode[row]):
            return
        word, size = self.data[row], self.size[row]
        kind = word >> layout.DATA_SHIFT
        if kind == layout.DATA_OFFSET:
            if size:
                yield Extent(0, size, word)
        elif kind == layout.DATA_MEMBER:
            if size:
                yield Extent(0, size, word & layout.DATA_MASK, layout.MEMBER_STREAM)
        else:
            yield from map(self._extent, self._pieces(node))

    def extents_from(self, node: int, start: int) -> Iterator[Extent]:
        """Those of ``extents`` that have bytes from ``start`` on: found in O(log n), of a file that has a million."""
        row = node - 1
        if not stat.S_ISREG(self.mode[row]) or self.data[row] >> layout.DATA_SHIFT != layout.DATA_PIECES:
            yield from (extent for extent in self.extents(node) if extent.logical + extent.length > start)
            return
        rows = self._pieces(node)
        first = max(
            bisect_right(self._extents[0], start, rows.start, max(rows.start, rows.stop)) - 1, rows.start
        )
        for number in range(first, rows.stop):
            extent = self._extent(number)
            if extent.logical + extent.length > start:
                yield extent

    def piece_lengths(self, node: int) -> memoryview:
        """Bytes of each run of a file in pieces."""
        rows = self._pieces(node)
        return self._extents[1][rows.start : rows.stop]

    def _pieces(self, node: int) -> range:
        """Rows of the extents of a file in pieces."""
        word = self.data[node - 1]
        if word >> layout.DATA_SHIFT != layout.DATA_PIECES:
            raise IndexDamagedError(f"inode {node} has a data word of an unknown kind")
        piece = word & layout.DATA_MASK
        return range(self.pieces_at[piece], self.pieces_at[piece + 1])

    def _extent(self, row: int) -> Extent:
        logical, length, offset, stream = self._extents
        return Extent(logical[row], length[row], offset[row], stream[row])

    @property
    def has_members(self) -> bool:
        """Whether there are members that are compressed by themselves."""
        return len(self._members[0]) > 0

    @property
    def member_count(self) -> int:
        return len(self._members[0])

    def member(self, row: int) -> PackedMember:
        """A row of these members."""
        at, packed, crc, method, flags = self._members
        return PackedMember(at[row], packed[row], crc[row], method[row], flags[row])

    def members(self) -> Iterator[PackedMember]:
        """All rows of these members."""
        return map(PackedMember._make, zip(*self._members, strict=True))

    def xattrs(self, node: int) -> list[tuple[bytes, bytes]]:
        """Extended attributes as (name, value), in the order of their names."""
        nodes, names, values = self.xattr_rows
        first = bisect_left(nodes, node)
        found = []
        for i in range(first, len(nodes)):
            if nodes[i] != node:
                break
            found.append((self.string(names[i]), self.string(values[i])))
        return found

    def time_row(self, node: int) -> int:
        """Row of an inode's further times, -1 where the archive has none for it."""
        rows = len(self.time_node)
        missing = self.inode_count - rows  # where few lack times, the row is near the nodeid's
        row = bisect_left(self.time_node, node, max(0, node - 1 - missing), min(node, rows))
        return row if row < rows and self.time_node[row] == node else -1

    def times(self, node: int) -> tuple[Time | None, Time | None, Time | None]:
        """atime, ctime, btime where the archive has them."""
        row = self.time_row(node)
        if row < 0:
            return None, None, None
        has = self.time_has[row]
        atime, ctime, btime = (
            Time(seconds[row], nanoseconds[row]) if has & (1 << bit) else None
            for bit, (seconds, nanoseconds) in enumerate(self.time_columns)
        )
        return atime, ctime, btime

    def walk(self, node: int = layout.ROOT, path: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """``(path, nodeid)`` of everything below ``node``, depth first, a directory before its entries, each
        directory in archive order. ``path`` is put before each name. The tree may be of any depth. Each directory is
        entered once: it is numbered after its parent and those before it there, and says whose it is. All together have
        no more entries than there are."""
        prefix = bytearray(path + b"/" if path else b"")
        entries = self.dirents(node)
        unclaimed = self.dirent_count - len(entries)
        stack = [(len(prefix), node, iter(entries))]  # no path of each: deep ones would take a lot
        last = node  # directory that was entered
        while stack:
            length, directory, rows = stack[-1]
            del prefix[length:]
            head = bytes(prefix)
            for dirent in rows:
                child, name = self.child[dirent], self.name(dirent)
                yield head + name, child
                if self.is_directory(child):
                    if child <= max(directory, last) or self.parent[child - 1] != directory:
                        raise IndexDamagedError(f"directory {child} is in two places")
                    entries = self.dirents(child)
                    unclaimed -= len(entries)
                    if unclaimed < 0:
                        raise IndexDamagedError(f"directory {child} claims entries of another")
                    prefix += name + b"/"
                    stack.append((len(prefix), child, iter(entries)))
                    last = child
                    break
            else:
                last = directory
                stack.pop()

    def path(self, node: int) -> bytes:
        """One path of an inode, for messages. Empty for the root."""
        parts: list[bytes] = []
        while node != layout.ROOT and len(parts) < 4096:
            parent = self.parent[node - 1]
            row = next((row for row in self.dirents(parent) if self.child[row] == node), None)
            if row is None:
                break
            parts.append(self.name(row))
            node = parent
        return b"/".join(reversed(parts))
