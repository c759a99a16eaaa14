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
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from rofuse_formats.errors import SourceError, UnknownFormatError


class Source(Protocol):
    """Random access to immutable bytes."""

    size: int

    def pread(self, size: int, offset: int, /) -> bytes:
        """Bytes [offset, offset+size), shorter only where the source ends. Raises OSError or a FormatError."""
        ...


class StoredSource(Source, Protocol):
    """What an archive is kept in: a file, or the parts that it was split into."""

    path: str | bytes
    named: bool
    """Whether ``path`` leads to it; else it is what a file without a name is called in messages."""
    status: os.stat_result
    """Of the file at ``path``."""

    @property
    def name(self) -> bytes:
        """What the archive is called, without its directories, and without what numbers its parts."""
        ...

    @property
    def files(self) -> Sequence[FileSource]:
        """In the order of their bytes."""
        ...

    @property
    def starts(self) -> Sequence[int]:
        """Where each of the files begins."""
        ...

    def reopened(self) -> StoredSource:
        """What lies at the same paths now. Raises SourceError, UnknownFormatError."""
        ...

    def close(self) -> None: ...


class FileSource:
    """A regular file (or block device) as a Source. Owns its descriptor (``fd``, where it is open already), and closes
    it when it is dropped. ``link``: whether a symbolic link is followed to it."""

    fd = -1
    starts = (0,)

    def __init__(
        self, path: str | bytes | os.PathLike[str], fd: int = -1, *, named: bool = True, link: bool = True
    ) -> None:
        self.path = os.fspath(path)
        self.named, self._link = named, link
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if link else os.O_NOFOLLOW)
        try:
            self.fd = fd if fd >= 0 else os.open(self.path, flags)
        except OSError as error:
            raise SourceError(f"cannot be opened: {error.strerror}") from error
        self.status = os.fstat(self.fd)
        try:
            self.size = self._measured()
        except BaseException:
            self.close()
            raise

    def _measured(self) -> int:
        """Its bytes. Raises SourceError, UnknownFormatError where it is of a kind that has none."""
        mode = self.status.st_mode
        if stat.S_ISREG(mode):
            return self.status.st_size
        if stat.S_ISBLK(mode):
            return os.lseek(self.fd, 0, os.SEEK_END)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise UnknownFormatError(f"is {kind}; give an archive file")

    @property
    def name(self) -> bytes:
        return os.path.basename(os.fsencode(self.path))

    @property
    def files(self) -> Sequence[FileSource]:
        return (self,)

    def reopened(self) -> FileSource:
        return FileSource(self.path, link=self._link)

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


class JoinedSource:
    """Several files, one behind the other. ``path``: the one that the whole is known by; ``name``: see StoredSource."""

    named = True

    def __init__(self, files: Sequence[FileSource], path: str | bytes, name: bytes) -> None:
        self.path, self.name, self.files = path, name, files
        self.status = next(file for file in files if file.path == path).status
        self.starts = starts(file.size for file in files)
        self.size = self.starts.pop()

    def pread(self, size: int, offset: int, /) -> bytes:
        parts = []
        for number, at, count in runs(self.starts, offset, min(size, self.size - offset)):
            parts.append(self.files[number].pread(count, at))
            if len(parts[-1]) < count:
                break  # it became shorter: nothing that follows is where it was
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def reopened(self) -> JoinedSource:
        return JoinedSource([file.reopened() for file in self.files], self.path, self.name)

    def close(self) -> None:
        for file in self.files:
            file.close()


class SourcePart:
    """Bytes [start, start+size) of a source as one of its own: fewer, where the source ends before."""

    def __init__(self, source: Source, start: int, size: int) -> None:
        self.size = max(0, min(size, source.size - start))
        self._source, self._start = source, start

    def pread(self, size: int, offset: int, /) -> bytes:
        size = min(size, self.size - offset)
        return self._source.pread(size, self._start + offset) if size > 0 else b""


def starts(sizes: Iterable[int]) -> list[int]:
    """Where each of things of these sizes begins that lie one behind the other; and where they end."""
    return [0, *accumulate(sizes)]


def runs(starts: Sequence[int], offset: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Bytes [offset, offset+size) in runs: in which thing each lies, at what offset there, and how many bytes."""
    number = bisect_right(starts, offset) - 1
    while size > 0:
        end = starts[number + 1] if number + 1 < len(starts) else offset + size
        count = min(size, end - offset)
        if count:
            yield number, offset - starts[number], count
        offset, size, number = offset + count, size - count, number + 1


def files_of(source: object) -> Sequence[FileSource]:
    """The files that a source or a stream is the bytes of, in their order; none where it is no file's."""
    found: Sequence[FileSource] = getattr(source, "files", ())
    return found


def starts_of(source: Source) -> Sequence[int]:
    """Where the files begin that a source is joined of; of any other, its own beginning."""
    found: Sequence[int] = getattr(source, "starts", (0,))
    return found
