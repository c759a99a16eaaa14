"""What the inodes of a directory's image were on disk: a section of its index.

Layout: columns with a row for each inode, as ``image.layout`` has them: ``start`` (64 bits, the address of a file's
first byte), ``inode`` (64 bits, the number on disk), ``mountpoint`` (8 bits, 1 where something was mounted on it).

Addresses are those of the stream that an archive is read from: as if the files lay one behind the other, in the order
of their inodes. They ascend: what is at an address is found by bisection.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right

from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image.reader import Image, mapped_column

_ROW = 8 + 8 + 1


class TableWriter:
    """Takes the rows in their order."""

    def __init__(self) -> None:
        self._start, self._inode, self._mountpoint = array("Q"), array("Q"), bytearray()
        self.modes = array("H")

    def add(self, mode: int, start: int, inode: int, mountpoint: bool) -> None:
        self.modes.append(mode)
        self._start.append(start)
        self._inode.append(inode)
        self._mountpoint.append(mountpoint)

    def finish(self) -> bytes:
        if sys.byteorder == "big":
            self._start.byteswap()
            self._inode.byteswap()
        return self._start.tobytes() + self._inode.tobytes() + bytes(self._mountpoint)


class Table:
    """The section, of an image's index. Raises IndexDamagedError where it is none. Columns are indexed by row."""

    def __init__(self, section: memoryview, image: Image) -> None:
        rows = image.inode_count
        if len(section) != rows * _ROW:
            raise IndexDamagedError("the index lacks what the directory's files were")
        self.start = mapped_column(section[: 8 * rows], "Q")
        self.inode = mapped_column(section[8 * rows : 16 * rows], "Q")
        self.mountpoint = section[16 * rows :]

    def node_at(self, address: int) -> int:
        """Nodeid of the file at an address: the last that does not begin behind it. 0 where all do."""
        return bisect_right(self.start, address)
