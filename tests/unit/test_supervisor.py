"""When a supervisor gives up, and when it does not. Its servers are children that end as they are told to."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from rofuse_mount import supervisor
from rofuse_mount.supervisor import Board, Seat, Supervisor, forking
from rofuse_mount.supervisor.post import END, READY


class Ending:
    """Of a mount that is none."""

    def take_off(self, log: Callable[[str], None]) -> float:
        return 0.0

    def clean_up(self, log: Callable[[str], None]) -> None:
        pass


class Mount:
    """A supervisor whose servers get ready and serve for ever, but for as many as ``deaths`` says, by turns."""

    def __init__(self, device: int, deaths: list[int]) -> None:
        self.lines: list[str] = []
        self.deaths = deaths
        self.board = Board.create()
        self.board.negotiated = bytes(56)
        self.supervisor = Supervisor([device], self.board, Ending(), self.start, self.lines.append)

    def start(self, seat: Seat, foreign: object) -> int:
        death = self.deaths.pop(0) if self.deaths else None
        return forking(lambda seat: _serve(seat, death))(seat, [])

    def turn_until(self, condition: Callable[[], bool]) -> bool:
        for _ in range(2000):
            if condition() or self.supervisor.over:
                return condition()
            self.supervisor.turn(0.05)
        return False

    @property
    def is_ready(self) -> bool:
        return any(instance.ready for instance in self.supervisor.instances)


def _serve(seat: Seat, death: int | None) -> int:
    if death is None:
        channel = socket.socket(fileno=seat.channel)
        channel.send(READY)
        channel.recv(1)
        channel.send(END)
        return 0
    if death < 0:
        os.kill(os.getpid(), -death)
    return death


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE", 0.002)
    ours, theirs = socket.socketpair()
    yield theirs.fileno()
    ours.close()
    theirs.close()


def end(mount: Mount) -> None:
    for instance in mount.supervisor.instances:
        instance.kill(signal.SIGKILL)
    mount.supervisor.end()
    mount.supervisor.run()


def test_servers_that_die_before_they_are_ready_do_not_end_the_mount(device: int) -> None:
    mount = Mount(device, [-signal.SIGKILL] * 15 + [3] * 10)
    mount.supervisor.launch(0)
    assert mount.turn_until(lambda: mount.is_ready)
    assert mount.supervisor.restarts == 25
    assert "again and again" in mount.lines[-1]
    end(mount)


def test_not_for_ever(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_HOPELESS_SECONDS", 0.0)
    for death, shown in ((-signal.SIGKILL, "signal 9"), (3, "status 3")):
        mount = Mount(device, [death] * 100)
        mount.supervisor.launch(0)
        assert not mount.turn_until(lambda mount=mount: mount.is_ready)  # type: ignore[misc]
        assert mount.supervisor.over
        assert mount.supervisor.restarts == 9
        assert f"cannot be started ({shown}, 10 times); the mount is ended" in mount.lines[-1]


def test_one_that_got_ready_makes_good_what_was_before(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_HOPELESS_SECONDS", 0.0)
    mount = Mount(device, [3] * 9)
    mount.supervisor.launch(0)
    assert mount.turn_until(lambda: mount.is_ready)
    mount.deaths = [3] * 9
    mount.supervisor.instances[0].kill(signal.SIGKILL)
    assert mount.turn_until(lambda: not mount.is_ready)
    assert mount.turn_until(lambda: mount.is_ready)
    end(mount)
