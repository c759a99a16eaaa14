"""Mounts that do not die: servers are killed, hang and crash while others read."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rofuse_mount import mounting, negotiation, supervised
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Context, MountOptions
from rofuse_mount.wire import InitFlag
from tests.mount.conftest import eventually, shell, table_entry
from tests.mount.test_server_mounts import Memory

BIG = random.Random(4).randbytes(32 << 20)


class Fragile(Memory):
    """Serves ``big``, and has files whose reading ends the server in the way that they are called."""

    def __init__(self, **more: bytes) -> None:
        super().__init__(big=BIG, crash=b"x" * 10, abort=b"x" * 10, memory=b"x" * 10, **more)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Any:
        name = self.files[ino - 2][0]
        if name == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "abort":
            os._exit(3)
        if name == "memory":
            raise MemoryError
        return super().read(ctx, ino, fh, offset, size)


class Supervised:
    """A supervisor in a process of its own, its mount, and what it logs."""

    def __init__(self, path: Path, filesystem: Filesystem, arguments: dict[str, Any]) -> None:
        self.path = path
        self._report, sink = os.pipe()
        self.log = path.parent / "log"
        self.log.touch()
        self.pid = os.fork()
        if not self.pid:
            _supervise(sink, self.log, path, filesystem, arguments)
        os.close(sink)
        self.report = os.read(self._report, 1 << 16).decode()
        self.status: int | None = None
        entry = table_entry(path)
        self.minor = entry.minor if entry is not None and entry.fstype.startswith(b"fuse") else None

    def servers(self) -> list[int]:
        """The pids of what serves now."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [pid for pid in map(int, text.split()) if not is_gone(pid)]

    def kill_server(self, number: int = signal.SIGKILL) -> bool:
        """Sends a signal to one of the servers; whether there was one."""
        for pid in self.servers()[:1]:
            os.kill(pid, number)
            return True
        return False

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def close(self) -> None:
        servers = self.servers()
        if not self.ended():
            if self.minor is not None:
                mounting.abort(self.minor)
            os.kill(self.pid, signal.SIGKILL)
            assert eventually(self.ended)
        for pid in servers:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        os.close(self._report)
        while (entry := table_entry(self.path)) is not None and entry.fstype.startswith(b"fuse"):
            shell("umount", "-l", self.path)


def is_gone(pid: int) -> bool:
    """Ended; a process that nobody has waited for yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _supervise(sink: int, log: Path, path: Path, filesystem: Filesystem, arguments: dict[str, Any]) -> None:
    status = 1
    try:
        with log.open("a") as lines:

            def write(line: str) -> None:
                lines.write(line + "\n")
                lines.flush()

            supervisor = supervised.mount(path, filesystem, log=write, **arguments)
            supervisor.begin()
            os.write(sink, b"ready")
            supervisor.run_until_signal()
            status = 0
    except BaseException:
        os.write(sink, traceback.format_exc().encode())
    finally:
        os._exit(status)


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(fuse: None, mountpoint: Path) -> Iterator[Supervise]:
    running: list[Supervised] = []

    def start(filesystem: Filesystem, **arguments: Any) -> Supervised:
        running.append(Supervised(mountpoint, filesystem, arguments))
        assert running[-1].report == "ready"
        return running[-1]

    yield start
    for supervisor in running:
        supervisor.close()


@pytest.fixture
def original(folder: Path) -> Path:
    path = folder / "original"
    path.write_bytes(BIG)
    return path


DROP = "import os; fd = os.open({path!r}, os.O_RDONLY); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)"


def comparing(path: Path, original: Path, rounds: int) -> subprocess.Popen[str]:
    """Compares again and again, each time past the page cache."""
    return subprocess.Popen(
        [
            "sh",
            "-c",
            f"for i in $(seq {rounds}); do dd if='{path}' iflag=nocache count=0 status=none; cmp '{path}' '{original}' || exit 1; done",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_readers_do_not_notice_that_servers_are_killed(
    supervise: Supervise, mountpoint: Path, original: Path
) -> None:
    mount = supervise(Fragile())
    reader = comparing(mountpoint / "big", original, 12)
    kills = 0
    while reader.poll() is None:
        kills += mount.kill_server()
        time.sleep(random.uniform(0.01, 0.1))
    assert reader.communicate()[0] == ""
    assert reader.returncode == 0
    assert kills >= 3
    assert shell("umount", mountpoint).returncode == 0
    assert eventually(mount.ended) and mount.status == 0
