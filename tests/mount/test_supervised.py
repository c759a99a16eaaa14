"""Mounts that do not die: servers are killed, hang and crash while others read."""

from __future__ import annotations

import errno
import faulthandler
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rofuse_mount import mounting, negotiation, supervised
from rofuse_mount import supervisor as supervisor_module
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Context, MountOptions
from rofuse_mount.supervisor import Post, Seat, forking, post
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
            signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)
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
        return any(strike(pid, number) for pid in self.servers()[:1])

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
            strike(pid, signal.SIGKILL)
        os.close(self._report)
        while (entry := table_entry(self.path)) is not None and entry.fstype.startswith(b"fuse"):
            shell("umount", "-l", self.path)


def strike(pid: int, number: int) -> bool:
    """Sends a signal to a process that others wait for; whether it was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def is_gone(pid: int) -> bool:
    """Ended; a process that nobody has waited for yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _supervise(sink: int, log: Path, path: Path, filesystem: Filesystem, arguments: dict[str, Any]) -> None:
    status = 1
    try:
        faulthandler.disable()  # of servers that are told to crash there is nothing to learn
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
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


READER = """
import os, sys
path, original, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
wanted = open(original, "rb").read()
for _ in range(rounds):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # of a cache that has it, nothing would be asked
    for offset in range(0, len(wanted), 1 << 20):
        assert os.pread(fd, 1 << 20, offset) == wanted[offset : offset + (1 << 20)], offset
    os.close(fd)
"""


