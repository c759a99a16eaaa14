"""A spool that grows: what was appended is there, also after a crash, and nothing else ever."""

from __future__ import annotations

import fcntl
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.growing_spool import GrowingSpool, source_of
from rofuse_formats.spool import PIECE

DIGEST = b"d" * 32


def spool(path: Path, digest: bytes = DIGEST, name: bytes = b"/archive") -> GrowingSpool:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        return GrowingSpool(fd, digest, name)
    except BaseException:
        os.close(fd)
        raise


def append(to: GrowingSpool, offset: int, data: bytes) -> None:
    to.append(offset, *to.prepared(offset, data))


def read(one: GrowingSpool, start: int, end: int) -> bytes:
    data = b""
    while start < end:
        piece = one.find(start)
        data += one.load(piece)[start - piece.offset : end - piece.offset]
        start = piece.offset + piece.size
    return data


CONTENT = random.Random(4).randbytes(100) * 20_000


def test_runs_in_any_order_are_there_at_once_and_for_the_next(tmp_path: Path) -> None:
    one = spool(tmp_path / "it")
    for start, end in ((500_000, 900_000), (0, 100), (100, 500_000), (1_500_000, 2_000_000)):
        append(one, start, CONTENT[start:end])
        assert read(one, start, end) == CONTENT[start:end]
    one.append_bad(1_000_000, 1_200_000, "its checksum")
    one.close()
    for again in (spool(tmp_path / "it"), spool(tmp_path / "it", name=b"/archive")):
        assert [again.end_of(at) for at in (0, 899_999, 900_000, 1_500_000)] == [
            900_000,
            900_000,
            900_000,
            2_000_000,
        ]
        assert read(again, 50, 900_000) == CONTENT[50:900_000]
        assert again.bad == [(1_000_000, 1_200_000, "its checksum")]
        again.close()


def test_one_writes_and_others_follow(tmp_path: Path) -> None:
    one, two = spool(tmp_path / "it"), spool(tmp_path / "it")
    assert (one.is_writer, two.is_writer, two.take_over()) == (True, False, False)
    append(one, 0, CONTENT[:1000])
    assert two.end_of(0) == 0
    two.refresh()
    assert read(two, 0, 1000) == CONTENT[:1000]
    append(one, 1000, CONTENT[1000:2000])
    one.close()
    assert two.take_over()
    append(two, 2000, CONTENT[2000:3000])
    assert read(two, 0, 3000) == CONTENT[:3000]


def test_what_is_of_another_archive_or_index_is_refused(tmp_path: Path) -> None:
    spool(tmp_path / "it").close()
    with pytest.raises(IndexDamagedError):
        spool(tmp_path / "it", digest=b"e" * 32)
    with pytest.raises(IndexDamagedError):
        spool(tmp_path / "it", name=b"/other")
    fd = os.open(tmp_path / "it", os.O_RDONLY)
    assert source_of(fd) == b"/archive"
    os.close(fd)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.data())
def test_what_a_killed_writer_left_is_cut_off(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "it"
    path.unlink(missing_ok=True)
    one = spool(path)
    sizes = [one.size]
    for at in range(4):
        append(one, at * 300_000, CONTENT[at * 300_000 : (at + 1) * 300_000])
        sizes.append(one.size)
    one.close()
    cut = data.draw(st.integers(sizes[0], sizes[-1]))
    os.truncate(path, cut)
    again = spool(path)
    whole = sum(size <= cut for size in sizes) - 1
    assert again.end_of(0) == whole * 300_000
    assert read(again, 0, whole * 300_000) == CONTENT[: whole * 300_000]
    append(again, whole * 300_000, CONTENT[whole * 300_000 :][:50])
    assert read(again, 0, whole * 300_000 + 50) == CONTENT[: whole * 300_000 + 50]
    again.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_one_gives_no_other_bytes(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "it"
    path.unlink(missing_ok=True)
    one = spool(path)
    for at in range(3):
        append(one, at * PIECE, CONTENT[at * PIECE : (at + 1) * PIECE])
    one.close()
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    try:
        again = spool(path)
    except IndexDamagedError:
        return
    end = again.end_of(0)
    try:
        assert read(again, 0, end) == CONTENT[:end]
    except DamagedError:
        pass
    again.close()


def test_the_lock_is_one_of_the_file_and_not_of_the_process(tmp_path: Path) -> None:
    """Both in one process, and still one writes."""
    one = spool(tmp_path / "it")
    other = os.open(tmp_path / "it", os.O_RDWR)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    with pytest.raises(BlockingIOError):
        fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock)
    one.close()
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock)
    os.close(other)
