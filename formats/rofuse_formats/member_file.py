"""A file of an archive as one of Python's own: ``Archive.open``.

Bytes that lie in the archive as they are come as views of a map, and are copied from there (``copying``).
"""

from __future__ import annotations

import io
import os
from errno import EINVAL
from typing import TYPE_CHECKING

from rofuse_formats.copying import Copier
from rofuse_formats.names import Path, raw, regular, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import WriteableBuffer

    from rofuse_formats.archive import Archive

_BUFFER = 1 << 17  # what decoded data is kept in pieces of


def opened(archive: Archive, path: Path) -> io.BufferedReader:
    """See ``Archive.open``."""
    _found, node = regular(archive, path)
    return io.BufferedReader(MemberFile(archive, node, text(raw(path))), _BUFFER)


class MemberFile(io.RawIOBase):
    """The regular file ``node`` of an archive. ``name``: what it is called."""

    def __init__(self, archive: Archive, node: int, name: str) -> None:
        self.name, self.mode = name, "rb"
        self._archive, self._node = archive, node
        self._size = int(archive.image.size[node - 1])
        self._position = 0
        self._copier = Copier()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Raises as ``Archive.read``."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        count = self._copy(self._archive.read(self._node, self._position, len(view)), view)
        self._position += count
        return count

    def _copy(self, pieces: Sequence[memoryview], view: memoryview) -> int:
        count = 0
        for piece in pieces:
            self._copier.copy(piece, view[count : count + len(piece)])
            count += len(piece)
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        if whence not in bases:
            raise ValueError(f"cannot seek that way ({whence})")
        position = bases[whence] + offset
        if position < 0:
            raise OSError(EINVAL, "before the beginning of the file")
        self._position = position
        return position

    def tell(self) -> int:
        self._check_open()
        return self._position

    def close(self) -> None:
        self._copier.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
