"""Seeds that a process beside makes: the same ones, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from rofuse_formats.codecs.zstd import apart
from rofuse_formats.codecs.zstd.apart import Apart
from rofuse_formats.codecs.zstd.first_pass import FirstPass
from rofuse_formats.limits import Limits
from tests.formats.zstd_support import KIB, MIB, BytesSource, zstd


def _data() -> bytes:
    words = [b"%x " % (number * 2_654_435_761 % (1 << 32)) for number in range(300_000)]
    return b"".join(words + words[::3] + words[::-2])


def _passed(compressed: bytes, *, may_fork: bool) -> FirstPass:
    first_pass = FirstPass(
        BytesSource(compressed), Limits(may_fork=may_fork), spacing=512 * KIB, windows_apart=1
    )
    assert b"".join(first_pass) == _data()
    return first_pass


@pytest.fixture(scope="module")
def compressed() -> bytes:
    return zstd(_data(), "-3", "--zstd=wlog=18")


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "LEAST_SOURCE", 0)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, any_size: None) -> list[Apart]:
    """The processes that were started."""
    found: list[Apart] = []
    start = apart.start

    def noted(source: BytesSource, limits: Limits, largest_window: int) -> Apart | None:
        one = start(source, limits, largest_window)
        if one:
            found.append(one)
        return one

    monkeypatch.setattr(apart, "start", noted)
    return found


def test_the_index_is_the_same(compressed: bytes, started: list[Apart]) -> None:
    alone = _passed(compressed, may_fork=False)
    assert not started
    beside = _passed(compressed, may_fork=True)
    assert len(started) == 1
    assert beside.index() == alone.index()
    assert len(alone._planner.points) > 3


def test_no_process_is_left(compressed: bytes, started: list[Apart]) -> None:
    _passed(compressed, may_fork=True).index()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_process_is_left_of_a_pass_that_is_dropped(compressed: bytes, any_size: None) -> None:
    _passed(compressed, may_fork=True)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_it_may_die(compressed: bytes, started: list[Apart]) -> None:
    expected = _passed(compressed, may_fork=False).index()
    first_pass = FirstPass(BytesSource(compressed), Limits(may_fork=True), spacing=512 * KIB, windows_apart=1)
    chunks = iter(first_pass)
    next(chunks)
    os.kill(started[0]._pid, signal.SIGKILL)
    for _chunk in chunks:
        pass
    assert first_pass.index() == expected


def test_beside_threads_there_is_none(compressed: bytes, any_size: None) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert apart.start(BytesSource(compressed), Limits(may_fork=True), MIB) is None
    finally:
        end.set()
        thread.join()


def test_a_small_source_needs_none(compressed: bytes) -> None:
    assert apart.start(BytesSource(compressed[:1000]), Limits(may_fork=True), MIB) is None
