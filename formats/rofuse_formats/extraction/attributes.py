"""Owner, mode, times and extended attributes of what is extracted.

Rules
- As tar does: owners as root only; setuid and setgid only with the owner that they were set for; without
  ``permissions`` the mode less the umask.
- Who is not root gets the attributes ``user.*``; access control lists, capabilities and labels are for root.
- The owner is given first, for that takes setuid and capabilities away; times last, for all else changes them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import ENOTSUP
from functools import partial

from rofuse_formats.image.reader import Image

_NS = 1_000_000_000
_USERS = b"user."


class Attributes:
    """Of the inodes of ``image``. ``warn``: told once where the file system has no extended attributes."""

    def __init__(self, image: Image, owners: bool, permissions: bool, warn: Callable[[str], None]) -> None:
        self._image, self._owners, self._warn = image, owners, warn
        self._mask = 0o7777 if permissions else 0o777 & ~_umask()
        if not owners:
            self._mask &= ~0o6000
        self._told = False

    def closes(self, node: int) -> bool:
        """Whether a directory of this mode keeps its owner from what is in it."""
        return self._mode(node) & 0o700 != 0o700

    def give(self, fd: int, node: int) -> None:
        """To an open file or directory. Raises OSError when one of them could not be given; the others are."""
        with _All() as attempt:
            if self._owners:
                attempt(lambda: os.fchown(fd, *self._owner(node)))
            failed = attempt.error is not None
            self._give_xattrs(fd, node, attempt)
            # Without its owner nothing is setuid.
            attempt(lambda: os.fchmod(fd, self._mode(node) & (0o1777 if failed else 0o7777)))
            attempt(lambda: os.utime(fd, ns=self._times(node)))

    def give_named(self, directory: int, name: bytes, node: int) -> None:
        """As ``give``, to what was made under this name and is not to be opened: a link, a device, a pipe."""
        with _All() as attempt:
            if self._owners:
                uid, gid = self._owner(node)
                attempt(lambda: os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False))
            if self._owners or not stat.S_ISLNK(self._image.mode[node - 1]):
                failed = attempt.error is not None
                attempt(lambda: self._give_through_proc(directory, name, node, failed, attempt))
            times = self._times(node)
            attempt(lambda: os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False))

    def _give_through_proc(
        self, directory: int, name: bytes, node: int, unowned: bool, attempt: _All
    ) -> None:
        """Mode and extended attributes, which are given by path alone: one that leads to this very inode."""
        is_link = stat.S_ISLNK(self._image.mode[node - 1])
        if is_link and not self._image.xattrs(node):
            return
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if is_link:
                path: str | bytes = b"/proc/self/fd/%d/%s" % (directory, name)
                self._give_xattrs(path, node, attempt)
            else:
                path = f"/proc/self/fd/{fd}"
                self._give_xattrs(path, node, attempt, follow=True)
                attempt(lambda: os.chmod(path, self._mode(node) & (0o1777 if unowned else 0o7777)))
        finally:
            os.close(fd)

    def _mode(self, node: int) -> int:
        return int(self._image.mode[node - 1]) & self._mask

    def _owner(self, node: int) -> tuple[int, int]:
        owner = self._image.owner[node - 1]
        return self._image.uid[owner], self._image.gid[owner]

    def _times(self, node: int) -> tuple[int, int]:
        row = node - 1
        mtime = self._image.mtime[row] * _NS + self._image.mtime_ns[row]
        atime = self._image.times(node)[0]
        return (mtime if atime is None else atime.seconds * _NS + atime.nanoseconds), mtime

    def _give_xattrs(self, place: int | str | bytes, node: int, attempt: _All, follow: bool = False) -> None:
        for name, value in self._image.xattrs(node):
            if self._owners or name.startswith(_USERS):
                attempt(partial(self._give_xattr, place, name, value, follow))

    def _give_xattr(self, place: int | str | bytes, name: bytes, value: bytes, follow: bool) -> None:
        try:
            if isinstance(place, int):
                os.setxattr(place, name, value)
            else:
                os.setxattr(place, name, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno != ENOTSUP:
                raise
            if not self._told:
                self._told = True
                shown = name.decode("utf-8", "backslashreplace")
                self._warn(
                    f"extended attributes are lost where the file system does not take them ({shown!r})"
                )


class _All:
    """Does one thing after the other, whatever became of those before; raises the first error at the end."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, OverflowError) as error:
            self.error = self.error or error

    def __enter__(self) -> _All:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None and self.error is not None:
            if isinstance(self.error, OSError):
                what = f"its attributes cannot all be given: {self.error.strerror}"
                raise type(self.error)(self.error.errno, what) from self.error
            raise self.error


def _umask() -> int:
    """That of this process, without changing it where that can be had."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass  # no /proc: then by the only other way there is
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
