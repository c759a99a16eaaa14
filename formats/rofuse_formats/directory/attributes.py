"""The extended attributes of what lies in a directory that is open.

Hardly anything has any: so that there are none is found out by one short call, listxattrat(2), where the kernel has it
(Linux 6.13). Before, and for those that there are, the path is one through /proc.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ENOSYS, ENOTSUP, EPERM
from functools import cache
from typing import Any

_SYS_LISTXATTRAT = 465  # on all architectures
_NO_FOLLOW = 0x100  # AT_SYMLINK_NOFOLLOW


class Attributes:
    """Those of one scan."""

    def __init__(self) -> None:
        self._without: set[int] = set()  # file systems
        self._size = _listxattrat()

    def of(self, folder: int, name: bytes, device: int) -> list[tuple[bytes, bytes]]:
        """Of ``name`` in the directory ``folder``, on the file system ``device``, as (name, value): those that can be
        read."""
        if device in self._without or (self._size is not None and self._size(folder, name) == 0):
            return []
        path = b"/proc/self/fd/%d/%s" % (folder, name)
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno == ENOTSUP:
                self._without.add(device)
            return []  # what is gone, or may not be asked
        found = []
        for attribute in names:
            try:
                value = os.getxattr(path, attribute, follow_symlinks=False)
            except OSError:
                continue  # removed meanwhile, or one that only another user may read
            found.append((os.fsencode(attribute), value))
        return found


@cache
def _listxattrat() -> Callable[[int, bytes], int] | None:
    """Bytes of the names, negative where they cannot be told. None where there is no such call, or it is forbidden."""
    import ctypes

    # Typed through Any: what a foreign function takes cannot be told.
    syscall: Any = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    number, flags, nothing = ctypes.c_long(_SYS_LISTXATTRAT), ctypes.c_long(_NO_FOLLOW), ctypes.c_size_t(0)

    def size(folder: int, name: bytes) -> int:
        return int(syscall(number, folder, name, flags, None, nothing))

    if size(_AT_FDCWD, b"/") < 0 and ctypes.get_errno() in (ENOSYS, EPERM):
        return None
    return size


_AT_FDCWD = -100
