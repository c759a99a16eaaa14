"""Clones of a mount's descriptor in other processes, and the coordinator that hands them out."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rofuse_mount import mounting, sharing
from rofuse_mount.device import Device, readable
from rofuse_mount.engine import Engine
from rofuse_mount.records import MountOptions
from rofuse_mount.server import Server, mount
from tests.mount.conftest import NOBODY, eventually, shell
from tests.mount.test_server_mounts import Memory
from tests.mount.test_supervised import BIG, assert_undisturbed, original, reading

__all__ = ["original"]


class Workers:
    """A mount whose INIT this process answers and which workers serve. Threads of this process never read it."""

    def __init__(self, path: Path, socket_path: Path) -> None:
        self.mounted = mounting.mount(path, "test")
        self.socket_path = socket_path
        engine = Engine(Memory(big=BIG), MountOptions())
        device = Device(self.mounted.fd)
        while engine.config is None:
            request = next(device.requests(bytearray(1 << 20)))
            device.reply(request, engine.handle(request) or [])
        self.coordinator = sharing.Coordinator(socket_path, self.mounted.fd, engine.negotiated)
        self.pids: list[int] = []

    def start(self) -> None:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.closerange(3, 4096)  # as a process of its own, it has none of these
                share = sharing.connect(self.socket_path)
                Server.from_fd(share.fd, Memory(big=BIG), share.negotiated).serve()
                status = 0
            finally:
                os._exit(status)
        self.pids.append(pid)
        assert self.coordinator.accept_worker(30).pid == pid

    def kill_one(self) -> None:
        pid = self.pids.pop(0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def close(self) -> None:
        mounting.unmount(self.mounted.mountpoint, lazy=True)
        os.close(self.mounted.fd)
        self.coordinator.close()
        for pid in self.pids:
            assert eventually(lambda pid=pid: os.waitpid(pid, os.WNOHANG)[0] == pid)  # type: ignore[misc]


@pytest.fixture
def workers(fuse: None, root: None, folder: Path, mountpoint: Path) -> Iterator[Workers]:
    workers = Workers(mountpoint, folder / "socket")
    yield workers
    workers.close()


def test_workers_are_killed_and_nobody_notices(workers: Workers, mountpoint: Path, original: Path) -> None:
    for _ in range(3):
        workers.start()
    readers = [reading(mountpoint / "big", original, 6) for _ in range(2)]
    kills = 0
    while any(reader.poll() is None for reader in readers):
        time.sleep(random.uniform(0.05, 0.2))
        workers.kill_one()
        workers.start()
        kills += 1
    for reader in readers:
        assert_undisturbed(reader)
    assert kills
    assert eventually(lambda: len(workers.coordinator.workers) == 3)


def test_what_the_last_worker_had_in_flight_waits_for_the_next(workers: Workers, mountpoint: Path) -> None:
    workers.start()
    assert shell("ls", mountpoint).stdout == "big\n"
    os.kill(workers.pids[0], signal.SIGSTOP)
    listing = threading.Thread(target=lambda: shell("md5sum", mountpoint / "big"))
    listing.start()
    time.sleep(0.1)
    workers.kill_one()
    assert eventually(lambda: not workers.coordinator.workers)
    workers.start()
    listing.join(30)
    assert not listing.is_alive()


def test_the_socket_is_its_owner_s(workers: Workers) -> None:
    assert stat.S_IMODE(workers.socket_path.stat().st_mode) == 0o600
    workers.coordinator.close()
    assert not workers.socket_path.exists()
    workers.coordinator = sharing.Coordinator(workers.socket_path, workers.mounted.fd)


def test_a_stranger_is_refused(workers: Workers) -> None:
    workers.socket_path.chmod(0o666)  # the mode alone would do; here the other lock is tried
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(workers.socket_path))
                message, descriptors, _, _ = socket.recv_fds(stranger, 1024, 8)
                status = 0 if not message and not descriptors else 2
        finally:
            os._exit(status)
    with pytest.raises(TimeoutError):
        workers.coordinator.accept_worker(0.5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert workers.coordinator.workers == []


def test_peers_that_stall_talk_or_leave_hold_nobody_up(workers: Workers, mountpoint: Path) -> None:
    path = str(workers.socket_path)
    peers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    for peer in peers:
        peer.connect(path)
    peers[1].send(b"\0" * 1000)
    peers[2].close()
    for _ in range(2):
        workers.coordinator.accept_worker(5)
    workers.start()  # the one that has left was passed over, or has been buried
    assert shell("ls", mountpoint).stdout == "big\n"
    for peer in peers:
        peer.close()
    assert eventually(lambda: len(workers.coordinator.workers) == 1)


def test_what_is_no_coordinator_is_said(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sharing.connect(folder / "missing")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "other"))
        listener.listen(1)

        def answer() -> None:
            with listener.accept()[0] as peer:
                socket.send_fds(peer, [b"something else"], [0, 0])

        thread = threading.Thread(target=answer)
        thread.start()
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ConnectionError):
            sharing.connect(folder / "other")
        thread.join()
        assert len(os.listdir("/proc/self/fd")) <= len(before)


def in_a_process(work: Callable[[], None]) -> int:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def test_beside_a_server_nothing_but_its_descriptor_is_needed(
    fuse: None, root: None, folder: Path, mountpoint: Path
) -> None:
    """The coordinator is there before INIT is, and is told nothing; the worker still gets what was negotiated."""
    read_end, write_end = os.pipe()
    path = folder / "socket"

    def coordinate() -> None:
        server = mount(mountpoint, Memory(big=BIG))
        with sharing.Coordinator(path, server.fileno()) as coordinator:
            with pytest.raises(TimeoutError):
                coordinator.accept_worker(0.1)
            threading.Thread(target=coordinator.accept_worker, daemon=True).start()
            time.sleep(0.2)
            server.serve()

    def work() -> None:
        assert eventually(path.exists)
        with sharing.connect(path) as share:
            server = Server.from_fd(share.fd, Memory(big=BIG), share.negotiated)
            os.write(write_end, b"connected")
            server.serve()

    pids = [in_a_process(coordinate), in_a_process(work)]
    try:
        assert readable((read_end,), 30)
        assert shell("ls", mountpoint).stdout == "big\n"
        assert shell("umount", mountpoint).returncode == 0
        for pid in pids:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        shell("umount", "-l", mountpoint)
        os.close(read_end)
        os.close(write_end)


def test_closing_ends_the_wait_for_a_worker(folder: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    coordinator, raised = sharing.Coordinator(folder / "socket", null, b"agreed"), list[type[Exception]]()

    def accept() -> None:
        try:
            coordinator.accept_worker()
        except OSError as error:
            raised.append(type(error))

    waiting = threading.Thread(target=accept)
    waiting.start()
    time.sleep(0.1)
    coordinator.close()
    coordinator.close()  # twice is as good as once
    waiting.join(10)
    assert raised == [OSError]
    os.close(null)


def test_what_was_negotiated_elsewhere_must_be_told(folder: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    with (
        sharing.Coordinator(folder / "socket", null) as coordinator,
        pytest.raises(ValueError, match="negotiated"),
    ):
        coordinator.accept_worker(5)
    os.close(null)


def test_clones_are_made_and_closed_together(workers: Workers) -> None:
    before = set(os.listdir("/proc/self/fd"))
    fds = sharing.clone_multiple(workers.mounted.fd, 3)
    assert len(set(fds)) == 3
    sharing.close_all(fds)
    with pytest.raises(OSError):
        sharing.close_all(fds)
    null = os.open(os.devnull, os.O_RDWR)
    with pytest.raises(OSError):
        sharing.clone_multiple(null, 2)
    os.close(null)
    assert set(os.listdir("/proc/self/fd")) == before
