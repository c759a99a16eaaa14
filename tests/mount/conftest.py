"""Real mounts for tests: the server is another process, and nothing of it outlives the test.

Rules
- A test touches a mount only through ``shell`` or another process with a limit: a server that hangs must fail one
  test, not stop the run.
- Where /dev/fuse cannot be used the tests are skipped; with ROFUSE_REQUIRE_FUSE=1 they fail.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rofuse_mount import mountinfo, mounting
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import MountOptions
from rofuse_mount.server import mount

SECONDS = 30.0
NOBODY = 65534
CONNECTIONS = "/sys/fs/fuse/connections"


def unusable() -> str:
    """Why nothing can be mounted here; empty when it can."""
    try:
        mounting.way()
    except mounting.MountError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def fuse() -> None:
    """Asked for by whatever mounts."""
    reason = unusable()
    if reason and os.environ.get("ROFUSE_REQUIRE_FUSE") == "1":
        pytest.fail(f"ROFUSE_REQUIRE_FUSE=1, but {reason}")
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def root() -> None:
    if os.geteuid():
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def fusectl(root: None) -> Iterator[None]:
    """The file system with which connections are aborted, as ordinary systems have it mounted."""
    mounted = not os.path.ismount(CONNECTIONS)
    if mounted:
        subprocess.run(["mount", "-t", "fusectl", "fusectl", CONNECTIONS], check=True, timeout=SECONDS)
    yield
    if mounted:
        subprocess.run(["umount", CONNECTIONS], check=False, timeout=SECONDS)


@pytest.fixture
def user(root: None) -> Iterator[int]:
    """An ordinary user who may open /dev/fuse, as on ordinary systems."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # another run of these tests shall find, and leave, the mode as it was
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.fchmod(fd, 0o666)
        yield NOBODY
        os.fchmod(fd, mode)
        fcntl.flock(fd, fcntl.LOCK_UN)  # servers that a test has forked hold the descriptor too
    finally:
        os.close(fd)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user can reach (pytest's own is private)."""
    path = Path(tempfile.mkdtemp(prefix="rofuse-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def mountpoint(folder: Path) -> Path:
    path = folder / "mnt"
    path.mkdir()
    return path


def shell(*command: str | Path, uid: int = 0, cwd: str | Path = "/") -> subprocess.CompletedProcess[str]:
    """Runs a command, as another user where that is said, and kills it when it takes too long."""
    identity: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=cwd,
        **identity,
    )


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def table_entry(path: Path) -> mountinfo.MountEntry | None:
    """What the mount table says of a path."""
    return mountinfo.find(os.fsencode(path))


class Served:
    """A server process and its mount. ``wait`` gives its exit status: 0 for a clean end."""

    def __init__(self, path: Path, filesystem: Filesystem, uid: int, arguments: dict[str, Any]) -> None:
        self.path = path
        self.status: int | None = None
        self._pipe, sink = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._pipe)
            _serve(sink, path, filesystem, uid, arguments)
        os.close(sink)
        self.report = os.read(self._pipe, 1 << 16).decode()
        entry = table_entry(path)
        self.minor = entry.minor if entry is not None and entry.fstype.startswith(b"fuse") else None

    @property
    def ready(self) -> bool:
        return self.report == "ready"

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> int:
        assert eventually(self.ended), "the server did not end"
        assert self.status is not None
        return self.status

    def rest_of_report(self) -> str:
        """What the server says at its end, after ``wait``."""
        return os.read(self._pipe, 1 << 16).decode()

    def close(self) -> None:
        """Leaves nothing: no process, no mount, nobody waiting."""
        if self.minor is not None and not self.ended():
            mounting.abort(self.minor)
        if not self.ended():
            self.kill(signal.SIGKILL)
            self.wait()
        os.close(self._pipe)
        while (entry := table_entry(self.path)) is not None and entry.fstype.startswith(b"fuse"):
            shell("umount", "-l", self.path)


def _serve(sink: int, path: Path, filesystem: Filesystem, uid: int, arguments: dict[str, Any]) -> None:
    """The child: mounts, serves until unmounted or told to, and never returns."""
    status = 1
    try:
        if uid:
            _become(uid)
        server = mount(path, filesystem, on_ready=lambda: _say(sink, "ready"), **arguments)
        signalled = server.serve_until_signal()
        _say(sink, f"ended signal={signalled} destroyed={getattr(filesystem, 'destroyed', None)}")
        status = 0
    except mounting.MountError as error:
        _say(sink, f"{type(error).__name__}: {error}")
    except BaseException:
        _say(sink, traceback.format_exc())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _become(uid: int) -> None:
    # The interpreter may lie where this user cannot read: what is imported later must be here now.
    import ctypes
    import logging
    import select
    import socket

    assert ctypes and logging and select and socket
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _say(sink: int, text: str) -> None:
    os.write(sink, text.encode())


Serve = Callable[..., Served]


@pytest.fixture
def serve(fuse: None, mountpoint: Path) -> Iterator[Serve]:
    """``serve(filesystem, **arguments of rofuse_mount.server.mount)``: a mount at ``mountpoint`` or ``path``."""
    running: list[Served] = []

    def start(
        filesystem: Filesystem,
        options: MountOptions | None = None,
        *,
        path: Path | None = None,
        uid: int = 0,
        **arguments: Any,
    ) -> Served:
        running.append(Served(path or mountpoint, filesystem, uid, {"options": options, **arguments}))
        return running[-1]

    yield start
    for served in running:
        served.close()
