"""Attaching a FUSE connection to a path, and taking it off again.

Strategy
mount(2) directly where the process has CAP_SYS_ADMIN over its mount namespace, as root or as the root of a user
namespace (``kernel``); otherwise through the setuid helper fusermount3, which opens the device, mounts, and sends the
descriptor over a socket (``helper``). Both make the same mount: ``ro,nosuid,nodev``, type ``fuse.SUBTYPE``, and the
source as its name.

Rules
- Paths and names are bytes inside; ``str`` is accepted and encoded as the file system's are.
- A mounted file system is touched only to tell a dead mount from a live one, and never by the process that serves
  it: what is needed of a mount (its connection's number) is read from the mount table.
- Every failure is a MountError.

Sources: mount(2), umount2(2), fusermount3(1), Documentation/filesystems/fuse.
"""

from __future__ import annotations

import os
import stat
from errno import (
    EACCES,
    EBUSY,
    ECONNABORTED,
    ECONNREFUSED,
    EINVAL,
    ELOOP,
    ENAMETOOLONG,
    ENODEV,
    ENOENT,
    ENOTCONN,
    ENOTDIR,
    EPERM,
)
from typing import TypeAlias

from rofuse_mount import mountinfo
from rofuse_mount.mounting import helper, kernel
from rofuse_mount.mounting.errors import (
    BUSY,
    RUN_HINT,
    BusyError,
    DeadMountError,
    MissingHelperError,
    MountError,
    MountpointError,
    NotPermittedError,
)
from rofuse_mount.mounting.kernel import abort, may_mount, set_readahead
from rofuse_mount.showing import show

__all__ = [
    "BusyError",
    "DeadMountError",
    "MissingHelperError",
    "Mount",
    "MountError",
    "MountpointError",
    "NotPermittedError",
    "abort",
    "canonical",
    "check_mountpoint",
    "check_that_it_can_be_made",
    "clear_dead",
    "is_dead",
    "make_mountpoint",
    "may_mount",
    "mount",
    "remove_mountpoint",
    "set_readahead",
    "unmount",
    "way",
]

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_SOURCE_MAX = 4095  # mount(2) takes a page with its final zero
_DEAD = frozenset((ENOTCONN, ECONNABORTED, ECONNREFUSED))

made_here: set[int] = set()
"""Numbers of the connections that this process has made: it never touches their mounts."""


class Mount:
    """A mounted connection."""

    __slots__ = ("fd", "fstype", "guard", "minor", "mountpoint")

    def __init__(self, fd: int, mountpoint: bytes, fstype: bytes, guard: helper.Guard | None = None) -> None:
        self.fd = fd  # of /dev/fuse; belongs to whoever serves it
        self.mountpoint = mountpoint  # canonical
        self.fstype = fstype
        self.guard = guard  # auto_unmount: to be closed when the server ends
        entry = mountinfo.find(mountpoint)
        ours = entry is not None and entry.fstype == fstype
        self.minor = entry.minor if entry is not None and ours else None
        """The connection's number under /sys/fs/fuse/connections; its device number is 0:MINOR. None when somebody
        else has mounted there, or unmounted it, in the meantime."""
        if self.minor is not None:
            made_here.add(self.minor)


def mount(
    mountpoint: Path,
    source: str | bytes,
    *,
    subtype: str = "rofuse",
    allow_other: bool = False,
    default_permissions: bool = False,
    max_read: int = 0,
    auto_unmount: bool = False,
    nonempty: bool = False,
    noexec: bool = False,
    direct: bool = False,
) -> Mount:
    """Mounts, and returns the connection that is now to be served.

    ``source`` is the name that the mount table shows; ``max_read`` (bytes, 0: the kernel's own) limits a READ;
    ``auto_unmount`` keeps a helper that unmounts when the server ends, whatever ends it; ``nonempty`` allows hiding
    what a directory holds; ``noexec`` lets nothing in it be executed; ``direct`` refuses to use the helper.
    Raises MountError.
    """
    path, entry = find_mount(mountpoint)
    if entry is not None and entry.fstype.startswith(b"fuse") and entry.minor in made_here:
        raise _taken(path, entry)
    root_mode = check_mountpoint(path, nonempty=nonempty)
    name = (os.fsencode(source) or b"rofuse")[:_SOURCE_MAX]
    kind = os.fsencode(subtype)
    fstype = b"fuse." + kind
    flags = [
        *([b"allow_other"] if allow_other else []),
        *([b"default_permissions"] if default_permissions else []),
        *([b"max_read=%d" % max_read] if max_read else []),
    ]
    if direct or (may_mount() and not auto_unmount):
        fd = kernel.open_device()
        errno = kernel.mount(fd, path, name, fstype, root_mode, flags, noexec=noexec)
        if not errno:
            return Mount(fd, path, fstype)
        os.close(fd)
        if direct or errno not in (EPERM, EACCES):
            raise _mount_error(path, errno)
    flags += [b"noexec"] * noexec
    fd, guard = helper.mount(path, name, kind, flags, nonempty=nonempty, auto_unmount=auto_unmount)
    return Mount(fd, path, fstype, guard)


def unmount(mountpoint: Path, *, lazy: bool = False, fstype: bytes = mountinfo.FUSE_TYPE) -> None:
    """Takes off the topmost mount at a path. ``lazy`` detaches it at once; the connection ends when its last user is
    gone. Raises BusyError, MountpointError (no mountpoint, or a mount that is not of ``fstype``), NotPermittedError,
    MissingHelperError."""
    path, entry = find_mount(mountpoint)
    if entry is None:
        raise MountpointError(f"{show(path)} is not a mountpoint")
    if entry.fstype != fstype:
        raise MountpointError(
            f"{show(path)} is a mount of type {show(entry.fstype)}, not one of rofuse-mount"
        )
    if may_mount():
        errno = kernel.unmount(path, lazy=lazy)
        if errno not in (0, EPERM):
            raise _unmount_error(path, errno)
        if not errno:
            made_here.discard(entry.minor)
            return
    helper.unmount(path, lazy=lazy)
    made_here.discard(entry.minor)


