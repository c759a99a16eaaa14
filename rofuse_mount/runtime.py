"""Which mounts are live, and who serves them: one small file for each while its server lives.

Strategy
The supervisor of the mount with device number 0:N keeps ``N.json`` in the runtime directory of its user, locked, and
its servers hold the same lock. Who wants to know whether they have ended asks for the lock: it does not outlive those
who hold it, however they end. A file without a lock is left over and means nothing. What changes is asked for at a
socket beside it, ``N.socket`` (``supervisor.desk``).

The kernel gives the number of a mount that has ended out again, perhaps before its servers have ended too. So a file is
made under another name, locked, and renamed: what stood there is of a mount that is no more, and its lock another one.

Rules
- The directory is ``$XDG_RUNTIME_DIR/rofuse-mount`` where that is the user's own, else ``/run/rofuse-mount`` for root
  and ``/tmp/rofuse-mount-UID``; private to its user, else it is not used.
- A mount does not depend on any of this: where nothing can be written, nothing is.
- Root reads what other users say of theirs: it may be anything, and is nothing where it is not what it should be.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socket import socket as Connection

_GLANCE = 0.005  # seconds between two looks at a lock


def directory(uid: int | None = None) -> str:
    """The runtime directory of a user; it may not exist."""
    user = os.getuid() if uid is None else uid
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if user == os.getuid() and os.path.isabs(own) and _is_private(own, user):
        return os.path.join(own, "rofuse-mount")
    if user == 0:
        return "/run/rofuse-mount"
    run = f"/run/user/{user}"
    if user != os.getuid() and _is_private(run, user):
        return os.path.join(run, "rofuse-mount")
    return f"/tmp/rofuse-mount-{user}"


def _is_private(path: str, user: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o022


class Registration:
    """A mount's entry in the list of live mounts, until it is closed or all who hold ``fd`` have ended. ``listener``:
    the socket where it can be asked. Both are -1, and ``files`` empty, where nothing can be written. ``files``: for
    ``forget``, each with its inode's number."""

    def __init__(self, minor: int | None, facts: dict[str, Any]) -> None:
        self.fd = self.listener = -1
        self.files: list[tuple[str, int]] = []
        if minor is None:
            return
        folder = directory()
        path = os.path.join(folder, f"{minor}.json")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if not _is_private(folder, os.getuid()):
                return
            with _alone(folder):
                self.fd = self._locked(path)
                self._note(path)
                self.listener = _listen(folder, minor)
                self._note(os.path.join(folder, _socket_name(minor)))
                self.write(facts)
        except OSError:
            self.close()

    def _locked(self, path: str) -> int:
        new = f"{path}.{os.getpid()}"
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(new, path)
        except BaseException:
            os.close(fd)
            os.unlink(new)
            raise
        return fd

    def _note(self, path: str) -> None:
        self.files.append((path, os.lstat(path).st_ino))

    def write(self, facts: dict[str, Any]) -> None:
        """Says something else. Raises OSError."""
        if self.fd >= 0:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, json.dumps(facts).encode() + b"\n", 0)

    def close(self) -> None:
        forget(self.files)
        for fd in self.fd, self.listener:
            if fd >= 0:
                os.close(fd)
        self.fd = self.listener = -1
        self.files = []


def forget(files: Iterable[tuple[str, int]]) -> None:
    """Takes the files of a registration away: those that are not yet a later mount's."""
    for path, inode in files:
        try:
            with _alone(os.path.dirname(path)):
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
        except OSError:
            continue


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """While nobody else adds or removes files there. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _socket_name(minor: int) -> str:
    return f"{minor}.socket"


def _in_folder(folder: str, call: Callable[[str], None], name: str) -> None:
    """Calls with a path to ``name`` that is short enough for a socket's address."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def _listen(folder: str, minor: int) -> int:
    import socket

    name = _socket_name(minor)
    try:
        os.unlink(os.path.join(folder, name))  # left over: the lock is ours
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _in_folder(folder, listener.bind, name)
        os.chmod(os.path.join(folder, name), 0o600)
        listener.listen(16)
        return listener.detach()
    except BaseException:
        listener.close()
        raise


def ask(
    minor: int, message: bytes, uid: int | None = None, descriptor: int | None = None
) -> Connection | None:
    """Says a word (``supervisor.desk``) to the supervisor of a live mount. None where it cannot be reached."""
    import socket

    user = os.getuid() if uid is None else uid
    folder = directory(uid)
    if not _is_private(folder, user):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _in_folder(folder, connection.connect, _socket_name(minor))
        socket.send_fds(connection, [message], [] if descriptor is None else [descriptor])
    except OSError:
        connection.close()
        return None
    return connection


def live(uid: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """The number and the facts of every live mount of a user, in the order of their numbers."""
    try:
        names = os.listdir(directory(uid))
    except OSError:
        return []
    stems = (name[:-5] for name in names if name.endswith(".json"))
    numbers = sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())
    facts = ((number, read(number, uid)) for number in numbers)
    return [(number, found) for number, found in facts if found is not None]


def read(minor: int, uid: int | None = None) -> dict[str, Any] | None:
    """What the server of mount 0:``minor`` said of itself; None where none of that user's lives."""
    fd = _open(minor, uid)
    if fd is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            facts = json.loads(os.pread(fd, 1 << 16, 0))
        except (ValueError, RecursionError):
            return None
        return facts if isinstance(facts, dict) else None
    finally:
        os.close(fd)
    return None


class Farewell:
    """Waits for the end of a mount's server; made before it is unmounted."""

    def __init__(self, minor: int, uid: int | None = None) -> None:
        self._fd = _open(minor, uid)

    def wait(self, seconds: float | None = None) -> None:
        """Returns when the server has ended, or after so many seconds."""
        if self._fd is not None:
            if seconds is None:
                fcntl.flock(self._fd, fcntl.LOCK_SH)
            else:
                self._look(time.monotonic() + seconds)
            os.close(self._fd)
            self._fd = None

    def _look(self, end: float) -> None:
        while self._fd is not None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    return
                time.sleep(_GLANCE)


def _open(minor: int, uid: int | None) -> int | None:
    user = os.getuid() if uid is None else uid
    folder = directory(uid)
    if not _is_private(folder, user):
        return None
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # it may be a pipe
        fd = os.open(os.path.join(folder, f"{minor}.json"), flags)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
