"""A file of an archive as one of Python's own: ``Archive.open``.

Bytes that lie in the archive as they are come as views of a map, and a page of a map whose file was truncated kills the
process that touches it. So those are copied by the kernel, for which it is an error: through a file in memory.
"""

from __future__ import annotations

import io
import mmap
import os
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from rofuse_formats.errors import DamagedError
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
        self._copier: _Copier | None = None

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
            target = view[count : count + len(piece)]
            if isinstance(piece.obj, mmap.mmap):
                self._copier = self._copier or _Copier()
                self._copier.copy(piece, target)
            else:
                target[:] = piece
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
        if self._copier is not None:
            self._copier.close()
            self._copier = None
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")


class _Copier:
    """Copies what must not be touched."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("rofuse-member", os.MFD_CLOEXEC)

    def copy(self, piece: memoryview, target: memoryview) -> None:
        done = 0
        while done < len(piece):
            try:
                count = os.pwrite(self._fd, piece[done:], 0)
            except OSError as error:
                if error.errno != EFAULT:
                    raise
                raise DamagedError("the archive has become shorter since it was opened") from error
            done += os.preadv(self._fd, [target[done : done + count]], 0)

    def close(self) -> None:
        os.close(self._fd)
