"""Bytes of a mapped file: which there are, and what is announced to the kernel before they are read."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import NoReturn

import pytest

from rofuse_formats.mapped import FIRST, MOST, NEAR, RESIDENT, MappedFile
from rofuse_formats.source import FileSource

SIZE = 64 << 20
KIB = 1 << 10


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ranges (start, end)."""
    found: list[tuple[int, int]] = []

    def noted(fd: int, offset: int, size: int, advice: int) -> None:
        assert size <= 128 * KIB and advice == os.POSIX_FADV_WILLNEED
        if found and found[-1][1] == offset:
            found[-1] = found[-1][0], offset + size
        else:
            found.append((offset, offset + size))

    monkeypatch.setattr(os, "posix_fadvise", noted)
    return found


@pytest.fixture
def mapped(tmp_path: Path) -> MappedFile:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.write(b"begin")
        file.truncate(SIZE)
    return MappedFile(FileSource(path))


def test_bytes_up_to_the_end(mapped: MappedFile) -> None:
    assert bytes(mapped.read(0, 5)) == b"begin"
    assert len(mapped.read(SIZE - 3, 10)) == 3
    assert len(mapped.read(SIZE, 10)) == 0


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert bytes(MappedFile(FileSource(path)).read(0, 10)) == b""


def test_at_random_nothing_but_what_is_asked_for(
    mapped: MappedFile, announced: list[tuple[int, int]]
) -> None:
    places = [(40 << 20, 10), (20 << 20, 300 * KIB), (60 << 20, 1)]
    for offset, size in places:
        mapped.read(offset, size)
    assert announced == [(offset, offset + size) for offset, size in places]


def test_in_order_ever_more_ahead(mapped: MappedFile, announced: list[tuple[int, int]]) -> None:
    ahead, position = [], 0
    while position < 48 << 20:
        mapped.read(position, 100 * KIB)
        position += 101 * KIB
        ahead.append(max(end for _start, end in announced) - position)
    assert len(announced) == 1  # each byte once, none left out
    assert max(ahead[:4]) <= 2 * FIRST
    assert max(ahead) <= MOST
    assert min(ahead[100:]) >= MOST // 2 - 101 * KIB


def test_who_comes_back_a_little_is_still_in_order(
    mapped: MappedFile, announced: list[tuple[int, int]]
) -> None:
    for offset in (0, 128 * KIB, 64 * KIB, 256 * KIB):
        mapped.read(offset, 64 * KIB)
    assert announced[0][0] == 0 and len(announced) == 1
    mapped.read(256 * KIB + NEAR + 65 * KIB, 1)
    assert announced[-1][1] - announced[-1][0] == 1


def test_what_was_handed_on_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(4 * RESIDENT))
    mapped, most = MappedFile(FileSource(path)), 0
    before = mapped_memory()
    for offset in range(0, 4 * RESIDENT, KIB << 8):
        assert not any(bytes(mapped.read(offset, KIB << 8)[::4096]))
        most = max(most, mapped_memory() - before)
    assert 0 < most <= RESIDENT * 3 // 2  # pages come in runs


def mapped_memory() -> int:
    """Bytes of this process that are files' pages."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "RssFile" in line)
    return int(line.split()[1]) * KIB


def test_nothing_behind_the_end_of_a_file_that_became_shorter(tmp_path: Path) -> None:
    """The page that it ends in goes on with zeros, which are nobody's bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    mapped = MappedFile(FileSource(path))
    os.truncate(path, 5000)
    assert bytes(mapped.read(4096, 2000)) == b"x" * 904
    assert bytes(mapped.read(5000, 100)) == bytes(mapped.read(9000, 100)) == b""


def test_what_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def refuse(*arguments: object, **named: object) -> NoReturn:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    mapped = MappedFile(FileSource(path))
    assert bytes(mapped.read(3, 4)) == b"3456"
    assert bytes(mapped.read(8, 4)) == b"89"
