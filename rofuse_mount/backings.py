"""Files on disk that the kernel reads in place of ours: each registered once, as long as it is open.

Strategy
The kernel wants one registration for all openings of an inode (an opening by another one fails with EIO), holds the
file for it, and forgets none by itself. So openings are counted by inode: the first registers, the release of the last
ends the registration. That belongs to the connection and not to who made it: servers that share a mount, or succeed
each other, share the count (``SharedSlots``).

Rules
- A number is forgotten here before the kernel forgets it: it never comes to mean another file.
- A server that dies at an opening may leave it counted twice: the file stays registered until the mount ends.

Source: the kernel's fs/fuse/iomode.c, backing.c and passthrough.c.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rofuse_mount.device import Device

_SLOT = 2  # words of 32 bits: registration, openings


class Slots(Protocol):
    """The number of its registration (0: none) and of its openings, for each inode."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else looks at them, or changes them, meanwhile."""
        ...

    def get(self, ino: int) -> tuple[int, int]: ...

    def put(self, ino: int, backing_id: int, openings: int) -> None: ...


class LocalSlots:
    """Those of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[int, tuple[int, int]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock:
            yield

    def get(self, ino: int) -> tuple[int, int]:
        return self._slots.get(ino, (0, 0))

    def put(self, ino: int, backing_id: int, openings: int) -> None:
        if openings:
            self._slots[ino] = backing_id, openings
        else:
            self._slots.pop(ino, None)


class SharedSlots:
    """Those of all who have a descriptor of the same memory file (``create``); it stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()
        self._words = memoryview(mmap.mmap(fd, os.fstat(fd).st_size)).cast("I")

    @staticmethod
    def create(inodes: int) -> int:
        """For inodes 0 to ``inodes``. Memory is taken for those that are opened, a page at a time."""
        fd = os.memfd_create("rofuse-backings", os.MFD_CLOEXEC)
        os.ftruncate(fd, (inodes + 1) * _SLOT * 4)
        return fd

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock:  # the other lock is the process's, and ends with it
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def get(self, ino: int) -> tuple[int, int]:
        return self._words[_SLOT * ino], self._words[_SLOT * ino + 1]

    def put(self, ino: int, backing_id: int, openings: int) -> None:
        self._words[_SLOT * ino] = backing_id if openings else 0
        self._words[_SLOT * ino + 1] = openings


class Backings:
    """The engine's ``Backing``, of one connection."""

    def __init__(self, device: Device, slots: Slots | None = None) -> None:
        self._device, self._slots = device, slots or LocalSlots()

    def acquire(self, ino: int, fd: int) -> int:
        """The registration for one more opening of an inode; ``fd`` is used where there is none yet. Raises OSError."""
        with self._slots.locked():
            backing_id, openings = self._slots.get(ino)
            if not backing_id:
                backing_id = self._device.backing_open(fd)
            self._slots.put(ino, backing_id, openings + 1)
            return backing_id

    def release(self, ino: int) -> None:
        """One opening less; nothing where the inode has no registration."""
        with self._slots.locked():
            backing_id, openings = self._slots.get(ino)
            if not backing_id:
                return
            self._slots.put(ino, backing_id, max(0, openings - 1))
            if openings > 1:
                return
            try:
                self._device.backing_close(backing_id)
            except OSError:
                return  # the connection has ended
