"""fusermount3, the setuid helper that mounts for ordinary users.

Strategy
It is started with one end of a socketpair, whose number is in ``_FUSE_COMMFD``; it opens /dev/fuse, mounts it, and
sends the descriptor with one byte. With ``auto_unmount`` it stays, and unmounts when the other end is closed, by
whatever death of its holder; so the descriptor is received first, and only then anybody waits for the helper.

Rules
- What it says on standard error becomes the message. It is read after the helper failed, never while it stays.
- It is waited for with a limit, and killed when it says nothing for so long.
- posix_spawn, not subprocess: a tenth of the import, and nothing between fork and exec is Python.

Source: fusermount3(1) and the behaviour of 3.14.
"""

from __future__ import annotations

import os
from errno import EACCES, ENODEV
from typing import TYPE_CHECKING

from rofuse_mount.mounting.errors import (
    BUSY,
    RUN_HINT,
    BusyError,
    MissingHelperError,
    MountError,
    MountpointError,
    NotPermittedError,
)
from rofuse_mount.mounting.kernel import device_error, open_device
from rofuse_mount.showing import show

if TYPE_CHECKING:
    from socket import socket

_NAMES = (b"fusermount3", b"fusermount")
_CHANNEL = 3  # the helper's number of its end
_SECONDS = 30
_COMPLAINT_MAX = 4096


class Guard:
    """The helper of a mount with ``auto_unmount``, and the socket whose end it waits for."""

    __slots__ = ("_pid", "_socket")

    def __init__(self, pid: int, channel: socket) -> None:
        self._pid = pid
        self._socket = channel

    def release(self) -> tuple[int, int]:
        """The helper's pid and the socket's descriptor, which are now the caller's: when all copies of the socket are
        closed the helper unmounts, if that is still to be done, and ends."""
        return self._pid, self._socket.detach()


def find() -> bytes:
    """The helper's path. Raises MissingHelperError."""
    for name in _NAMES:
        for folder in os.get_exec_path():
            path = os.path.join(os.fsencode(folder), name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    raise MissingHelperError(f"fusermount3 is not installed; install the package fuse3, or: {RUN_HINT}")


def escape(value: bytes) -> bytes:
    """A value for the helper's list of options."""
    return value.replace(b"\\", b"\\\\").replace(b",", b"\\,")


def mount(
    path: bytes, source: bytes, subtype: bytes, flags: list[bytes], *, nonempty: bool, auto_unmount: bool
) -> tuple[int, Guard | None]:
    """Mounts at a canonical path; returns the descriptor, and the guard where ``auto_unmount`` asked for one."""
    import socket

    os.close(open_device())  # the helper will open it as this user: here the failure has the better message
    program = find()
    options = [b"ro", b"nosuid", b"nodev", b"fsname=" + escape(source), b"subtype=" + escape(subtype), *flags]
    if auto_unmount:
        options.append(b"auto_unmount")
    if nonempty and os.path.basename(os.path.realpath(program)) == b"fusermount":
        options.append(b"nonempty")  # FUSE 2 checks that itself; FUSE 3 does not, and does not know the word
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            pid, errors = _spawn([program, b"-o", b",".join(options), b"--", path], theirs.fileno())
        fd = _receive(ours, pid)
    except BaseException:
        ours.close()
        raise
    if fd is not None and auto_unmount:
        os.close(errors)
        return fd, Guard(pid, ours)
    ours.close()
    status, complaint = _reap(pid, errors)
    if fd is None:
        raise _mount_error(path, complaint or f"fusermount3 ended with status {status}")
    return fd, None


def unmount(path: bytes, *, lazy: bool) -> None:
    """Raises BusyError, NotPermittedError, MissingHelperError."""
    status, complaint = _reap(*_spawn([find(), b"-u", *([b"-z"] if lazy else []), b"--", path]))
    if not status:
        return
    if "busy" in complaint:
        raise BusyError(BUSY % show(path))
    raise NotPermittedError(f"{show(path)} cannot be unmounted: {complaint or f'status {status}'}")


def _spawn(arguments: list[bytes], channel: int | None = None) -> tuple[int, int]:
    """Starts the helper; returns its pid and the reading end of its standard error."""
    read_end, write_end = os.pipe()
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        # It may stay; who reads our output shall see its end.
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, write_end, 2),
    ]
    environment = dict(os.environb)
    if channel is not None:
        actions.append((os.POSIX_SPAWN_DUP2, channel, _CHANNEL))
        environment[b"_FUSE_COMMFD"] = b"%d" % _CHANNEL
    try:
        pid = os.posix_spawn(arguments[0], arguments, environment, file_actions=actions)
    except OSError as error:
        os.close(read_end)
        raise MissingHelperError(
            f"{show(arguments[0])} cannot be started: {error.strerror}; {RUN_HINT}"
        ) from error
    finally:
        os.close(write_end)
    return pid, read_end


def _reap(pid: int, errors: int) -> tuple[int, str]:
    """Waits for the helper; returns its exit status and its complaints as one line."""
    text = b""
    while len(text) < _COMPLAINT_MAX and (more := os.read(errors, _COMPLAINT_MAX)):
        text += more
    os.close(errors)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), "; ".join(map(show, text.split(b"\n")[:-1]))


def _receive(channel: socket, pid: int) -> int | None:
    """The descriptor that the helper sends; None when it ends without, or says nothing for too long."""
    import signal
    import socket

    channel.settimeout(_SECONDS)
    try:
        _, fds, _, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        return None
    except OSError:
        return None
    return fds[0] if fds else None


def _mount_error(path: bytes, complaint: str) -> MountError:
    if "/dev/fuse" in complaint or "modprobe" in complaint:
        return device_error(EACCES if "denied" in complaint else ENODEV)
    text = f"{show(path)} cannot be mounted on: {complaint}"
    if "mountpoint" in complaint or "mount point" in complaint:
        return MountpointError(text)
    return NotPermittedError(f"{text}; {RUN_HINT}")
