"""Opening what lies below a directory, and never anything else.

Strategy
A path is walked component by component from the directory's descriptor, no symbolic link is followed, and no mount is
entered that was not there when the tree was scanned: what somebody puts in the place of a directory leads nowhere. Nor
does it lead into a mount of this very tree, whose server, which we are, would wait for itself.

Some descriptors of directories are kept, so that the next file of the same directory costs one call.

Rules
- Directories are named by nodeid (row + 1 of the image; the root is 1). Who asks knows the parent and the name of each.
- Any number of threads. A descriptor is closed when nobody uses it any more.

Sources: openat2(2), proc_pid_fdinfo(5).
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from errno import ENOSYS, EPERM, EXDEV
from functools import cache
from typing import Any, NamedTuple, Protocol

_MOST = 256  # directories kept open
_SYS_OPENAT2 = 437  # on all architectures
_HOW = struct.Struct("<QQQ")
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 1, 2, 4, 8
_STRICT = _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW
_TO_READ = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK
ROOT = 1


class Place(NamedTuple):
    """Where a directory lies."""

    parent: int
    name: bytes
    mountpoint: bool
    """Whether something is mounted on it, which is shown."""


class Held(Protocol):
    """Something with a descriptor, which is open as long as it is referred to."""

    @property
    def fd(self) -> int: ...


class _Folder:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.fd)


class Folders:
    """The directories below ``root``. ``place``: where each lies. ``keep``: whether descriptors are kept; without,
    every path is walked anew, as it is now."""

    def __init__(self, root: Held, place: Callable[[int], Place], *, keep: bool = True) -> None:
        self._root, self._place, self._keep = root, place, keep
        self._kept: OrderedDict[int, Held] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, node: int) -> Held:
        """A directory, to open things in. Raises OSError."""
        way, at = [], node
        while (found := self._known(at)) is None:
            place = self._place(at)
            way.append((at, place))
            at = place.parent
        for at, place in reversed(way):
            flags = os.O_DIRECTORY | os.O_PATH
            found = _Folder(open_below(found.fd, place.name, flags, place.mountpoint))
            self._put(at, found)
        return found

    def _known(self, node: int) -> Held | None:
        if node == ROOT:
            return self._root
        with self._lock:
            found = self._kept.get(node)
            if found is not None:
                self._kept.move_to_end(node)
            return found

    def _put(self, node: int, folder: Held) -> None:
        if not self._keep:
            return
        dropped: list[Held] = []  # closed when the lock is free again
        with self._lock:
            self._kept[node] = folder
            while len(self._kept) > _MOST:
                dropped.append(self._kept.popitem(last=False)[1])


def open_below(folder: int, name: bytes, flags: int = _TO_READ, cross: bool = False) -> int:
    """Opens ``name``, one component, in a directory, by default to be read. ``cross``: whether it may be one that
    something is mounted on. Raises OSError: EXDEV for a mount, ELOOP for a symbolic link."""
    call = _openat2()
    if call is not None:
        return call(folder, name, flags | _ALWAYS, _STRICT | (0 if cross else _NO_XDEV))
    return _open_carefully(folder, name, flags | _ALWAYS, cross)


@cache
def _openat2() -> Callable[[int, bytes, int, int], int] | None:
    """openat2(2), where the kernel has it and lets us."""
    import ctypes

    # Typed through Any: what a foreign function takes cannot be told.
    syscall: Any = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long

    def call(folder: int, name: bytes, flags: int, resolve: int) -> int:
        how = _HOW.pack(flags, 0, resolve)
        fd = int(
            syscall(
                _SYS_OPENAT2, folder, ctypes.c_char_p(name), ctypes.c_char_p(how), ctypes.c_size_t(_HOW.size)
            )
        )
        if fd < 0:
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno), name)
        return fd

    try:
        os.close(call(_AT_FDCWD, b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0))
    except OSError as error:
        if error.errno in (ENOSYS, EPERM):  # before Linux 5.6; a sandbox that does not know it
            return None
        raise
    return call


_AT_FDCWD = -100


def _open_carefully(folder: int, name: bytes, flags: int, cross: bool) -> int:
    """``open_below`` without openat2: a look at what is there, before it is opened."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not cross and _mount_id(fd) != _mount_id(folder):
            raise OSError(EXDEV, os.strerror(EXDEV), name)
        # A symbolic link is opened as one by O_PATH, and not at all through its descriptor.
        return os.open(b"/proc/self/fd/%d" % fd, flags & ~os.O_NOFOLLOW)
    finally:
        os.close(fd)


def _mount_id(fd: int) -> bytes:
    """Of the mount that a descriptor leads into; nothing of it is touched."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as facts:
        return next(line for line in facts if line.startswith(b"mnt_id:"))
