"""Data and helpers for the tests of the zstd codec."""

from __future__ import annotations

import random
import subprocess
from bisect import bisect_right
from collections.abc import Iterable

from rofuse_formats.codecs.zstd import CODEC
from rofuse_formats.codecs.zstd.cursor import Stream
from rofuse_formats.codecs.zstd.first_pass import FirstPass
from rofuse_formats.limits import Limits
from rofuse_formats.patches import Zeros, patched
from tests.formats.sources import BytesSource as BytesSource

KIB = 1 << 10
MIB = 1 << 20


def zstd(data: bytes, *options: str, tool: str = "zstd") -> bytes:
    """``data`` compressed by the command, from a pipe."""
    return subprocess.run([tool, "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def decoded(data: bytes, **spacings: int) -> tuple[bytes, FirstPass]:
    """What the first pass yields, and the pass."""
    first_pass = FirstPass(BytesSource(data), Limits(), **spacings)
    chunks = list(first_pass)
    assert all(chunks)
    assert all(len(chunk) <= 4 * MIB for chunk in chunks)
    return b"".join(chunks), first_pass


def close_points(data: bytes, spacing: int = 128 * KIB) -> tuple[bytes, Stream]:
    """The decoded bytes and the stream, with seek points so near to each other that small data has many."""
    output, first_pass = decoded(data, spacing=spacing, free_spacing=1, windows_apart=1)
    return output, CODEC.open(BytesSource(data), first_pass.index(), Limits())


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


def check_law(compressed: bytes, **spacings: int) -> tuple[bytes, FirstPass]:
    """What is intact comes from every point, through every suspect range, in reads of any size."""
    output, passed = decoded(compressed, **spacings)
    suspect = passed.suspect
    assert suspect == sorted(suspect)
    assert all(start < end <= len(output) for start, end in suspect)
    stream = CODEC.open(BytesSource(compressed), passed.index(), Limits())
    assert stream.size == len(output)
    for number, point in enumerate(stream.points):
        end = min((max(point, start) for start, end in suspect if end > point), default=len(output))
        assert stream.cursor(number).read(end - point) == output[point:end]
    told = bytearray(output)
    for start, end in suspect:
        told[start:end] = bytes(end - start)
    sound = patched(stream, [Zeros(*part) for part in suspect])
    for step in (1, 2, 7):
        cursor = sound.cursor(0)
        for at in range(0, min(len(told), 30), step):
            assert cursor.read(step) == told[at : at + step]
    for at in {*range(min(len(told), 12)), *range(max(0, len(told) - 6), len(told))}:
        cursor = sound.cursor(0)
        cursor.skip(at)
        assert cursor.read(1 << 30) == told[at:]
    return output, passed


def text(size: int, seed: int = 1) -> bytes:
    """Words in lines: many matches near and far, long literals runs now and then."""
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 12))) for _ in range(3000)]
    parts: list[bytes] = []
    length = 0
    while length < size:
        if rng.random() < 0.02:
            part = rng.randbytes(rng.randint(1, 3000))
        else:
            part = b" ".join(rng.choices(words, k=rng.randint(1, 40))) + b"\n"
        parts.append(part)
        length += len(part)
    return b"".join(parts)[:size]


def records(size: int, seed: int = 2) -> bytes:
    """Fixed-size records with few changes: long matches at a repeated offset."""
    rng = random.Random(seed)
    record = bytearray(rng.randbytes(96))
    parts = []
    for number in range(size // 96 + 1):
        record[8:16] = number.to_bytes(8, "big")
        record[rng.randrange(96)] = rng.randrange(256)
        parts.append(bytes(record))
    return b"".join(parts)[:size]


def mixed(size: int, seed: int = 3) -> bytes:
    """Zeros, noise, text and repetitions in turn: raw, RLE and compressed blocks beside each other."""
    rng = random.Random(seed)
    prose = text(300 * KIB, seed)
    parts: list[bytes] = []
    length = 0
    while length < size:
        run = rng.choice((100, 5_000, 140_000, 400_000))
        start = rng.randrange(len(prose))
        part = rng.choice(
            (bytes(run), rng.randbytes(run), prose[start : start + run], prose[:64] * (run // 64))
        )
        parts.append(part)
        length += len(part)
    return b"".join(parts)[:size]


SHAPES = {"text": text, "records": records, "mixed": mixed}
