"""Indexes what takes next to nothing, in the process that asks for it.

Whoever indexes any archive whatever does it in a process apart (``rofuse_mount.cli.opening``): it may take much memory
for a while, and decodes what a stranger wrote with C libraries. To start one takes longer than to read the central
directory of a zip archive with some hundred members, which needs neither (but for the targets of symbolic links that
are compressed: those are decoded as any member is that is read).

Rules
- What is indexed here is not compressed as a whole, holds no archives, and its format reads it by its own Python code.
- An index that took more than ``READ_AT_MOST`` bytes of the archive is given up before they are read, and nothing is
  left of it. What a description costs in memory and time is so bounded by what it takes in the archive: some ten
  thousand members at most.
- With a password nothing is indexed here: to decrypt is slow on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rofuse_formats.detect import HEAD, archive_of
from rofuse_formats.entry import NestedFormat
from rofuse_formats.indexing import write_index
from rofuse_formats.settings import Settings
from rofuse_formats.source import FileSource, StoredSource

READ_AT_MOST = 1 << 20
"""Bytes of the archive, the sample included that tells it from others."""


class _SpentError(Exception):
    """It takes more than next to nothing."""


class _Allowance:
    """A source of which so much may be read, and no more."""

    def __init__(self, source: StoredSource, left: int) -> None:
        self.path, self.named, self.status, self.size = source.path, source.named, source.status, source.size
        self._source, self._left = source, left

    @property
    def name(self) -> bytes:
        return self._source.name

    @property
    def files(self) -> Sequence[FileSource]:
        return self._source.files

    @property
    def starts(self) -> Sequence[int]:
        return self._source.starts

    def pread(self, size: int, offset: int, /) -> bytes:
        self._left -= max(0, min(size, self.size - offset))
        if self._left < 0:
            raise _SpentError
        return self._source.pread(size, offset)

    def reopened(self) -> StoredSource:
        return self._source.reopened()

    def close(self) -> None:
        self._source.close()


def write_quick_index(source: StoredSource, fd: int, settings: Settings) -> bool:
    """As ``indexing.write_index``, without a spool; False where it would take more than next to nothing, and ``fd`` is
    as empty as it was. Raises as that."""
    if settings.scan.password is not None:
        return False
    archive = archive_of(source.pread(HEAD, 0))
    if archive is None or isinstance(archive, NestedFormat) or hasattr(archive, "needs"):
        return False
    try:
        write_index(_Allowance(source, READ_AT_MOST), fd, settings)
    except _SpentError:
        os.ftruncate(fd, 0)
        return False
    return True
