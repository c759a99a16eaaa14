"""Helpers for the tests of any codec: through its contract alone."""

from __future__ import annotations

import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Iterable
from typing import TypeVar

import pytest

from rofuse_formats.codecs import FirstPass, SeekableStream

KIB = 1 << 10
MIB = 1 << 20

Pass = TypeVar("Pass", bound=FirstPass)


class BytesSource:
    """Bytes as a Source."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def pread(self, size: int, offset: int, /) -> bytes:
        assert size >= 0 and 0 <= offset <= self.size
        return self.data[offset : offset + size]


def made_by(tool: str, data: bytes, *options: str) -> bytes:
    """``data`` compressed by a command, from a pipe."""
    if not shutil.which(tool):  # one of several makers of the same format, not each of which every system has
        pytest.skip(f"{tool} is not installed")
    command = [tool, "-c", *options]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def output_of(first_pass: Pass) -> tuple[bytes, Pass]:
    """What a first pass yields, and the pass. What must hold of any is checked."""
    chunks = list(first_pass)
    assert all(0 < len(chunk) <= 4 * MIB for chunk in chunks)
    output = b"".join(chunks)
    assert len(chunks) <= 2 + len(output) // (64 * KIB)
    edges = [edge for stretch in first_pass.suspect for edge in stretch]
    assert edges == sorted(set(edges)) and (not edges or edges[-1] <= len(output))
    return output, first_pass


def read_at(stream: SeekableStream, offset: int, size: int) -> bytes:
    cursor = stream.cursor(bisect_right(stream.points, offset) - 1)
    cursor.skip(offset - cursor.position)
    assert cursor.position == offset
    data = cursor.read(size)
    assert cursor.position == offset + len(data)
    return data


def check_reads(stream: SeekableStream, expected: bytes, offsets: Iterable[int], size: int = 5000) -> None:
    for offset in offsets:
        assert read_at(stream, offset, size) == expected[offset : offset + size], offset


def check_all_points(
    stream: SeekableStream, expected: bytes, suspect: Iterable[tuple[int, int]] = ()
) -> None:
    """From each point as far as the next but one, or up to what is suspect; all of the rest from the last."""
    assert stream.size == len(expected)
    assert stream.points == sorted(set(stream.points)) and stream.points[:1] == [0]
    for number, start in enumerate(stream.points):
        end = [*stream.points, len(expected), len(expected)][number + 2]
        for bad_start, bad_end in suspect:
            if bad_start < end and start < bad_end:
                end = max(start, bad_start)
        assert stream.cursor(number).read(end - start) == expected[start:end], number


def outside(suspect: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The stretches of ``size`` bytes that are not suspect."""
    edges = [0, *(edge for stretch in suspect for edge in stretch), size]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
