"""Data and helpers for the tests of deflate and of the gzip codec."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
import zlib
from bisect import bisect_right
from collections.abc import Iterable

import pytest

from rofuse_formats.codecs.gzip import CODEC
from rofuse_formats.codecs.gzip.cursor import Stream
from rofuse_formats.codecs.gzip.first_pass import FirstPass
from rofuse_formats.deflate import inflate
from rofuse_formats.limits import Limits
from tests.formats.zstd_support import KIB, MIB, BytesSource

EMPTY_BLOCK = bytes.fromhex(
    "1f8b08040000000000ff0600424302001b0003000000000000000000"
)  # bgzip's mark of the end

LIBRARIES = {"zlib": inflate.ZLIB, "fastest": inflate.fastest()}


def tool(name: str, data: bytes, *options: str) -> bytes:
    """``data`` compressed by a command, from a pipe."""
    if not shutil.which(name):  # one of several makers of gzip, not each of which every system has
        pytest.skip(f"{name} is not installed")
    return subprocess.run([name, *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def deflated(data: bytes, level: int = 6, memory: int = 8, strategy: int = 0) -> bytes:
    """``data`` as a raw stream. The less memory, the smaller its blocks."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    return encoder.compress(data) + encoder.flush()


def trailer(data: bytes) -> bytes:
    return struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def small_blocks(data: bytes, level: int = 6) -> bytes:
    """A member of many deflate blocks."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated(data, level, 1) + trailer(data)


def block(data: bytes) -> bytes:
    """A member as bgzip makes them."""
    stream = deflated(data)
    size = struct.pack("<H", len(stream) + 25)
    return b"\x1f\x8b\x08\4\0\0\0\0\0\xff\6\0BC\2\0" + size + stream + trailer(data)


def blocks(data: bytes, size: int = 65280) -> bytes:
    """As bgzip does it."""
    return b"".join(block(data[at : at + size]) for at in range(0, len(data), size)) + EMPTY_BLOCK


def members(data: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(data[at : at + size], 6, mtime=0) for at in range(0, len(data), size))


def decoded(data: bytes, spacing: int = 128 * KIB, free_spacing: int = 1) -> tuple[bytes, FirstPass]:
    """What the first pass yields, and the pass; seek points are near to each other."""
    first_pass = FirstPass(BytesSource(data), spacing=spacing, free_spacing=free_spacing)
    chunks = list(first_pass)
    assert all(chunks)
    assert all(len(chunk) <= 4 * MIB for chunk in chunks)
    return b"".join(chunks), first_pass


def opened(data: bytes, first_pass: FirstPass) -> Stream:
    return CODEC.open(BytesSource(data), first_pass.index(), Limits())


def close_points(data: bytes, spacing: int = 128 * KIB) -> tuple[bytes, Stream]:
    output, first_pass = decoded(data, spacing)
    assert not first_pass.damages
    assert not first_pass.suspect
    return output, opened(data, first_pass)


def read_at(stream: Stream, offset: int, size: int) -> bytes:
    cursor = stream.cursor(bisect_right(stream.points, offset) - 1)
    cursor.skip(offset - cursor.position)
    assert cursor.position == offset
    data = cursor.read(size)
    assert cursor.position == offset + len(data)
    return data


def check_reads(stream: Stream, expected: bytes, offsets: Iterable[int], size: int = 5000) -> None:
    assert stream.size == len(expected)
    for offset in offsets:
        assert read_at(stream, offset, size) == expected[offset : offset + size], offset


def check_all_points(stream: Stream, expected: bytes) -> None:
    """From each point to beyond the next but one, and to the end from the last."""
    for number, start in enumerate(stream.points):
        end = ([*stream.points, len(expected), len(expected)])[number + 2]
        assert stream.cursor(number).read(end - start) == expected[start:end], number


def trusted(size: int, suspect: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges that are not suspect."""
    edges = [0, *(edge for pair in suspect for edge in pair), size]
    assert edges == sorted(edges)
    return [pair for pair in zip(edges[::2], edges[1::2], strict=True) if pair[0] < pair[1]]


def check_trusted(data: bytes, output: bytes, first_pass: FirstPass, expected: bytes) -> None:
    """What is not suspect is right, and reads the same through the index."""
    stream = opened(data, first_pass)
    assert stream.size == len(output)
    for start, end in trusted(len(output), first_pass.suspect):
        assert output[start:end] == expected[start:end]
        assert start == 0 or start in stream.points
        assert read_at(stream, start, end - start) == output[start:end]
