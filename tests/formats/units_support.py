"""Helpers for the tests of codecs whose streams are made of units."""

from __future__ import annotations

import random
import subprocess
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import pytest

from rofuse_formats.codecs import Cursor, FirstPass, SeekableStream, named
from rofuse_formats.errors import FormatError
from rofuse_formats.limits import Limits
from tests.formats.zstd_support import BytesSource

KIB = 1 << 10
MIB = 1 << 20


def run(data: bytes, *command: str) -> bytes:
    """What a tool makes of ``data``."""
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


class Decoded:
    """A source after its first pass, and the stream that its index opens."""

    def __init__(self, codec: str, source: bytes, limits: Limits | None = None) -> None:
        self.codec, self.source, self.limits = named(codec), BytesSource(source), limits or Limits()
        self.passed: FirstPass = self.codec.first_pass(self.source, self.limits)
        chunks, self.unseekable = [], []
        start = 0
        for chunk in self.passed:
            assert 0 < len(chunk) <= 4 * MIB
            chunks.append(chunk)
            if self.passed.unseekable:
                self.unseekable.append((start, start + len(chunk)))
            start += len(chunk)
        self.data = b"".join(chunks)
        self.index = self.passed.index()

    @property
    def damages(self) -> list[str]:
        return [str(damage) for damage in self.passed.damages]

    def stream(self) -> SeekableStream:
        stream = self.codec.open(self.source, self.index, self.limits)
        assert stream.size == len(self.data)
        assert stream.points[0] == 0 and stream.points == sorted(set(stream.points))
        return stream


def clean(codec: str, source: bytes, expected: bytes) -> Decoded:
    """Decodes what must be without damage."""
    decoded = Decoded(codec, source)
    assert not decoded.damages and not decoded.passed.suspect and not decoded.passed.warnings
    assert decoded.data == expected
    assert decoded.passed.consumed == len(source)
    return decoded


def cursor_at(stream: SeekableStream, offset: int) -> Cursor:
    cursor = stream.cursor(bisect_right(stream.points, offset) - 1)
    cursor.skip(offset - cursor.position)
    assert cursor.position == offset
    return cursor


def read_at(stream: SeekableStream, offset: int, size: int) -> bytes:
    cursor = cursor_at(stream, offset)
    data = cursor.read(size)
    assert cursor.position == offset + len(data)
    return data


def check_reads(decoded: Decoded, count: int = 20, size: int = 5000) -> None:
    """Random reads, one to the end from each of some points, one across the end."""
    stream, data = decoded.stream(), decoded.data
    rng = random.Random(1)
    for _ in range(count):
        offset = rng.randrange(len(data) + 1)
        assert read_at(stream, offset, size) == data[offset : offset + size], offset
    for number in rng.sample(range(len(stream.points)), min(5, len(stream.points))):
        assert stream.cursor(number).read(1 << 40) == data[stream.points[number] :], number
    assert read_at(stream, len(data), 10) == b""


def sound_ranges(decoded: Decoded) -> Iterator[tuple[int, int]]:
    """What lies between the suspect ranges."""
    start = 0
    for suspect_start, suspect_end in decoded.passed.suspect:
        assert start <= suspect_start < suspect_end <= len(decoded.data)
        if start < suspect_start:
            yield start, suspect_start
        start = suspect_end
    if start < len(decoded.data):
        yield start, len(decoded.data)


def check_damaged(decoded: Decoded, original: bytes | None) -> None:
    """Whatever is not suspect equals the original (where it has a check), and random access gives the same; behind
    every suspect range is a point."""
    stream = decoded.stream()
    for _start, end in decoded.passed.suspect:
        assert end in stream.points or end == len(decoded.data)
    for start, end in sound_ranges(decoded):
        if original is not None:
            assert decoded.data[start:end] == original[start:end]
        for offset in {start, (start + end) // 2, max(start, end - 100)}:
            size = min(1000, end - offset)
            assert read_at(stream, offset, size) == decoded.data[offset : offset + size]


def cuts(size: int, count: int = 20) -> list[int]:
    """Places to cut a source at: everywhere near its ends, and some between."""
    inside = random.Random(3).sample(range(size), min(size, count))
    return sorted({*range(1, min(size, 40)), *range(max(1, size - 60), size), *inside})


def check_truncation(codec: str, source: bytes, original: bytes, places: Iterable[int]) -> None:
    """Cut anywhere: all that comes is right and not suspect; longer sources give no less."""
    least = 0
    for cut in places:
        decoded = Decoded(codec, source[:cut])
        assert original.startswith(decoded.data)
        assert not decoded.passed.suspect
        assert len(decoded.data) >= least
        least = len(decoded.data)
        for damage in decoded.passed.damages:
            assert damage.offset is not None and 0 <= damage.offset <= cut
            assert str(damage.offset) in str(damage)
        check_damaged(decoded, original)
    assert least > 0.9 * len(original)


def flipped(source: bytes, rng: random.Random) -> bytes:
    broken = bytearray(source)
    broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def check_flips(codec: str, source: bytes, original: bytes, count: int, checked: bool = True) -> int:
    """Any bit flipped: never wrong bytes outside the suspect ranges. Returns how many were refused outright."""
    rng = random.Random(11)
    refused = 0
    for _ in range(count):
        try:
            decoded = Decoded(codec, flipped(source, rng))
        except FormatError:
            refused += 1
            continue
        if checked:
            assert decoded.damages or decoded.passed.warnings or decoded.data == original
        check_damaged(decoded, original if checked else None)
    return refused


needs = {
    tool: pytest.mark.skipif(
        subprocess.run(["which", tool], capture_output=True, check=False).returncode != 0,
        reason=f"{tool} is not installed",
    )
    for tool in ("xz", "pixz", "lzip", "plzip", "compress", "brotli", "bsdtar")
}
