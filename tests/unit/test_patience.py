"""Reading for somebody who may be gone."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from rofuse_formats import patience


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(patience, "PERIOD", 0.0)
    yield
    patience.reading_for(0)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def test_nothing_is_given_up_for_nobody_or_for_who_lives() -> None:
    patience.check()
    with sleeper() as process:
        patience.reading_for(process.pid)
        patience.check()
        patience.check()
        process.kill()


def test_it_is_given_up_when_the_reader_has_ended() -> None:
    with sleeper() as process:
        patience.reading_for(process.pid)
        patience.check()
        process.kill()
    with pytest.raises(InterruptedError):
        patience.check()


def test_who_has_ended_before_is_not_read_for_and_stays_gone() -> None:
    with sleeper() as process:
        process.kill()
    patience.reading_for(process.pid)
    for _ in range(3):
        with pytest.raises(InterruptedError):
            patience.check()


def test_what_was_found_out_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PERIOD", 0.05)
    with sleeper() as process:
        patience.reading_for(process.pid)
        assert not patience.is_in_vain()
        process.kill()
    while not patience.is_in_vain():
        pass
    assert patience.is_in_vain()


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        patience.reading_for(process.pid)
        patience.check()
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert patience.is_in_vain()


def test_another_thread_reads_for_another() -> None:
    with sleeper() as process:
        patience.reading_for(process.pid)
        patience.check()
        process.kill()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(patience.is_in_vain()))
    thread.start()
    thread.join()
    assert found == [False]
    assert patience.is_in_vain()


def test_a_lock_is_not_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PERIOD", 0.01)
    lock = threading.Lock()
    with sleeper() as process:
        patience.reading_for(process.pid)
        patience.check()
        process.kill()
    with lock, pytest.raises(InterruptedError), patience.held(lock):
        raise AssertionError("held by two")
    patience.reading_for(0)
    with patience.held(lock):
        assert lock.locked()
    assert not lock.locked()
