"""Bytes of a map as bytes of one's own.

A page of a map whose file was truncated kills the process that touches it. So they are copied by the kernel, for which
it is an error: through a file in memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from errno import EFAULT

from rofuse_formats.errors import DamagedError


class Copier:
    """Copies what must not be touched, by one thread at a time. Closed when it is dropped, at the latest."""

    def __init__(self) -> None:
        self._fd = -1  # until something is mapped

    def copy(self, piece: memoryview, target: memoryview) -> None:
        """Copies ``piece``, which may be a part of a map, to ``target``, which is as large. Raises DamagedError where
        its file has become shorter, OSError."""
        if not isinstance(piece.obj, mmap.mmap):
            target[:] = piece
            return
        if self._fd < 0:
            self._fd = os.memfd_create("rofuse-copy", os.MFD_CLOEXEC)
        done = 0
        while done < len(piece):
            try:
                count = os.pwrite(self._fd, piece[done:], 0)
            except OSError as error:
                if error.errno != EFAULT:
                    raise
                raise DamagedError("the archive has become shorter since it was opened") from error
            done += os.preadv(self._fd, [target[done : done + count]], 0)

    def own(self, piece: memoryview) -> memoryview | bytearray:
        """``piece``, or a copy of it where it is a part of a map. Raises as ``copy``."""
        if not isinstance(piece.obj, mmap.mmap):
            return piece
        data = bytearray(len(piece))
        self.copy(piece, memoryview(data))
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self._fd >= 0:
            close(self._fd)


def joined(pieces: Iterable[memoryview]) -> bytes:
    """What they hold together. Raises as ``Copier.copy``."""
    copier = Copier()
    try:
        return b"".join(map(copier.own, pieces))
    finally:
        copier.close()