def way(*, direct: bool = False, auto_unmount: bool = False) -> str:
    """How ``mount`` would go about it, for messages: ``mount(2)`` or the helper's path. Raises NotPermittedError or
    MissingHelperError where it could not."""
    os.close(kernel.open_device())
    return "mount(2)" if direct or (may_mount() and not auto_unmount) else show(helper.find())


def canonical(path: Path) -> bytes:
    """The absolute path without symbolic links, as the mount table has it. Raises MountpointError."""
    if not os.fspath(
        path
    ):  # as comes of a variable that is not set; realpath takes it for the working directory
        raise MountpointError("the mountpoint is an empty word; give a directory")
    try:
        return os.fsencode(os.path.realpath(path))
    except OSError as error:  # the working directory is gone
        raise MountpointError(f"{show(os.fsencode(path))} cannot be found: {error.strerror}") from error


def make_mountpoint(path: Path) -> bool:
    """Makes a directory to mount on where nothing is; True when it was made. Raises MountpointError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    except OSError as error:
        raise MountpointError(f"{show(os.fsencode(path))} cannot be made: {error.strerror}") from error
    return True


def check_that_it_can_be_made(path: bytes) -> None:
    """What ``make_mountpoint`` would find, as far as that can be told. Raises MountpointError."""
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK, effective_ids=True):
        raise MountpointError(f"{show(path)} cannot be made: its directory cannot be written to")


def remove_mountpoint(path: Path) -> None:
    """Removes a directory that was made to be mounted on. One that somebody uses or has filled stays."""
    try:
        os.rmdir(path)
    except OSError:
        pass


def is_dead(path: bytes) -> bool:
    """Whether the mount at a path has lost its server. Asks with STATFS, which the kernel never answers from a cache:
    so never from the process that serves."""
    try:
        os.statvfs(path)
    except OSError as error:
        return error.errno in _DEAD
    return False


def clear_dead(path: bytes) -> bytes:
    """Takes our dead mounts, one on top of the other, off a canonical path. Returns the source of the topmost, nothing
    where there was none. Raises MountError."""
    cleared = b""
    while (entry := mountinfo.find(path)) is not None and entry.ours and is_dead(path):
        cleared = cleared or entry.source
        unmount(path, lazy=True)
    return cleared


def check_mountpoint(path: bytes, *, nonempty: bool = False) -> int:
    """The type bits of what is at a canonical path. Raises MountpointError where nothing can be mounted on it."""
    shown = show(path)
    entry = mountinfo.find(path)
    if entry is not None and entry.fstype.startswith(b"fuse") and is_dead(path):
        raise DeadMountError(
            f"{shown} is a dead mount: its server is gone; clear it with 'rofuse-mount umount'"
        )
    if entry is not None and entry.ours:
        raise _taken(path, entry)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise MountpointError(_mountpoint_text(shown, error.errno)) from error
    if stat.S_ISDIR(mode):
        if not nonempty and not _is_empty(path):
            raise MountpointError(
                f"{shown} is not empty; choose another directory, or allow it with -o nonempty"
            )
    elif not stat.S_ISREG(mode):
        raise MountpointError(f"{shown} is not a directory")
    return stat.S_IFMT(mode)


def _taken(path: bytes, entry: mountinfo.MountEntry) -> MountpointError:
    return MountpointError(f"{show(path)} is busy: {show(entry.source)} is mounted there already")


def _is_empty(path: bytes) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except PermissionError:
        return True  # who cannot list it will not miss what it holds


def find_mount(mountpoint: Path) -> tuple[bytes, mountinfo.MountEntry | None]:
    """Looks a path up in the table before its last part is resolved, which would touch the mount itself."""
    entries = mountinfo.read()
    folder, name = os.path.split(os.fsencode(mountpoint).rstrip(b"/"))
    if name not in (b"", b".", b".."):
        path = os.path.join(canonical(folder or b"."), name)
        entry = mountinfo.find(path, entries)
        if entry is not None:
            return path, entry
    path = canonical(mountpoint)
    return path, mountinfo.find(path, entries)


def _mount_error(path: bytes, errno: int) -> MountError:
    if errno in (EPERM, EACCES):
        return NotPermittedError(f"mounting on {show(path)} is not permitted; {RUN_HINT}")
    if errno in (ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EBUSY):
        return MountpointError(_mountpoint_text(show(path), errno))
    if errno == ENODEV:
        return kernel.device_error(errno)
    return MountError(f"{show(path)} cannot be mounted on: {os.strerror(errno)}")


def _mountpoint_text(shown: str, errno: int | None) -> str:
    if errno == ENOENT:
        return f"{shown} does not exist"
    if errno == EBUSY:
        return f"{shown} is busy"
    return f"{shown} cannot be a mountpoint: {os.strerror(errno or EINVAL)}"


def _unmount_error(path: bytes, errno: int) -> MountError:
    shown = show(path)
    if errno == EBUSY:
        return BusyError(BUSY % shown)
    if errno in (EINVAL, ENOENT):
        return MountpointError(f"{shown} is not a mountpoint")
    return MountError(f"{shown} cannot be unmounted: {os.strerror(errno)}")
