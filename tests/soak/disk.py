"""A disk that can be made to fail: ``python disk.py FILE ORDER MOUNTPOINT``, a file system of this package."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Any, ClassVar

from rofuse_mount import Attr, Entry, Filesystem, mount


def serve_disk(file: str, order: str, mountpoint: str) -> None:
    """Serves ``file`` below ``mountpoint``; while ``order`` exists, it cannot be read."""
    fd, size = os.open(file, os.O_RDONLY), os.stat(file).st_size

    class Disk(Filesystem):
        attrs: ClassVar = {
            1: Attr(1, stat.S_IFDIR | 0o755, nlink=2),
            2: Attr(2, stat.S_IFREG | 0o644, size=size, mtime_ns=1_700_000_000 * 10**9),
        }

        def getattr(self, ctx: Any, ino: int, fh: Any) -> Attr:
            return self.attrs[ino]

        def lookup(self, ctx: Any, parent: int, name: bytes) -> Entry:
            if name != os.path.basename(file).encode():
                raise FileNotFoundError
            return Entry(2, self.attrs[2])

        def read(self, ctx: Any, ino: int, fh: Any, offset: int, size: int) -> bytes:
            if os.path.exists(order):
                raise OSError(errno.EIO, "a bad sector")
            return os.pread(fd, size, offset)

    mount(mountpoint, Disk()).serve()


if __name__ == "__main__":
    serve_disk(*sys.argv[1:])
