"""Blocks that a process beside decodes: the same ones, whatever becomes of it."""

from __future__ import annotations

import bz2
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator

import pytest

from rofuse_formats import codecs
from rofuse_formats.codecs.bzip2 import apart
from rofuse_formats.codecs.bzip2.apart import Apart
from rofuse_formats.codecs.bzip2.first_pass import FirstPass
from rofuse_formats.limits import Limits
from tests.formats.bzip2_support import file_of, outcome
from tests.formats.codec_support import MIB, BytesSource, output_of
from tests.formats.zstd_support import mixed

pytest.importorskip("rapidgzip")

DATA = mixed(24 * MIB)  # more than the ring holds
WHOLE = bz2.compress(DATA, 1)
ALONE = outcome(output_of(FirstPass(BytesSource(WHOLE), Limits()))[1])


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also sees to it that no process is left."""
    monkeypatch.setattr(apart, "LEAST_SOURCE", 0)
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def started(data: bytes = WHOLE) -> tuple[FirstPass, Apart]:
    first_pass = FirstPass(file_of(data), Limits(may_fork=True))
    assert first_pass._apart
    return first_pass, first_pass._apart


def test_all_blocks_come_from_it() -> None:
    first_pass, process = started()
    assert b"".join(first_pass) == DATA
    assert process._freed == len(DATA)
    assert outcome(first_pass) == ALONE


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_it_may_die_or_fall_silent(monkeypatch: pytest.MonkeyPatch, how: signal.Signals) -> None:
    monkeypatch.setattr(apart, "SILENCE", 0.5)
    first_pass, process = started()
    chunks = iter(first_pass)
    output = next(chunks)
    os.kill(process._pid, how)
    assert output + b"".join(chunks) == DATA
    assert 0 < process._freed < len(DATA)
    assert outcome(first_pass) == ALONE


@pytest.mark.parametrize("edge", [1, 6])
@pytest.mark.parametrize("bits, size", [(1, 0), (-1, 0), (0, -(1 << 30))])
def test_edges_that_cannot_be_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, edge: int, bits: int, size: int
) -> None:
    first_pass, process = started()
    receive = process._receive

    def forged() -> None:
        receive()
        if len(process._edges) > edge and not seen:
            at, decoded = process._edges[edge]
            process._edges[edge] = (at + bits, max(0, decoded + size))
            seen.append(edge)

    seen: list[int] = []
    monkeypatch.setattr(process, "_receive", forged)
    assert b"".join(first_pass) == DATA
    assert seen and process._freed < len(DATA)
    assert outcome(first_pass) == ALONE


def test_damage_is_told_as_without_it() -> None:
    """And nothing of a block that is damaged comes out."""
    broken = bytearray(WHOLE)
    broken[len(broken) // 2] ^= 4
    output, alone = output_of(FirstPass(BytesSource(bytes(broken)), Limits()))
    first_pass, process = started(bytes(broken))
    assert b"".join(first_pass) == output
    assert 0 < process._freed <= len(output) < len(DATA)
    assert outcome(first_pass) == outcome(alone)
    assert len(alone.damages) == 1


def test_blocks_that_are_larger_than_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are decoded here, and where they are most of it, all the rest too."""
    data = DATA[:100_000] + bytes(100 * MIB) + DATA[:3_000_000]
    for most, given in ((4, False), (1, True)):
        monkeypatch.setattr(apart, "_TWICE_AT_MOST", most)
        first_pass, process = started(bz2.compress(data))
        assert b"".join(first_pass) == data
        assert (process._freed == len(data)) is given


def test_a_pass_that_is_left_early() -> None:
    first_pass, _process = started()
    chunks = first_pass.__iter__()
    assert isinstance(chunks, Generator)
    next(chunks)
    chunks.close()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "is_installed", lambda package: False)
    first_pass = FirstPass(file_of(WHOLE), Limits(may_fork=True))
    assert first_pass._apart is None
    assert b"".join(first_pass) == DATA


def test_what_would_be_faster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codecs.faster_library("bzip2") is None
    monkeypatch.setattr(codecs, "is_installed", lambda package: False)
    assert codecs.faster_library("bzip2") == "rapidgzip"
    assert codecs.faster_library("zstd") is None


def test_with_a_library_that_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidgzip", bz2)
    first_pass, process = started()
    assert b"".join(first_pass) == DATA
    assert process._freed == 0


def test_beside_threads_there_is_none() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert apart.start(file_of(WHOLE), Limits(may_fork=True)) is None
    finally:
        end.set()
        thread.join()


def test_who_may_not_fork_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert apart.start(file_of(WHOLE), Limits()) is None
    assert apart.start(BytesSource(WHOLE), Limits(may_fork=True)) is None
    monkeypatch.setattr(apart, "LEAST_SOURCE", len(WHOLE) + 1)
    assert apart.start(file_of(WHOLE), Limits(may_fork=True)) is None
