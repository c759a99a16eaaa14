"""A compressed source with very many places that are damaged: nobody wants what is left, and each takes memory, and a
little of every read ever after."""

from __future__ import annotations

import bz2
import gzip
from bisect import bisect_right

import lz4.frame
import pytest
import zstandard

from rofuse_formats.codecs import named
from rofuse_formats.limits import MOST_DAMAGES, Limits
from tests.formats.zstd_support import BytesSource

GOOD = {
    "bzip2": bz2.compress(b"word"),
    "gzip": gzip.compress(b"word", mtime=0),
    "lz4": lz4.frame.compress(b"word", content_checksum=True, store_size=True),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(b"word"),
}
CHECKSUM = {"bzip2": -2, "gzip": -8, "lz4": -1, "zstd": -1}  # a byte of it


def spoilt(name: str) -> bytes:
    data = bytearray(GOOD[name])
    data[CHECKSUM[name]] ^= 8
    return bytes(data)


@pytest.mark.parametrize("name", GOOD)
def test_a_damage_is_passed_by(name: str) -> None:
    passed = named(name).first_pass(BytesSource(spoilt(name) + GOOD[name]), Limits())
    assert b"".join(passed)[4:] == b"word"
    assert len(passed.damages) == 1 and passed.suspect == [(0, 4)]


@pytest.mark.parametrize("name", GOOD)
def test_too_many_end_it(name: str) -> None:
    source = (spoilt(name) + GOOD[name]) * 2 * MOST_DAMAGES
    passed = named(name).first_pass(BytesSource(source), Limits())
    decoded = b"".join(passed)
    assert len(passed.damages) == MOST_DAMAGES + 1
    last = passed.damages[-1]
    assert str(last) == f"{MOST_DAMAGES} damages are enough: read up to offset {last.offset}"
    assert len(passed.suspect) == MOST_DAMAGES
    assert 8 * MOST_DAMAGES - 4 <= len(decoded) <= 8 * MOST_DAMAGES + 4
    assert passed.consumed < len(source) // 2 + len(GOOD[name])
    stream = named(name).open(BytesSource(source), passed.index(), Limits())
    assert stream.size == len(decoded)
    assert stream.cursor(bisect_right(stream.points, 4) - 1).read(4) == b"word"
