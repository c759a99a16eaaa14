"""The directory that a snapshot is taken of, open."""

from __future__ import annotations

import os
import stat
from typing import Any

from rofuse_formats.errors import SourceError
from rofuse_formats.source import FileSource


class DirectorySource(FileSource):
    """A StoredSource that has no bytes of its own. What is below it is reached through its descriptor, whatever is
    mounted over it, or lies at its path, later on. ``hidden``: what is to be shown empty, as (st_dev, st_ino)."""

    hidden: tuple[int, int] | None = None

    def __init__(self, path: str | bytes | os.PathLike[str], fd: int = -1, *, named: bool = True) -> None:
        # Canonical: there is an index beside "." as well, and it lies not in it.
        super().__init__(os.path.realpath(os.fsdecode(path)), fd, named=named)

    def _measured(self) -> int:
        if not stat.S_ISDIR(self.status.st_mode):
            raise SourceError("is not a directory any more")
        return 0

    @property
    def name(self) -> bytes:
        return os.path.basename(os.fsencode(self.path)) or b"/"

    def reopened(self) -> DirectorySource:
        return DirectorySource(self.path)

    def pread(self, size: int, offset: int, /) -> bytes:
        return b""

    def fingerprint(self) -> dict[str, Any]:
        """What tells it from another directory. Not what it holds: that may change."""
        return {"directory": self.status.st_ino}
