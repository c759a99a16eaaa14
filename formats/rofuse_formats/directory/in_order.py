"""The files of a directory read one after the other, each whole: for who reads all of them.

Strategy
The directory that the last file lay in is kept open, and the last file, until another one is asked for: so a file costs
no more calls than its bytes, its name and a look at it take.

Rules
- As in ``files``: what has changed raises ChangedError, and whether it has is asked before each read.
- A file is opened by its name, in its directory, which ``paths`` leads to. No symbolic link is followed. Whatever else
  lies there by now, something that was mounted on it too, is not the inode that it was, and is not read.
- One thread at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Protocol

from rofuse_formats.directory.files import ELSEWHERE
from rofuse_formats.directory.holes import data_runs
from rofuse_formats.directory.paths import Held
from rofuse_formats.errors import ChangedError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC


class Places(Protocol):
    """What is known of files, each by a number, and where they lie (``files.DirectoryFiles``)."""

    def place(self, node: int, /) -> tuple[int, bytes]:
        """The directory that a file lies in, and its name there. Raises ChangedError."""
        ...

    def folder(self, node: int, /) -> Held:
        """A directory, to open things in. Raises ChangedError, OSError."""
        ...

    def check(self, node: int, status: os.stat_result, /) -> None:
        """Raises ChangedError where ``status`` is not that of the file as it was."""
        ...


class FilesInOrder:
    """Closed when it is dropped, at the latest."""

    def __init__(self, files: Places) -> None:
        self._files = files
        self._node, self._fd = 0, -1  # the last file
        self._parent = 0  # the directory that it lies in
        self._folder: Held | None = None

    def read(self, node: int, offset: int, size: int) -> bytes:
        """Bytes [offset, offset+size) of a regular file, fewer where it ends early. Raises ChangedError, OSError."""
        fd = self._opened(node)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ChangedError("it is no longer a file")
        self._files.check(node, status)
        data = os.pread(fd, size, offset)
        while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
            data += more  # a signal or a network file system may cut a read short
        return data

    def runs(self, node: int, size: int) -> Iterator[tuple[int, int]]:
        """Where in its first ``size`` bytes a file has data, ascending: [begin, end). To be iterated while no other
        file is read. Raises as ``read``."""
        return data_runs(self._opened(node), 0, size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._node, self._fd = 0, -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self._fd >= 0:
            close(self._fd)

    def _opened(self, node: int) -> int:
        if node != self._node:
            self.close()
            self._open(node)
        return self._fd

    def _open(self, node: int) -> None:
        parent, name = self._files.place(node)
        try:
            if parent != self._parent or self._folder is None:
                self._parent, self._folder = parent, self._files.folder(parent)
            self._fd = os.open(name, _FLAGS, dir_fd=self._folder.fd)
        except OSError as error:
            if error.errno in ELSEWHERE:
                raise ChangedError("it is no longer there") from error
            raise
        self._node = node
