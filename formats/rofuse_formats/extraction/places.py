"""Where things are extracted to: directories that are held open.

Rules
- A directory is entered by one name in the one above, and is none if it is a symbolic link.
- Only so many are open at a time. One that was closed is found again from those above it, and must still be the same.
- Names have no slash, and are neither ``.`` nor ``..``, whoever they come from.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ESTALE

from rofuse_formats.errors import IndexDamagedError

_MOST_OPEN = 64
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directory:
    """One directory below the destination, or that itself. ``is_new``: it was not there before."""

    __slots__ = ("identity", "is_new", "name", "parent")

    def __init__(
        self, parent: Directory | None, name: bytes, identity: tuple[int, int], is_new: bool
    ) -> None:
        self.parent, self.name, self.identity, self.is_new = parent, name, identity, is_new

    @property
    def path(self) -> bytes:
        """Below the destination."""
        names: list[bytes] = []
        here = self
        while here.parent is not None:
            names.append(here.name)
            here = here.parent
        return b"/".join(reversed(names))

    def below(self, name: bytes) -> bytes:
        """The path of what is called so in it."""
        return self.path + b"/" + name if self.parent is not None else name


class Places:
    """The destination and the directories in it. To be closed. Raises OSError where the destination cannot be had."""

    def __init__(self, dest: str | os.PathLike[str]) -> None:
        is_new = not os.path.isdir(dest)
        os.makedirs(dest, exist_ok=True)
        self._root_fd = os.open(dest, _FLAGS)
        self.root = Directory(None, b"", _identity(os.fstat(self._root_fd)), is_new)
        self._open: OrderedDict[Directory, int] = OrderedDict()

    def enter(self, parent: Directory, name: bytes) -> Directory:
        """A directory that is made, or is there. Raises FileExistsError where something else is in its place."""
        above, is_new = self.fd(parent), True
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise
            is_new = False
        fd = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=above)
        directory = Directory(parent, name, _identity(os.fstat(fd)), is_new)
        self._keep(directory, fd)
        return directory

    def leave(self, directory: Directory) -> None:
        """It is not needed for now."""
        fd = self._open.pop(directory, -1)
        if fd >= 0:
            os.close(fd)

    def fd(self, directory: Directory) -> int:
        """A descriptor of it, which stays open until some other is asked for. Raises OSError."""
        if directory is self.root:
            return self._root_fd
        found = self._open.get(directory)
        if found is not None:
            self._open.move_to_end(directory)
            return found
        missing: list[Directory] = []
        here: Directory = directory
        while here.parent is not None and here not in self._open:
            missing.append(here)
            here = here.parent
        fd = self._open.get(here, self._root_fd)
        for here in reversed(missing):
            fd = self._opened_again(here, fd)
        return fd

    def _opened_again(self, directory: Directory, above: int) -> int:
        fd = os.open(directory.name, _FLAGS | os.O_NOFOLLOW, dir_fd=above)
        if _identity(os.fstat(fd)) != directory.identity:
            os.close(fd)
            raise OSError(ESTALE, "a directory was replaced by another one meanwhile")
        self._keep(directory, fd)
        return fd

    def _keep(self, directory: Directory, fd: int) -> None:
        if len(self._open) >= _MOST_OPEN:
            _oldest, old = self._open.popitem(last=False)
            os.close(old)
        self._open[directory] = fd

    @contextmanager
    def kept(self, directory: Directory) -> Iterator[int]:
        """A descriptor of it that stays open meanwhile. Raises OSError."""
        fd = os.dup(self.fd(directory))
        try:
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def identity(fd: int, name: bytes) -> tuple[int, int]:
        """Tells what is called so in a directory from everything else. Raises OSError."""
        return _identity(os.stat(name, dir_fd=fd, follow_symlinks=False))

    def remove(self, directory: Directory, name: bytes) -> None:
        """Removes what is called so, a directory if it is empty. Raises OSError."""
        fd = self.fd(directory)
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        os.close(self._root_fd)

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def checked(name: bytes) -> bytes:
    """A name that an image says. Raises IndexDamagedError where it is none, which no image that was made here has."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise IndexDamagedError("the index has a name that is none")
    return name


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
