"""Bytes at an offset: what scanners and codecs read from.

Rules
- A Source is read by ``pread(size, offset)``; there is no position to share between threads.
- ``pread`` returns exactly ``size`` bytes except at the end of the source. It never maps: a page of a map whose
  file was truncated kills the process that touches it, a short read does not.
- ``size`` is what the source had when it was opened. Bytes beyond it are never asked for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Protocol

from rofuse_formats.errors import SourceError, UnknownFormatError


class Source(Protocol):
    """Random access to immutable bytes."""

    size: int

    def pread(self, size: int, offset: int, /) -> bytes:
        """Bytes [offset, offset+size), shorter only where the source ends. Raises OSError or a FormatError."""
        ...


class FileSource:
    """A regular file (or block device) as a Source. Owns its descriptor (``fd``, where it is open already), and closes
    it when it is dropped."""

    fd = -1

    def __init__(self, path: str | bytes | os.PathLike[str], fd: int = -1, *, named: bool = True) -> None:
        self.path = os.fspath(path)
        self.named = named
        """Whether ``path`` leads to it; else it is what a file without a name is called in messages."""
        try:
            self.fd = fd if fd >= 0 else os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SourceError(f"cannot be opened: {error.strerror}") from error
        status = os.fstat(self.fd)
        if stat.S_ISREG(status.st_mode):
            self.size = status.st_size
        elif stat.S_ISBLK(status.st_mode):
            self.size = os.lseek(self.fd, 0, os.SEEK_END)
        else:
            self.close()
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise UnknownFormatError(f"is {kind}; give an archive file")
        self.status = status

    def pread(self, size: int, offset: int, /) -> bytes:
        data = os.pread(self.fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]  # a signal or a network file system may cut a read short
        got = len(data)
        while got < size:
            data = os.pread(self.fd, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self.fd >= 0:
            close(self.fd)
