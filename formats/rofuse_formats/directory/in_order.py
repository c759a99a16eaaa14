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
from collections.abc import Callable

from rofuse_formats.directory.files import ELSEWHERE, DirectoryFiles
from rofuse_formats.directory.paths import Held
from rofuse_formats.errors import ChangedError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC


class FilesInOrder:
    """Closed when it is dropped, at the latest."""

    def __init__(self, files: DirectoryFiles) -> None:
        self._files = files
        self._node, self._fd = 0, -1  # the last file
        self._parent = 0  # the directory that it lies in
        self._folder: Held | None = None

    def read(self, node: int, offset: int, size: int) -> bytes:
        """Bytes [offset, offset+size) of a regular file, fewer where it ends early. Raises ChangedError, OSError."""
        if node != self._node:
            self.close()
            self._open(node)
        fd = self._fd
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ChangedError("it is no longer a file")
        self._files.check(node, status)
        data = os.pread(fd, size, offset)
        while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
            data += more  # a signal or a network file system may cut a read short
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._node, self._fd = 0, -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self._fd >= 0:
            close(self._fd)

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
