"""The spool: what is kept comes back, what is damaged is noticed, and no disk is filled."""

from __future__ import annotations

import fcntl
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats import cache
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.spool import LEAST, PIECE, Spool, Writer
from rofuse_formats.spool_file import RESERVE, SpoolFile

TEXT = b"".join(b"%d, %x\n" % (number, number * number) for number in range(1 << 20))
NOISE = random.Random(3).randbytes(LEAST + PIECE + 7)


class InMemory:
    """A Room without bounds."""

    def __init__(self) -> None:
        self.fd, self.asked = -1, 0

    def open(self) -> int:
        if self.fd < 0:
            self.fd = os.memfd_create("spool")
        return self.fd

    def ask(self, written: int) -> None:
        self.asked += 1


def spooled(*parts: tuple[int, int, bytes]) -> Spool:
    room = InMemory()
    writer = Writer(room)
    for part in parts:
        writer.add(*part)
    known = writer.finish()
    assert known
    return Spool(room.open(), json.loads(json.dumps(known)))


def read_all(spool: Spool, stream: int) -> list[tuple[int, bytes]]:
    found = []
    for run in spool.runs(stream):
        assert list(run.points) == sorted({run.start, *range(-(-run.start // PIECE) * PIECE, run.end, PIECE)})
        pieces, offset = [], run.start
        while offset < run.end:
            pieces.append(run.read(offset, run.end - offset))
            assert 0 < len(pieces[-1]) <= PIECE
            offset += len(pieces[-1])
        found.append((run.start, b"".join(pieces)))
    return found


def test_two_streams_and_a_gap() -> None:
    parts = [
        (0, 100, TEXT[:9_000_001]),
        (0, 9_000_101, TEXT[9_000_001:]),
        (0, 50_000_000, NOISE),
        (2, 0, TEXT),
    ]
    spool = spooled(*parts)
    assert read_all(spool, 0) == [(100, TEXT), (50_000_000, NOISE)]
    assert read_all(spool, 1) == []
    assert read_all(spool, 2) == [(0, TEXT)]
    assert (
        spool.size < 1.2 * len(TEXT) + len(NOISE) + 2 * PIECE
    )  # text, twice, is compressed; noise does not grow


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3 * PIECE), st.lists(st.integers(1, LEAST // 4), min_size=1, max_size=12), st.data())
def test_any_range_of_any_chunks(start: int, sizes: list[int], data: st.DataObject) -> None:
    end = min(sum(sizes), len(TEXT))
    if end < LEAST:
        return
    room, at = InMemory(), 0
    writer = Writer(room)
    for size in sizes:
        writer.add(0, start + at, TEXT[at : at + size])
        at = min(at + size, len(TEXT))
    with_known = writer.finish()
    assert with_known
    spool = Spool(room.open(), with_known)
    (run,) = spool.runs(0)
    assert (run.start, run.end) == (start, start + end)
    offset = data.draw(st.integers(0, end - 1))
    piece = run.read(start + offset, 5000)
    assert piece and TEXT[offset:].startswith(piece)


def test_a_short_stretch_is_not_kept_and_makes_no_file() -> None:
    room = InMemory()
    writer = Writer(room)
    for stream in range(3):
        writer.add(stream, 0, TEXT[: LEAST - 1])
    assert writer.finish() is None
    assert room.fd == -1 and writer.refused == 0


def test_without_room_it_counts() -> None:
    writer = Writer(None)
    writer.add(0, 5, NOISE)
    assert writer.finish() is None
    assert writer.refused == len(NOISE)


def test_more_may_follow_after_it_was_finished() -> None:
    room = InMemory()
    writer = Writer(room)
    writer.add(0, 0, TEXT)
    first = writer.finish()
    assert first
    before = read_all(Spool(os.dup(room.open()), first), 0)
    writer.add(1, 0, NOISE)
    both = Spool(room.open(), writer.finish() or {})
    assert read_all(both, 0) == before == [(0, TEXT)]
    assert read_all(both, 1) == [(0, NOISE)]


def test_every_kind_of_damage_is_noticed() -> None:
    room = InMemory()
    writer = Writer(room)
    writer.add(0, 0, NOISE)
    known = writer.finish()
    assert known
    raw = os.pread(room.open(), 1 << 30, 0)
    chance = random.Random(5)
    for at in [0, len(raw) - 1, *(chance.randrange(len(raw)) for _ in range(60))]:
        fd = os.memfd_create("damaged")
        os.write(fd, raw[:at] + bytes((raw[at] ^ 1 << chance.randrange(8),)) + raw[at + 1 :])
        try:
            assert read_all(Spool(fd, known), 0) == [(0, NOISE)]
            assert at < 8  # of the magic at its beginning nothing depends
        except (DamagedError, IndexDamagedError):
            pass
    for size in (0, 10, len(raw) // 2, len(raw) - 1):
        fd = os.memfd_create("cut")
        os.write(fd, raw[:size])
        with pytest.raises(IndexDamagedError):
            Spool(fd, known)
        os.close(fd)


# --- room ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = tmp_path / "rofuse-mount"
    made.mkdir()
    return made


def put(folder: Path, name: str, mib: int, used: int) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(mib << 20))
    os.utime(path, (used, used))
    return path


def test_a_refusal_names_the_sizes(folder: Path) -> None:
    file = SpoolFile(100 << 20)
    file.ask(0)
    file.ask(36 << 20)
    with pytest.raises(LimitError, match=r"100 MiB.*37 MiB written.*free there.*--spool-limit"):
        file.ask(37 << 20)
    os.close(file.fd)


def test_old_spools_make_room_but_for_those_in_use(folder: Path) -> None:
    oldest = put(folder, "a.spool", 2, 100)
    locked = put(folder, "b.spool", 2, 200)
    newer = put(folder, "c.spool", 2, 300)
    newest = put(folder, "d.spool", 2, 400)
    index = put(folder, "e.rofuse", 2, 50)
    holder = os.open(locked, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_SH)
    file = SpoolFile(70 << 20)
    file.ask(1 << 20)  # of 70 MiB, 64 are to be left and 1 is taken: two of the four may stay
    assert [path.exists() for path in (oldest, locked, newer, newest, index)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    file.ask(4 << 20)
    assert not newest.exists()
    with pytest.raises(LimitError):
        file.ask(5 << 20)
    assert locked.exists()
    os.close(holder)
    file.ask(5 << 20)
    assert not locked.exists()
    os.close(file.fd)


def test_some_of_the_disk_always_stays_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SpoolFile(1 << 50)

    class Nearly:
        f_frsize, f_bavail = 1, RESERVE

    monkeypatch.setattr(os, "fstatvfs", lambda fd: Nearly)
    with pytest.raises(LimitError, match="256 MiB free"):
        file.ask(0)
    os.close(file.fd)


def test_a_cache_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "anonymous_file", refuse)
    with pytest.raises(LimitError, match="XDG_CACHE_HOME"):
        SpoolFile().ask(0)


def test_the_cache_knows_what_it_holds(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.spool", 1, 100)
    put(folder, "b.rofuse", 2, 50)
    put(folder, "c.other", 2, 50)
    (folder / "d.spool").symlink_to(tmp_path)
    found: list[Any] = [(os.path.basename(file.path), file.kind, file.source) for file in cache.kept()]
    assert found == [("b.rofuse", "index", None), ("a.spool", "spool", None)]
    (folder / "x.rofuse.999999999.tmp").touch()
    (folder / "x.rofuse.999999999.0f.tmp").touch()
    (folder / f"x.rofuse.{os.getpid()}.0f.tmp").touch()
    (folder / f"old.rofuse.{os.getpid()}.0f.tmp").touch()
    os.utime(folder / f"old.rofuse.{os.getpid()}.0f.tmp", (1, 1))
    cache.sweep()
    assert sorted(path.name for path in folder.glob("*.tmp")) == [f"x.rofuse.{os.getpid()}.0f.tmp"]
    assert cache.drop(str(folder / "a.spool"))
    assert not cache.drop(str(folder / "a.spool"))


class Full(InMemory):
    """A Room for so many bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def ask(self, written: int) -> None:
        if written >= self.size:
            raise LimitError("no room")


def test_what_is_not_needed_is_given_up_where_there_is_no_room() -> None:
    room = Full(16 << 20)
    writer = Writer(room)
    for number in range(8):
        writer.add(0, number * len(NOISE), NOISE, needed=False)
    known = writer.finish()
    assert known
    kept = read_all(Spool(os.dup(room.open()), known), 0)
    assert len(kept) == 1 and len(kept[0][1]) == 8 * len(NOISE) - writer.refused
    assert (16 << 20) <= len(kept[0][1]) <= (34 << 20)
    assert (writer.refused_needed, writer.why) == (0, "no room")
    with pytest.raises(LimitError, match="no room"):
        for number in range(8, 20):
            writer.add(0, number * len(NOISE), NOISE)
    writer.close()