def reading(path: Path, original: Path, rounds: int) -> subprocess.Popen[str]:
    """A process that reads and compares again and again."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", READER, str(path), str(original), str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_undisturbed(reader: subprocess.Popen[str]) -> None:
    assert (reader.communicate(timeout=60)[0], reader.returncode) == ("", 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("workers", [1, 3])
def test_readers_do_not_notice_that_servers_are_killed(
    number: int, workers: int, supervise: Supervise, mountpoint: Path, original: Path
) -> None:
    mount = supervise(Fragile(), workers=workers)
    assert len(mount.servers()) == workers
    readers = [reading(mountpoint / "big", original, 4) for _ in range(2)]
    kills = 0
    while any(reader.poll() is None for reader in readers):
        kills += mount.kill_server(number)
        time.sleep(random.uniform(0.02, 0.1))
    for reader in readers:
        assert_undisturbed(reader)
    assert kills
    assert "is started again" in mount.log.read_text()
    assert shell("umount", mountpoint).returncode == 0
    assert eventually(mount.ended) and mount.status == 0


@pytest.mark.parametrize("name", ["crash", "abort", "memory"])
def test_a_request_that_kills_every_server_is_answered_eio(
    name: str, supervise: Supervise, mountpoint: Path, original: Path
) -> None:
    mount = supervise(Fragile())
    reader = reading(mountpoint / "big", original, 3)
    result = shell("cat", mountpoint / name)
    assert result.returncode == 1
    assert "Input/output error" in result.stderr
    assert_undisturbed(reader)
    # The kernel asks twice: to read ahead, and for the one page that it needs when that has failed.
    assert mount.log.read_text().count("is started again") in (post.GIVEN_UP, 2 * post.GIVEN_UP)


def test_a_request_that_is_there_when_others_kill_is_answered(supervise: Supervise, mountpoint: Path) -> None:
    """It takes longer than servers live while the other one is tried: it must not be taken for the one that kills."""

    class Slow(Fragile):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Any:
            if self.files[ino - 2][0] == "slow":
                time.sleep(0.3)
            return super().read(ctx, ino, fh, offset, size)

    supervise(Slow(slow=b"patience"))
    slow = subprocess.Popen(["cat", mountpoint / "slow"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.1)
    assert "Input/output error" in shell("cat", mountpoint / "crash").stderr
    assert slow.communicate(timeout=60)[0] == "patience"


def test_without_resend_requests_in_flight_fail_and_the_mount_stays(
    supervise: Supervise, mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(negotiation, "_WANTED", negotiation._WANTED & ~InitFlag.HAS_RESEND)
    mount = supervise(Fragile(), options=MountOptions(threads=2))
    result = shell("cat", mountpoint / "crash")
    assert "Input/output error" in result.stderr
    assert shell("cmp", mountpoint / "big", mountpoint / "big").returncode == 0
    assert shell("cat", mountpoint / "crash").returncode == 1
    assert "is started again" in mount.log.read_text()
    assert shell("cat", mountpoint / "abort").returncode == 1
    assert shell("umount", mountpoint).returncode == 0
    assert eventually(mount.ended) and mount.status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["supervisor", "server"])
def test_a_signal_ends_the_mount_cleanly(
    whom: str, number: int, supervise: Supervise, mountpoint: Path
) -> None:
    mount = supervise(Fragile())
    (server,) = mount.servers()
    os.kill(mount.pid if whom == "supervisor" else server, number)
    assert eventually(mount.ended) and mount.status == 0
    assert table_entry(mountpoint) is None
    assert is_gone(server)


def test_the_mount_outlives_its_supervisor(supervise: Supervise, mountpoint: Path, original: Path) -> None:
    mount = supervise(Fragile())
    (server,) = mount.servers()
    reader = reading(mountpoint / "big", original, 2)
    os.kill(mount.pid, signal.SIGKILL)
    assert eventually(mount.ended)
    assert_undisturbed(reader)
    os.kill(server, signal.SIGTERM)
    assert eventually(lambda: is_gone(server))
    assert table_entry(mountpoint) is None


def test_a_stopped_server_is_not_waited_for_at_the_end(supervise: Supervise, mountpoint: Path) -> None:
    mount = supervise(Fragile())
    (server,) = mount.servers()
    os.kill(server, signal.SIGSTOP)
    os.kill(mount.pid, signal.SIGTERM)
    assert eventually(mount.ended) and mount.status == 0
    assert is_gone(server)
    assert table_entry(mountpoint) is None


def test_a_filesystem_that_cannot_begin_is_said_and_leaves_nothing(fuse: None, mountpoint: Path) -> None:
    class Refusing(Memory):
        def init(self, ctx: Context, config: object) -> None:
            raise OSError(errno.ENOTSUP, "not today")

    supervisor = Supervised(mountpoint, Refusing(), {})
    try:
        assert "StartError" in supervisor.report
        assert "not today" in supervisor.report
        assert eventually(supervisor.ended)
        assert table_entry(mountpoint) is None
    finally:
        supervisor.close()


def test_a_server_that_cannot_begin_again_ends_the_mount_in_the_end(
    supervise: Supervise, mountpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once(Fragile):
        def init(self, ctx: Context, config: object) -> None:
            if (folder / "begun").exists():
                raise OSError(errno.ENOTSUP, "not again")
            (folder / "begun").touch()

    monkeypatch.setattr(supervisor_module, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor_module, "_HOPELESS_SECONDS", 0.2)
    mount = supervise(Once())
    assert mount.kill_server()
    assert eventually(mount.ended)
    assert table_entry(mountpoint) is None
    assert "not again" in mount.log.read_text()


@pytest.mark.parametrize("resend", [True, False])
def test_a_take_over_leaves_the_new_servers_alone(
    resend: bool, fuse: None, mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process is the supervisor. Without RESEND the old server leaves as its threads have each answered one more
    request."""
    if not resend:
        monkeypatch.setattr(negotiation, "_WANTED", negotiation._WANTED & ~InitFlag.HAS_RESEND)
    supervisor = supervised.mount(mountpoint, Memory(), workers=2)
    try:
        supervisor.begin()
        old = [instance.pid for instance in supervisor.instances]
        assert supervisor.take_over(supervisor.start) == ""
        assert supervisor.takeovers == 1

        def left() -> bool:
            # STATFS is never answered from a cache. A server that dies at it takes it along until the supervisor, which
            # we are, has it delivered again: so we must not just wait.
            with subprocess.Popen(["stat", "-f", mountpoint], stdout=subprocess.DEVNULL) as asking:
                late = time.monotonic() + 30
                while asking.poll() is None:
                    supervisor.turn(0.01)
                    if time.monotonic() > late:
                        asking.kill()
            assert asking.returncode == 0
            supervisor.turn(0.01)
            return not any(instance.pid in old for instance in supervisor.instances)

        assert eventually(left)
        assert len(supervisor.instances) == 2
        assert shell("cat", mountpoint / "hello").returncode == 0
    finally:
        supervisor.end()
        supervisor.run()
    assert table_entry(mountpoint) is None


def test_a_take_over_that_fails_changes_nothing(fuse: None, mountpoint: Path) -> None:
    def refuse(seat: Seat) -> int:
        Post(seat).failed(1, "not I")
        return 1

    supervisor = supervised.mount(mountpoint, Memory())
    try:
        supervisor.begin()
        old = supervisor.instances[0].pid
        assert supervisor.take_over(forking(refuse)) == "not I"
        assert [instance.pid for instance in supervisor.instances] == [old]
        assert supervisor.takeovers == 0
        assert shell("cat", mountpoint / "hello").returncode == 0
    finally:
        supervisor.end()
        supervisor.run()
