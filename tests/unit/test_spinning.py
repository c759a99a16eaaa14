"""Looking for a request before sleeping."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from rofuse_mount import spinning
from rofuse_mount.spinning import Spinner


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_is_there_or_comes_is_found(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    spinner = Spinner()
    os.write(pipe[1], b".")
    spinner.wait(pipe[0])
    assert spinner.figures() == {"paid": 1, "vain": 0}
    os.read(pipe[0], 1)
    monkeypatch.setattr(spinning, "MOMENT", 20_000_000_000)
    writer = threading.Timer(0.05, os.write, (pipe[1], b"."))
    writer.start()
    spinner.wait(pipe[0])
    writer.join()
    assert os.read(pipe[0], 1) == b"." and spinner.paid == 2


def test_looking_in_vain_is_done_less_and_less(pipe: tuple[int, int]) -> None:
    spinner = Spinner()
    for _ in range(100):
        spinner.wait(pipe[0])
    assert spinner.figures() == {
        "paid": 0,
        "vain": 6,
    }  # 1 + (1 + 1) + (3 + 1) + ... + (31 + 1) requests, and some


def test_a_look_that_pays_makes_it_look_again(pipe: tuple[int, int]) -> None:
    spinner = Spinner()
    while spinner.vain < 4:
        spinner.wait(pipe[0])
    os.write(pipe[1], b".")
    for _ in range(15):
        spinner.wait(pipe[0])  # without a look
    assert spinner.paid == 0
    for _ in range(10):
        spinner.wait(pipe[0])
    assert spinner.paid == 10


def test_another_descriptor(pipe: tuple[int, int]) -> None:
    spinner = Spinner()
    os.write(pipe[1], b".")
    spinner.wait(pipe[0])
    reader, writer = os.pipe()
    os.write(writer, b".")
    spinner.wait(reader)
    os.close(reader)
    os.close(writer)
    assert spinner.paid == 2


def test_one_processor_is_left_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert not spinning.is_worth_it()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5})
    assert spinning.is_worth_it()
