"""Files as sources, and several of them joined."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.source import FileSource, JoinedSource, runs, starts
from rofuse_formats.streams import StoredStream


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_runs_are_what_they_cover(sizes: list[int], offset: int, size: int) -> None:
    begin = starts(sizes)
    end = begin.pop()
    offset = min(offset, end)
    size = min(size, end - offset)
    found = list(runs(begin, offset, size))
    whole = [(number, at) for number, length in enumerate(sizes) for at in range(length)]
    covered = [(number, at + more) for number, at, count in found for more in range(count)]
    assert covered == whole[offset : offset + size]
    assert all(count for _number, _at, count in found)


def joined(folder: Path, *parts: bytes) -> JoinedSource:
    files = []
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
        files.append(FileSource(str(folder / str(number))))
    return JoinedSource(files, files[0].path, b"whole")


def test_joined_files_are_read_as_one(tmp_path: Path) -> None:
    parts = (b"abc", b"", b"defgh", b"i")
    source, whole = joined(tmp_path, *parts), b"".join(parts)
    stream = StoredStream(source)
    assert source.size == stream.size == len(whole)
    assert list(source.starts) == [0, *accumulate(map(len, parts[:-1]))]
    for offset in range(len(whole) + 2):
        for size in range(len(whole) + 3):
            assert source.pread(size, offset) == whole[offset : offset + size]
            assert b"".join(stream.read(offset, size)) == whole[offset : offset + size]


def test_nothing_is_read_behind_a_part_that_became_shorter(tmp_path: Path) -> None:
    source = joined(tmp_path, b"abc", b"def")
    os.truncate(tmp_path / "0", 1)
    assert source.pread(6, 0) == b"a"
