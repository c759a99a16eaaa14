"""A file that gets its name when it is complete, and leaves nothing if it never is.

Strategy
Where the file system can (O_TMPFILE), the file has no name until then: whatever ends the process takes it away. Else it
lies beside its place under another name, and is removed by who made it.
"""

from __future__ import annotations

import os
import secrets
from errno import EISDIR, ENOENT, EOPNOTSUPP

# open(2): what a kernel or a file system without O_TMPFILE says
_NOT_SUPPORTED = (EOPNOTSUPP, EISDIR, ENOENT)


class UnnamedFile:
    """The file that is to be called ``path``, open as ``fd`` for reading and writing. Raises OSError."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._folder = os.path.dirname(path) or b"."
        self._beside = b""  # its name until it is complete
        try:
            self.fd = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED or not os.path.isdir(self._folder):
                error.filename = None  # whoever asks for the file knows where it was to be
                raise
            self._beside = self._another_name()
            self.fd = os.open(self._beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    @property
    def path(self) -> str:
        """Where it can be opened now."""
        return f"/proc/self/fd/{self.fd}"

    def take_name(self) -> None:
        """All is written: the file is on its disk, and takes the place of what was called so."""
        os.fsync(self.fd)
        if not self._beside:
            beside = self._another_name()
            anywhere = os.open("/", os.O_PATH | os.O_CLOEXEC)  # with a directory Python calls linkat
            try:
                os.link(self.path, beside, src_dir_fd=anywhere, follow_symlinks=True)
            finally:
                os.close(anywhere)
            self._beside = beside
        os.rename(self._beside, self._path)
        self._beside = b""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Without ``take_name`` before, it is as if there had been no file."""
        if self._beside:
            os.unlink(self._beside)
            self._beside = b""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _another_name(self) -> bytes:
        name = os.path.basename(self._path)[:200]
        return os.path.join(self._folder, b".%s.%s.tmp" % (name, secrets.token_hex(6).encode()))
