"""zstd, the first pass: whatever the bytes, intact data and then perhaps damage, or a FormatError; and the seek index
it makes gives every byte of it again, from every seek point, but for what failed its check. So do many points near
to each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.codecs.zstd.first_pass import FirstPass
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.patches import Zeros, patched
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 14
MOST_DECODED = 1 << 22

_LIMITS = Limits(max_window=1 << 20)


def seeds() -> Iterator[bytes]:
    for path in paths(".zst", MAX_LEN):
        yield path.read_bytes()


def fuzz(data: bytes) -> None:
    source = MemorySource(data)
    _check(source, FirstPass(source, _LIMITS))
    _check(source, FirstPass(source, _LIMITS, spacing=1 << 11, free_spacing=1, windows_apart=1))


def _check(source: MemorySource, first_pass: FirstPass) -> None:
    decoded = bytearray()
    try:
        for chunk in first_pass:
            assert chunk
            decoded += chunk
            if len(decoded) > MOST_DECODED:
                return
        index = first_pass.index()
    except FormatError as error:
        assert not isinstance(error, DamagedError), "damage is told, not raised"
        return
    stream = named("zstd").open(source, index, _LIMITS)
    assert stream.size == len(decoded)
    assert stream.points == sorted(set(stream.points)) and stream.points[:1] == [0]
    for start, end in first_pass.suspect:
        assert 0 <= start < end <= len(decoded)
        decoded[start:end] = bytes(end - start)
    stream = patched(stream, [Zeros(start, end) for start, end in first_pass.suspect])
    for number, point in enumerate(stream.points):
        cursor = stream.cursor(number)
        assert cursor.position == point
        assert cursor.read(len(decoded) - point) == decoded[point:]
