"""Kept seek points: what was kept comes back, and nothing that is not of this very index, or was touched."""

from __future__ import annotations

import os
from pathlib import Path
from time import sleep

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rofuse_formats import cache, points_file
from rofuse_formats.points_file import PointsFile
from rofuse_formats.source import FileSource

DIGEST = b"d" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "archive").write_bytes(b"anything")
    return tmp_path


class Kept:
    """The points of one archive, and what was said of them."""

    def __init__(self, folder: Path, digest: bytes = DIGEST, path: str = "") -> None:
        self.said: list[str] = []
        source = str(folder / "archive")
        self.path = Path(path or cache.points_place(source))
        self.file = PointsFile(FileSource(source), digest, str(self.path), self.said.append)

    def keep(self, row: int, data: bytes) -> None:
        self.file.keep(row, data).join()


def test_what_is_kept_comes_back(folder: Path) -> None:
    kept = Kept(folder)
    assert kept.file.load(3) is None
    kept.keep(3, b"three")
    kept.keep(1, b"one")
    kept.keep(3, b"three again")
    for file in (kept.file, Kept(folder).file):
        assert file.load(1) == b"one"
        assert file.load(3) == b"three again"
        assert file.load(2) is None
    assert kept.said == []
    assert [path.name for path in kept.path.parent.iterdir()] == [kept.path.name]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.dictionaries(st.integers(0, 1 << 40), st.binary(max_size=40), min_size=1, max_size=5))
def test_the_same_points_give_the_same_file(folder: Path, members: dict[int, bytes]) -> None:
    written = []
    for order in (sorted(members), sorted(members, reverse=True)):
        kept = Kept(folder)
        kept.path.unlink(missing_ok=True)
        for row in order:
            kept.keep(row, members[row])
        written.append(kept.path.read_bytes())
        assert all(kept.file.load(row) == data for row, data in members.items())
    assert written[0] == written[1]


def test_of_another_index_nothing_is_believed(folder: Path) -> None:
    Kept(folder).keep(1, b"one")
    other = Kept(folder, b"e" * 32)
    assert other.file.load(1) is None
    other.keep(2, b"two")
    assert other.file.load(1) is None
    assert Kept(folder).file.load(1) is None


def test_every_changed_byte_is_noticed(folder: Path) -> None:
    kept = Kept(folder)
    kept.keep(1, b"one")
    kept.keep(2, b"the second")
    raw = kept.path.read_bytes()
    for at, byte in enumerate(raw):
        kept.path.write_bytes(raw[:at] + bytes([byte ^ 1 << at % 8]) + raw[at + 1 :])
        assert kept.file.load(1) in (b"one", None)
        assert kept.file.load(2) in (b"the second", None)
        assert None in (kept.file.load(1), kept.file.load(2))
    for size in range(len(raw)):
        kept.path.write_bytes(raw[:size])
        assert kept.file.load(1) is kept.file.load(2) is None
    kept.keep(1, b"one")  # over what is damaged
    assert kept.file.load(1) == b"one"


def test_what_another_could_have_written_is_not_believed(folder: Path) -> None:
    kept = Kept(folder)
    kept.keep(1, b"one")
    kept.path.chmod(0o666)
    assert kept.file.load(1) is None


def test_it_does_not_grow_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_file, "SMALLEST", 1_000)
    kept = Kept(folder)
    for row in range(20):
        kept.keep(row, bytes([row]) * 300)
        assert kept.file.load(row) == bytes([row]) * 300
    assert sum(kept.file.load(row) is not None for row in range(20)) == 3
    kept.keep(77, bytes(2_000))
    assert kept.file.load(77) is None
    assert kept.said == []


def test_where_nothing_can_be_written_it_is_said_once(folder: Path) -> None:
    (folder / "cache").write_bytes(b"no directory")
    kept = Kept(folder)
    kept.keep(1, b"one")
    kept.keep(2, b"two")
    assert len(kept.said) == 1
    assert "seek points are not kept" in kept.said[0]
    assert kept.file.load(1) is None


def test_it_is_listed_and_can_be_dropped(folder: Path) -> None:
    kept = Kept(folder)
    kept.keep(1, b"one")
    (found,) = cache.kept()
    assert (found.kind, found.source) == ("index", os.path.realpath(folder / "archive"))
    assert cache.drop(found.path)
    assert cache.kept() == []


def test_what_comes_while_a_large_file_is_written_is_written_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each member that is read would else have all of it written again."""
    monkeypatch.setattr(points_file, "_LONG", 0)
    kept, times = Kept(folder), []
    write = kept.file._write

    def counted(members: dict[int, bytes]) -> str:
        times.append(len(members))
        sleep(0.01)
        return write(members)

    monkeypatch.setattr(kept.file, "_write", counted)
    threads = {kept.file.keep(row, b"points of %d" % row) for row in range(100)}
    for thread in threads:
        thread.join()
    assert all(kept.file.load(row) == b"points of %d" % row for row in range(100))
    assert len(times) < 50 and times[-1] == 100
