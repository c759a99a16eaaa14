"""Which mounts are live, and who serves them: one small file for each while its server lives.

Strategy
The server of the mount with device number 0:N keeps ``N.json`` in the runtime directory of its user, locked. Who wants
to know whether it has ended asks for the lock: a lock does not outlive its process, however that ends. A file without
a lock is left over and means nothing.

Rules
- The directory is ``$XDG_RUNTIME_DIR/rofuse-mount`` where that is the user's own, else ``/run/rofuse-mount`` for root
  and ``/tmp/rofuse-mount-UID``; private to its user, else it is not used.
- A mount does not depend on any of this: where nothing can be written, nothing is.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from typing import Any


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
    """This process's entry in the list of live mounts, until it is closed or the process ends."""

    def __init__(self, minor: int, facts: dict[str, Any]) -> None:
        self._fd = -1
        folder = directory()
        self._path = os.path.join(folder, f"{minor}.json")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if not _is_private(folder, os.getuid()):
                return
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(facts).encode() + b"\n", 0)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            os.close(self._fd)
            self._fd = -1


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
        except ValueError:
            return None
        return facts if isinstance(facts, dict) else None
    finally:
        os.close(fd)
    return None


class Farewell:
    """Waits for the end of a mount's server; made before it is unmounted."""

    def __init__(self, minor: int, uid: int | None = None) -> None:
        self._fd = _open(minor, uid)

    def wait(self) -> None:
        """Returns when the server has ended."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            os.close(self._fd)
            self._fd = None


def _open(minor: int, uid: int | None) -> int | None:
    user = os.getuid() if uid is None else uid
    folder = directory(uid)
    if not _is_private(folder, user):
        return None
    try:
        return os.open(os.path.join(folder, f"{minor}.json"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
