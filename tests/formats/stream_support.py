"""What the conformance tests of streams share: the files of ``testdata/streams``, and laws that hold for any codec."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rofuse_formats.codecs import Codec, FirstPass, SeekableStream, codecs
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.programs import Program
from testdata.streams.content import content
from testdata.streams.expected import FOLDER, Expectation, read_expected
from testdata.streams.makers import MAKERS, Maker
from tests.formats.sources import BytesSource

Range = tuple[int, int]

TESTDATA = FOLDER.parent
MOST = 64 * MIB
"""More than any damage to a file here can make of it; what goes on beyond goes on for ever."""


class Stream(NamedTuple):
    """One file of ``testdata/streams``."""

    path: Path
    maker: Maker
    shape: str
    """As ``Maker.size`` has it; or the name of an archive of ``testdata``."""
    expected: Expectation

    @property
    def codec(self) -> Codec | None:
        """Whose suffix it has; None where there is no such codec here."""
        suffix = self.path.suffix.encode()
        return next((codec for codec in codecs().values() if suffix in codec.suffixes), None)

    @property
    def is_archive(self) -> bool:
        return self.shape.endswith(".tar")

    def content(self) -> bytes:
        return (TESTDATA / self.shape).read_bytes() if self.is_archive else content(self.expected.size)


@cache
def streams() -> list[Stream]:
    """All that ``EXPECTED`` lists, in its order."""
    found = []
    for name, expected in read_expected().items():
        maker, _, shape = name.partition(".")
        found.append(Stream(FOLDER / name, MAKERS[maker], shape.rpartition(".")[0], expected))
    return found


def by_program(codec: Codec) -> Program | None:
    """The program of the system that decodes it, if one does."""
    found: Program | None = getattr(codec, "program", None)
    return found


def is_usable(codec: Codec) -> bool:
    program = by_program(codec)
    return program is None or program.find() is not None


class Decoded(NamedTuple):
    """What a first pass came to."""

    data: bytes
    first_pass: FirstPass
    seeks: bytes
    """The seek index."""
    unseekable: list[Range]
    """Decoded ranges that no cursor is for."""

    def intact(self, also_seekable: bool = False) -> Iterator[Range]:
        """The ranges that can be given out; or those that can be read with cursors, too."""
        at = 0
        left_out = [*self.first_pass.suspect, *(self.unseekable if also_seekable else [])]
        for start, end in sorted(left_out):
            if start > at:
                yield at, start
            at = max(at, end)
        if at < len(self.data):
            yield at, len(self.data)


def decode(codec: Codec, compressed: bytes) -> Decoded:
    """A first pass over ``compressed``, with what its contract says of any. Raises what it raises."""
    first_pass = codec.first_pass(BytesSource(compressed), Limits())
    chunks: list[bytes] = []
    unseekable: list[Range] = []
    size = 0
    for chunk in first_pass:
        assert chunk, "an empty chunk"
        chunks.append(chunk)
        if first_pass.unseekable:
            unseekable.append((size, size + len(chunk)))
        size += len(chunk)
        assert size < MOST, "no end of it"
    last = 0
    for start, end in first_pass.suspect:
        assert last <= start < end <= size, f"ranges in disorder: {first_pass.suspect}"
        last = end + 1
    assert bool(first_pass.damages) >= bool(first_pass.suspect), "suspect without a damage"
    return Decoded(b"".join(chunks), first_pass, first_pass.index(), unseekable)


def opened(codec: Codec, compressed: bytes, decoded: Decoded) -> SeekableStream:
    """The stream that the index opens, with what its contract says of any."""
    stream = codec.open(BytesSource(compressed), memoryview(decoded.seeks), Limits())
    assert stream.size == len(decoded.data)
    assert stream.points == sorted(set(stream.points))
    assert stream.points[0] == 0
    assert stream.points[-1] < max(stream.size, 1)
    return stream


def check_cursors(stream: SeekableStream, decoded: Decoded, offsets: Iterable[int] = ()) -> None:
    """Each intact range, whole and from ``offsets`` in it, reads as the first pass had it."""
    for start, end in decoded.intact(also_seekable=True):
        check_read(stream, decoded.data, start, end)
        for offset in offsets:
            if start <= offset < end:
                check_read(stream, decoded.data, offset, min(end, offset + 5_000))


def check_read(stream: SeekableStream, data: bytes, start: int, end: int) -> None:
    cursor = stream.cursor(bisect_right(stream.points, start) - 1)
    cursor.skip(start - cursor.position)
    assert cursor.position == start
    assert cursor.read(end - start) == data[start:end], f"other bytes between {start} and {end}"
    assert cursor.position == end


def around(points: Iterable[int], size: int, seed: int, count: int = 30) -> list[int]:
    """Offsets to read at: random ones, those at and beside points, both ends."""
    chosen = random.Random(seed)
    found = {chosen.randrange(size) for _ in range(count)} if size else set()
    near = {point + step for point in (*points, size) for step in (-1, 0, 1)}
    return sorted(found | {0} | {offset for offset in near if 0 <= offset < size})


def check_intact(decoded: Decoded, expected: bytes) -> None:
    """What is not suspect is right, and where it should be."""
    for start, end in decoded.intact():
        assert end <= len(expected), f"{end - len(expected)} bytes too many"
        assert decoded.data[start:end] == expected[start:end], f"wrong bytes between {start} and {end}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
