"""Registrations of files that are passed through: one for all openings, none when nothing is open."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from rofuse_mount.backings import Backings, LocalSlots, SharedSlots, Slots
from rofuse_mount.device import Device


class FakeDevice:
    """Numbers registrations as the kernel does, and knows which there are."""

    def __init__(self) -> None:
        self.registered: dict[int, int] = {}
        self._next = 1

    def backing_open(self, fd: int) -> int:
        if fd < 0:
            raise OSError(9, "Bad file descriptor")
        self.registered[self._next] = fd
        self._next += 1
        return self._next - 1

    def backing_close(self, backing_id: int) -> None:
        if backing_id not in self.registered:
            raise OSError(2, "No such file or directory")
        del self.registered[backing_id]


@pytest.fixture
def shared() -> Iterator[int]:
    fd = SharedSlots.create(1000)
    yield fd
    os.close(fd)


@pytest.fixture(params=["local", "shared"])
def slots(request: pytest.FixtureRequest, shared: int) -> Slots:
    return LocalSlots() if request.param == "local" else SharedSlots(shared)


def backings(device: FakeDevice, slots: Slots | None = None) -> Backings:
    return Backings(cast(Device, device), slots)


def test_all_openings_of_an_inode_share_one(slots: Slots) -> None:
    device = FakeDevice()
    held = backings(device, slots)
    assert [held.acquire(1000, 7), held.acquire(1000, 8), held.acquire(5, 9)] == [1, 1, 2]
    assert device.registered == {1: 7, 2: 9}
    held.release(1000)
    assert device.registered == {1: 7, 2: 9}
    held.release(1000)
    assert device.registered == {2: 9}
    assert held.acquire(1000, 10) == 3


def test_a_release_of_what_was_not_passed_through_is_nothing(slots: Slots) -> None:
    device = FakeDevice()
    held = backings(device, slots)
    held.release(3)
    with pytest.raises(OSError):
        held.acquire(3, -1)
    held.release(3)
    assert slots.get(3) == (0, 0)


def test_an_end_of_the_connection_is_no_failure(slots: Slots) -> None:
    device = FakeDevice()
    held = backings(device, slots)
    held.acquire(3, 1)
    device.registered.clear()
    held.release(3)
    assert slots.get(3) == (0, 0)


def test_a_successor_goes_on_with_the_same(shared: int) -> None:
    device = FakeDevice()
    assert backings(device, SharedSlots(shared)).acquire(3, 7) == 1
    successor = backings(device, SharedSlots(shared))
    assert successor.acquire(3, 8) == 1
    successor.release(3)
    successor.release(3)
    assert device.registered == {}


def test_many_threads_count_right(slots: Slots) -> None:
    device = FakeDevice()
    held = backings(device, slots)

    def work() -> None:
        for _round in range(300):
            held.acquire(3, 1)
            held.release(3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert device.registered == {}
    assert slots.get(3) == (0, 0)


def test_processes_wait_for_one_another(shared: int) -> None:
    """Each adds to a count that both have; nothing is lost."""
    pid = os.fork()
    slots = SharedSlots(shared)
    try:
        for _round in range(2000):
            with slots.locked():
                _id, count = slots.get(1)
                slots.put(1, 1, count + 1)
    finally:
        if not pid:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert slots.get(1) == (1, 4000)
