"""Clones of a directory's bytes, which stay what they were.

Strategy
A file system with reflinks gives a second file the same blocks, and copies those that are written to later. All files
are cloned into one, one behind the other: so what a frozen directory is read from is a file like any archive. It has no
name: however its readers end, nothing is left behind.

Rules
- A file's attributes are those that it had when its bytes were cloned: it is looked at before and after, and cloned
  again where it changed in between.
- Files that cannot be cloned into a plain one (btrfs does not share blocks that are not copied on write) are copied.

Source: ioctl_ficlonerange(2).
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from errno import EACCES, EBUSY, EINVAL, ENOTTY, EOPNOTSUPP, EPERM, EROFS, ETXTBSY, EXDEV

from rofuse_formats import cache
from rofuse_formats.directory.paths import open_below
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import UnsupportedError
from rofuse_formats.source import FileSource

_FICLONERANGE = 0x4020940D
_RANGE = struct.Struct("<qQQQ")  # source, offset there, bytes, offset here
_ALIGNMENT = 1 << 16  # blocks are no larger anywhere; what lies between files takes no room
_TRIES = 5
_COPY = 1 << 24
_NO_REFLINKS = frozenset((EOPNOTSUPP, ENOTTY))


class FrozenSource(FileSource):
    """The clones of a directory's files; empty until the directory is scanned, which ``keep`` is called by. Raises
    UnsupportedError where none can be made."""

    def __init__(self, directory: DirectorySource) -> None:
        self.directory = directory
        super().__init__(directory.path, _unnamed(directory), named=False)

    @property
    def name(self) -> bytes:
        return self.directory.name

    def close(self) -> None:
        self.directory.close()
        super().close()

    def filled(self) -> None:
        """All is kept that will be, by this process or another."""
        self.status = os.fstat(self.fd)
        self.size = self.status.st_size

    def keep(self, folder: int, name: bytes, status: os.stat_result) -> tuple[os.stat_result, int]:
        """The Keeper of ``scanning``."""
        for _try in range(_TRIES):
            file = open_below(folder, name)
            try:
                before = os.fstat(file)
                if not stat.S_ISREG(before.st_mode):
                    break
                address = -(-os.fstat(self.fd).st_size // _ALIGNMENT) * _ALIGNMENT
                if before.st_size:
                    self._clone(file, name, before.st_size, address)
                if _state(os.fstat(file)) == _state(before):
                    return before, address
            finally:
                os.close(file)
        raise OSError(EBUSY, "it is written to all the time")

    def _clone(self, file: int, name: bytes, size: int, address: int) -> None:
        try:
            fcntl.ioctl(self.fd, _FICLONERANGE, _RANGE.pack(file, 0, size, address))
        except OSError as error:
            shown = repr(name.decode("utf-8", "backslashreplace"))
            if error.errno in _NO_REFLINKS:
                raise UnsupportedError(
                    "cannot be frozen: its file system has no reflinks (btrfs and xfs have); leave out --freeze"
                ) from error
            if error.errno == EXDEV:
                raise UnsupportedError(
                    f"cannot be frozen: {shown} in it lies on another file system; "
                    "--one-file-system or --exclude leaves it out"
                ) from error
            if error.errno not in (EINVAL, EPERM, ETXTBSY):
                raise
            _copy(file, self.fd, size, address)


def _copy(file: int, into: int, size: int, address: int) -> None:
    """Stops early where the file ends early: it has changed, which is found out."""
    position = 0
    while position < size:
        data = os.pread(file, min(_COPY, size - position), position)
        if not data:
            break
        position += os.pwrite(into, data, address + position)


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unnamed(directory: DirectorySource) -> int:
    """A new file without a name on the directory's file system. Raises UnsupportedError, OSError."""
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    failure: OSError | None = None
    for folder in (f"/proc/self/fd/{directory.fd}", os.path.dirname(directory.path), cache.directory()):
        try:
            if os.stat(folder).st_dev == directory.status.st_dev:
                return os.open(folder, flags, 0o600)
        except OSError as error:
            failure = failure or error
    if failure is not None and failure.errno in (EACCES, EPERM, EROFS):
        raise UnsupportedError(
            f"cannot be frozen: no file can be made on its file system ({failure.strerror}); leave out --freeze"
        )
    raise UnsupportedError(
        "cannot be frozen: its file system has no files without a name; leave out --freeze"
    )
