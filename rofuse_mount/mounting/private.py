"""Namespaces of one's own: where an ordinary user may mount, and what nobody else sees.

Strategy
In a user namespace its maker has every capability, and in a mount namespace that belongs to it they let it mount. Its
one mapped user is the caller, under the caller's own number, so files belong to whom they always belong to; the
capabilities end with the first program that is executed. Who may mount anyway needs no user namespace. A process
namespace makes an end certain: when its first process ends the kernel kills all others.

Rules
- One thread only: the kernel refuses a user namespace otherwise.
- What is mounted afterwards is not propagated to anybody.

Sources: unshare(2), user_namespaces(7), pid_namespaces(7), prctl(2). (``os.unshare`` is there from Python 3.12 on.)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rofuse_mount.mounting.errors import MountError, NotPermittedError
from rofuse_mount.mounting.kernel import may_mount

if TYPE_CHECKING:
    from ctypes import CDLL

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18


def enter() -> None:
    """Moves this process to a mount namespace of its own, and to a user namespace where it needs one to mount. Raises
    NotPermittedError."""
    user, group = os.getuid(), os.getgid()
    errno = _unshare(_CLONE_NEWNS) if may_mount() else -1
    if errno:
        errno = _unshare(_CLONE_NEWNS | _CLONE_NEWUSER)
        if errno:
            raise _not_permitted(os.strerror(errno))
        try:
            _write("setgroups", "deny")
            _write("gid_map", f"{group} {group} 1")
            _write("uid_map", f"{user} {user} 1")
        except OSError as error:
            raise _not_permitted(error.strerror) from error
    errno = _mount(b"none", b"/", b"none", _MS_REC | _MS_PRIVATE)
    if errno:  # a distribution may give the namespace, and then no capability in it
        raise _not_permitted(os.strerror(errno))


def contain_children() -> None:
    """The next child of this process is the first of a process namespace. Raises MountError."""
    errno = _unshare(_CLONE_NEWPID)
    if errno:
        raise MountError(f"a process namespace cannot be made: {os.strerror(errno)}")


def mount_proc() -> None:
    """Gives the first process of a process namespace a /proc that shows what is in it. Where the kernel does not
    permit that (in many containers), /proc stays as it was."""
    if not _unshare(_CLONE_NEWNS):
        _mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def _not_permitted(reason: str | None) -> NotPermittedError:
    return NotPermittedError(
        f"a private user and mount namespace is not permitted here ({reason}); the administrator can allow it"
        " (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or install fuse3"
        " for mounting without"
    )


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)


def _libc() -> CDLL:
    from ctypes import CDLL

    return CDLL(None, use_errno=True)


def _unshare(flags: int) -> int:
    from ctypes import get_errno

    return get_errno() if _libc().unshare(flags) else 0


def _mount(source: bytes, target: bytes, fstype: bytes, flags: int) -> int:
    from ctypes import c_char_p, c_ulong, get_errno

    failed = _libc().mount(c_char_p(source), c_char_p(target), c_char_p(fstype), c_ulong(flags), None)
    return get_errno() if failed else 0
