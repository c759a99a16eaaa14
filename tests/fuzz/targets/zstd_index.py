"""zstd, the seek index: bytes that are none raise IndexDamagedError when it is opened; what opens reads bytes,
DamagedError or IndexDamagedError, never more than was asked for.

The checksum of an input's table is made right first: otherwise nothing behind it would ever be reached.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from functools import cache

import zstandard

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.codecs.zstd.index import CHECKSUM, HEADER, RECORD
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from tests.fuzz.targets._archives import MemorySource

MAX_LEN = 4096
MOST_READ = 1 << 16
MOST_POINTS = 8

_LIMITS = Limits(max_window=1 << 23)


@cache
def _source() -> MemorySource:
    """Two frames of zeros and of text without points inside, and one with two."""
    chance = random.Random(1)
    line = bytes(chance.randrange(97, 123) for _ in range(1000))
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    frames = [compressor.compress(bytes(20 << 20)), compressor.compress(line * 40_000)]
    streamed = compressor.compressobj()
    frames += [streamed.compress(line * 3000) for _ in range(12)]
    return MemorySource(b"".join(frames) + streamed.flush())


def seeds() -> Iterator[bytes]:
    first_pass = named("zstd").first_pass(_source(), _LIMITS)
    for _chunk in first_pass:
        pass
    index = bytes(first_pass.index())
    assert len(index) > HEADER.size + 5 * RECORD.size
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
    try:
        stream = named("zstd").open(_source(), repaired(data), _LIMITS)
    except (IndexDamagedError, LimitError):
        return
    for number in range(min(MOST_POINTS, len(stream.points))):
        try:
            cursor = stream.cursor(number)
            assert len(cursor.read(MOST_READ)) <= MOST_READ
            cursor.skip(MOST_READ)
        except (DamagedError, IndexDamagedError, LimitError):
            continue
