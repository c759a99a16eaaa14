"""The filesystem over an archive, for its owner and root alone."""

from __future__ import annotations

import os
from errno import EACCES

from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.records import Context, FileHandle


class OwnerOnlyFilesystem(ArchiveFilesystem):
    """As ``-o allow_root`` wants it: for the user who mounts and root alone. The kernel knows only "the one" and "all",
    so it lets all in, and who it is is asked here; nothing may then be kept that was told to somebody else."""

    def lookup(self, ctx: Context, parent: int, name: bytes) -> bytes:
        self._admit(ctx)
        return super().lookup(ctx, parent, name)

    def getattr(self, ctx: Context, ino: int, fh: FileHandle | None) -> bytes:
        self._admit(ctx)
        return super().getattr(ctx, ino, fh)

    def readdirplus(self, ctx: Context, ino: int, fh: FileHandle, offset: int, size: int) -> bytes:
        self._admit(ctx)
        return super().readdirplus(ctx, ino, fh, offset, size)

    def readlink(self, ctx: Context, ino: int) -> bytes:
        self._admit(ctx)
        return super().readlink(ctx, ino)

    @staticmethod
    def _admit(ctx: Context) -> None:
        if ctx.uid not in (0, os.getuid()):
            raise PermissionError(EACCES, "for its owner and root only")
