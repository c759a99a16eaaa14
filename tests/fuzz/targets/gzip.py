"""gzip, the first pass: whatever the bytes, data and then perhaps damage; and the seek index it makes gives every byte
of it again, from every seek point, up to what is suspect.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.codecs.gzip.first_pass import FirstPass
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 14
MOST_DECODED = 1 << 22

_BLOCK = bytes.fromhex("1f8b08040000000000ff060042430200")
_SPACING = 1 << 12


def seeds() -> Iterator[bytes]:
    """Members of a few deflate blocks, of bgzip's form, with every optional part, several of them."""
    for path in paths(".gz", MAX_LEN):
        yield path.read_bytes()
    chance = random.Random(1)
    words = [bytes(chance.randrange(97, 123) for _ in range(chance.randrange(2, 9))) for _ in range(200)]
    data = b" ".join(chance.choices(words, k=4000))
    encoder = zlib.compressobj(6, zlib.DEFLATED, 31, 1)
    yield encoder.compress(data) + encoder.flush()
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    stream = encoder.compress(data[:2000]) + encoder.flush()
    ending = zlib.crc32(data[:2000]).to_bytes(4, "little") + (2000).to_bytes(4, "little")
    block = _BLOCK + (len(stream) + 25).to_bytes(2, "little") + stream + ending
    yield block * 3
    head = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\4\0ab\0\0" + b"name\0" + b"comment\0"
    checked = head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + stream + ending
    yield checked + bytes(30) + gzip.compress(b"", mtime=0) + gzip.compress(data[:100], mtime=0) + block


def fuzz(data: bytes) -> None:
    source = MemorySource(data)
    first_pass = FirstPass(source, spacing=_SPACING, free_spacing=1)
    decoded = bytearray()
    for chunk in first_pass:
        assert chunk
        decoded += chunk
        if len(decoded) > MOST_DECODED:
            return
    stream = named("gzip").open(source, first_pass.index(), Limits())
    assert stream.size == len(decoded)
    assert stream.points == sorted(set(stream.points)) and stream.points[:1] == [0]
    suspect = [*first_pass.suspect, (len(decoded), len(decoded))]
    for number, point in enumerate(stream.points):
        cursor = stream.cursor(number)
        assert cursor.position == point
        end = next(start for start, end in suspect if end > point or start == len(decoded))
        if point < end:
            assert cursor.read(end - point) == decoded[point:end]
