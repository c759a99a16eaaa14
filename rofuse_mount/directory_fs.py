"""The filesystem over a directory: as over any archive, but for its files, which lie on disk and may change.

Strategy
Names and attributes are the image's. A file is opened to see whether it is still what it was; if so, the kernel reads
it itself where it can (passthrough), and keeps what it has of it. Unlike an archive's, files are opened one by one:
what was found out at one opening says nothing about the next.

Rules
- What has changed is ESTALE, at the opening, and for as long as this process reads: what the kernel reads itself, is
  looked at when it is opened. Each file is told to the log once, and shown by ``status``.
- With ``follow`` files are read as they are now, whatever size they had; nothing of them is kept.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from errno import EISDIR, ESTALE
from typing import Any

from rofuse_formats import Archive
from rofuse_formats.directory.files import DirectoryFiles
from rofuse_formats.errors import ChangedError, FormatError
from rofuse_formats.source import FileSource
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.owner_only import OwnerOnlyFilesystem
from rofuse_mount.pushing import Store
from rofuse_mount.records import Context, FileHandle, OpenResponse
from rofuse_mount.showing import show
from rofuse_mount.view import View

_MOST_NAMED, _LONGEST_NAMES = 100, 1 << 14  # changed files that ``status`` names, and all their characters


class _Opened(OpenResponse):
    """Holds the file until the reply is made."""

    __slots__ = ("file",)

    def __init__(self, file: FileSource) -> None:
        super().__init__(keep_cache=True, backing_fd=file.fd)
        self.file = file


class DirectoryFilesystem(ArchiveFilesystem):
    """Serves a directory that is read where it lies. As ArchiveFilesystem."""

    passthrough = True

    def __init__(
        self, archive: Archive, view: View | None = None, *, log: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__(archive, view, log=log)
        if archive.files is None:
            raise ValueError("an archive whose files do not lie on disk")
        self._files: DirectoryFiles = archive.files
        self._changed: dict[int, str] = {}  # by nodeid, the path
        self.passthrough = not self._files.follow

    def store_ahead(self, store: Store) -> None:
        """Nothing: a file that has changed is found when it is opened, and must not be in the cache before."""

    def open(self, ctx: Context, ino: int, flags: int) -> OpenResponse:
        node = self._node(ino)
        if not stat.S_ISREG(self._image.mode[node - 1]):
            raise IsADirectoryError(EISDIR, "not a file")
        try:
            file = self._files.at_hand(node)
        except ChangedError as error:
            raise self._stale(node, error) from error
        return OpenResponse(direct_io=True) if self._files.follow else _Opened(file)

    def read(self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int) -> list[memoryview]:
        if self._files.follow:
            try:
                return [memoryview(self._files.read_now(self._node(ino), offset, size))]
            except ChangedError as error:
                raise self._stale(self._node(ino), error) from error
        return super().read(ctx, ino, fh, offset, size)

    def figures(self) -> dict[str, Any]:
        return super().figures() | {"changed": sorted(filter(None, list(self._changed.values())))}

    def _tell(self, node: int, offset: int, error: FormatError) -> None:
        if isinstance(error, ChangedError):
            self._stale(node, error)
        else:
            super()._tell(node, offset, error)

    def _stale(self, node: int, error: ChangedError) -> OSError:
        """What a reader is told of a file that has changed."""
        if node not in self._changed and len(self._changed) < _MOST_NAMED:
            path = self._image.path(node)
            room = max(0, _LONGEST_NAMES - sum(map(len, self._changed.values())))
            self._changed[node] = path[:room].decode("utf-8", "surrogateescape")
            self._log(f"{show(path)}: {error}")
        return OSError(ESTALE, str(error))


class OwnerOnlyDirectory(OwnerOnlyFilesystem, DirectoryFilesystem):
    """For the user who mounts and root alone."""
