"""The seek index of streams of units: bytes that are none raise IndexDamagedError when it is opened; what opens reads
bytes, DamagedError or IndexDamagedError, never more than was asked for.

The checksum of an input is made right first: otherwise nothing behind it would ever be reached.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.seek_index import CHECKSUM, HEADER, RECORD
from tests.formats.lzip_support import member
from tests.formats.xz_support import of_parts
from tests.fuzz.targets._archives import MemorySource

MAX_LEN = 4096
MOST_READ = 1 << 16
MOST_POINTS = 8

_LIMITS = Limits(max_window=1 << 23)
_PARTS = [bytes(600_000), b"x" * 300_000, b"y" * 300_000, b"z" * 100_000]


@cache
def _sources() -> dict[bytes, tuple[str, MemorySource]]:
    """By the index' magic: codec and source."""
    xz = MemorySource(of_parts(_PARTS, preset=0) + of_parts(_PARTS[1:3], preset=0))
    lzip = MemorySource(b"".join(map(member, _PARTS)))
    return {_index(name, source)[:8]: (name, source) for name, source in (("xz", xz), ("lzip", lzip))}


def _index(name: str, source: MemorySource) -> bytes:
    first_pass = named(name).first_pass(source, _LIMITS)
    for _chunk in first_pass:
        pass
    return first_pass.index()


def seeds() -> Iterator[bytes]:
    for name, source in _sources().values():
        index = _index(name, source)
        assert len(index) > HEADER.size + 2 * RECORD.size
        yield index


def repaired(data: bytes) -> bytes:
    """The same with a checksum of the table that holds, as far as there is a table."""
    fixed = bytearray(data)
    if len(fixed) < HEADER.size:
        return data
    end = HEADER.size + HEADER.unpack_from(fixed)[-1] * RECORD.size
    if len(fixed) < end + CHECKSUM.size:
        return data
    CHECKSUM.pack_into(fixed, end, zlib.crc32(memoryview(fixed)[:end]))
    return bytes(fixed)


def fuzz(data: bytes) -> None:
    name, source = _sources().get(data[:8]) or next(iter(_sources().values()))
    try:
        stream = named(name).open(source, repaired(data), _LIMITS)
    except (IndexDamagedError, LimitError):
        return
    for number in range(min(MOST_POINTS, len(stream.points))):
        try:
            cursor = stream.cursor(number)
            assert len(cursor.read(MOST_READ)) <= MOST_READ
            cursor.skip(MOST_READ)
        except (DamagedError, IndexDamagedError, LimitError):
            continue
