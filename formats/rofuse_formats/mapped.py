"""A file's own bytes, on their way from the page cache to the kernel's ``writev``, untouched.

Strategy
A fault in a map reads as much around itself as the device is set to read ahead: MiBs on some, for a file of a few
bytes. So faults read nothing but their page, and what is asked for is announced: as it is, where the offset is
anywhere; where it goes on near the end of the one before, with ever more of what comes next.

What has been handed on stays in the page cache, but counts as this process's memory while it is mapped: every now and
then all of it is let go, and what is still on its way is mapped again when it is looked at.

Some file systems let nothing be mapped (ENODEV: FUSE with direct I/O is one): there, bytes are copied.

Rules
- Of a file that became shorter, the page that it now ends in reads as zeros behind its end, and no fault tells of that.
  So its size is looked at by every read, and nothing beyond is given out.
- Reads may come from any number of threads. What they tell each other of where reading goes on is a hint: none waits.
"""

from __future__ import annotations

import mmap
import os
from errno import ENODEV

from rofuse_formats.limits import MIB
from rofuse_formats.source import FileSource

NEAR = MIB
"""Bytes between two reads that go on from each other: headers and padding lie between files."""
FIRST, MOST = MIB // 4, 8 * MIB
"""Bytes announced ahead of a reader that goes on."""
RESIDENT = 16 * MIB
"""Bytes of the map, about, that count as this process's memory."""
_FAULT = 64 << 10  # bytes that are mapped where one is looked at, if they are in the page cache
_AT_ONCE = 128 << 10  # the kernel takes no more of an announcement than the device reads ahead


class MappedFile:
    """Of ``source``, which must stay open."""

    def __init__(self, source: FileSource) -> None:
        self._view = memoryview(b"")
        self._source = source
        self._end = -NEAR  # where the last read ended
        self._told = 0  # up to where has been announced
        self._window = 0
        self._handed_on = 0  # bytes since the map was let go
        self._map = _mapped(source)
        if self._map is not None:
            self._map.madvise(mmap.MADV_RANDOM)
            self._view = memoryview(self._map)

    def read(self, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset+size), fewer at the end. Not to be touched: the file may have been truncated. Raises
        OSError."""
        if self._map is None:
            return memoryview(self._source.pread(size, offset))
        piece = self._view[offset : offset + size]
        if piece and (now := os.lseek(self._source.fd, 0, os.SEEK_END)) < offset + len(piece):
            piece = piece[: max(0, now - offset)]
        self._look_ahead(offset, offset + len(piece))
        self._let_go(len(piece))
        return piece

    def _let_go(self, size: int) -> None:
        self._handed_on += max(size, _FAULT)
        if self._handed_on > RESIDENT and size and self._map is not None:
            self._handed_on = 0
            self._map.madvise(mmap.MADV_DONTNEED)

    def announce(self, start: int, end: int) -> None:
        """Has the kernel read these bytes, without waiting for them."""
        for at in range(start, end, _AT_ONCE):
            os.posix_fadvise(self._source.fd, at, min(_AT_ONCE, end - at), os.POSIX_FADV_WILLNEED)

    def _look_ahead(self, start: int, end: int) -> None:
        goes_on = abs(start - self._end) <= NEAR
        self._end = end
        if not goes_on:
            self._window, self._told = 0, start
        elif end + self._window // 2 <= self._told:
            return  # half of it is still ahead
        else:
            self._window = min(max(2 * self._window, FIRST), MOST)
            start = max(start, self._told)
        until = min(end + self._window, self._source.size)
        self.announce(start, until)
        self._told = until


def _mapped(source: FileSource) -> mmap.mmap | None:
    """Nothing of what is empty, or cannot be mapped. Raises OSError."""
    if not source.size:
        return None
    try:
        return mmap.mmap(source.fd, source.size, prot=mmap.PROT_READ)
    except OSError as error:
        if error.errno != ENODEV:
            raise
        return None
