"""Kept seek points: a file of any bytes gives what was kept or nothing; of what is kept of a member, whatever its
bytes, points that can be decoded from, or none.

The checksum of the member's table is made right first: otherwise nothing behind it would ever be reached.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import cast

from rofuse_formats.archives.zip.deflated import DeflatedStream
from rofuse_formats.archives.zip.local import kept_flags
from rofuse_formats.archives.zip.member import Checker
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.points_file import PointsFile
from rofuse_formats.source import FileSource
from testdata.by_hand import Member, archive
from testdata.workshop import prose
from tests.fuzz.targets._archives import MemorySource
from tests.fuzz.targets.units_index import repaired

MAX_LEN = 4096
_MOST_READ = 1 << 16
_DIGEST = bytes(32)


class _Memory:
    """A PointsFile of one member."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    def load(self, row: int) -> bytes | None:
        return self.data

    def keep(self, row: int, data: bytes) -> None:
        self.data = data


@cache
def _member() -> Member:
    whole = Member(b"file", prose(1, 60_000) * 200)  # 12 MB
    return whole._replace(packed=whole.content())


@cache
def _archive() -> bytes:
    return archive(_member())


@cache
def _place() -> PackedMember:
    member = _member()
    return PackedMember(0, len(member.content()), zlib.crc32(member.data), 8, kept_flags(0, b"file"))


def _stream(kept: _Memory) -> DeflatedStream:
    source, size = MemorySource(_archive()), len(_member().data)
    return DeflatedStream(source, _place(), 0, size, Checker(), cast("PointsFile", kept))


def seeds() -> Iterator[bytes]:
    kept = _Memory()
    cursor = _stream(kept).cursor(0)
    cursor.skip(len(_member().data))
    assert kept.data is not None
    yield kept.data


def fuzz(data: bytes) -> None:
    _fuzz_file(data)
    stream = _stream(_Memory(repaired(data)))
    assert stream.points[0] == 0
    assert stream.points == sorted(stream.points)
    for number in range(1, min(8, len(stream.points))):
        try:
            assert len(stream.cursor(number).read(_MOST_READ)) <= _MOST_READ
        except (DamagedError, IndexDamagedError):
            continue


def _fuzz_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="points-") as folder:
        path = Path(folder, "points")
        path.write_bytes(data)
        file = PointsFile(FileSource(os.fspath(path)), _DIGEST, os.fspath(path), lambda line: None)
        assert file.load(0) is None
