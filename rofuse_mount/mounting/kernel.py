"""The kernel's own calls: /dev/fuse, mount(2), umount2(2), and what sysfs lets the owner of a connection tune.

ctypes is imported where it is used: a mount through the helper needs none of it.
"""

from __future__ import annotations

import os
from errno import EACCES, ENODEV, ENOENT, ENXIO
from typing import TYPE_CHECKING

from rofuse_mount import device
from rofuse_mount.mounting.errors import NotPermittedError

if TYPE_CHECKING:
    from ctypes import CDLL

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CAP_SYS_ADMIN = 21


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN in effect (in its user namespace; the kernel has the last word)."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return bool(int(line[7:], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def open_device() -> int:
    """A descriptor of /dev/fuse. Raises NotPermittedError."""
    try:
        return device.open_device()
    except OSError as error:
        raise device_error(error.errno) from error


def device_error(errno: int | None) -> NotPermittedError:
    path = device.PATH
    if errno in (ENOENT, ENODEV, ENXIO):
        return NotPermittedError(
            f"{path} is missing: load the module with 'modprobe fuse', or give the container --device {path};"
            " ls, cat, extract and the like need no FUSE"
        )
    reason = os.strerror(errno or EACCES)
    return NotPermittedError(
        f"{path} cannot be opened ({reason}); its mode should be 0666: ask the administrator"
    )


def _libc() -> CDLL:
    from ctypes import CDLL

    return CDLL(None, use_errno=True)


def mount(
    fd: int,
    path: bytes,
    source: bytes,
    fstype: bytes,
    root_mode: int,
    flags: list[bytes],
    *,
    noexec: bool = False,
) -> int:
    """Mounts a fresh descriptor of /dev/fuse, read-only. Returns 0 or the errno."""
    from ctypes import c_char_p, c_ulong, get_errno

    who = [
        b"fd=%d" % fd,
        b"rootmode=%o" % root_mode,
        b"user_id=%d" % os.getuid(),
        b"group_id=%d" % os.getgid(),
    ]
    failed = _libc().mount(
        c_char_p(source),
        c_char_p(path),
        c_char_p(fstype),
        c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV | (_MS_NOEXEC if noexec else 0)),
        c_char_p(b",".join(who + flags)),
    )
    return get_errno() if failed else 0


def unmount(path: bytes, *, lazy: bool) -> int:
    """Takes off the topmost mount at a path. Returns 0 or the errno."""
    from ctypes import c_char_p, c_int, get_errno

    failed = _libc().umount2(c_char_p(path), c_int(_UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)))
    return get_errno() if failed else 0


def set_readahead(minor: int, kib: int) -> None:
    """Sets the read-ahead window of a connection where that is permitted; after INIT was answered, as the answer
    sets it too."""
    path = f"/sys/class/bdi/0:{minor}/read_ahead_kb"
    try:
        with open(path, "wb", buffering=0) as setting:
            setting.write(b"%d" % kib)
    except OSError:
        pass  # not ours to set: what the kernel chose stays


def abort(minor: int) -> bool:
    """Ends a connection by force: its server reads the end, whoever waits for it gets an error, the mount stays as
    a dead one. False where that is not permitted or fusectl is not mounted."""
    try:
        with open(f"/sys/fs/fuse/connections/{minor}/abort", "wb", buffering=0) as control:
            control.write(b"1")
    except OSError:
        return False
    return True
