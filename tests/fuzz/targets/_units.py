"""What holds for every codec whose streams are made of units: bytes that are none of its raise nothing but a
FormatError, damage is told and not raised, and the seek index gives again what the first pass gave, but for what is
suspect.
"""

from __future__ import annotations

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.errors import DamagedError, FormatError
from tests.fuzz.targets._archives import MemorySource

MOST_DECODED = 1 << 22
MOST_POINTS = 16

_LIMITS = Limits(max_window=1 << 22)


def check(codec_name: str, data: bytes) -> None:
    source, codec = MemorySource(data), named(codec_name)
    first_pass = codec.first_pass(source, _LIMITS)
    decoded = bytearray()
    try:
        for chunk in first_pass:
            assert 0 < len(chunk) <= 4 << 20
            decoded += chunk
            if len(decoded) > MOST_DECODED:
                return
        index = first_pass.index()
    except FormatError as error:
        assert not isinstance(error, DamagedError), "damage is told, not raised"
        return
    stream = codec.open(source, index, _LIMITS)
    assert stream.size == len(decoded)
    assert stream.points == sorted(set(stream.points)) and stream.points[:1] == [0]
    suspects = sorted(first_pass.suspect)
    assert suspects == first_pass.suspect and all(start < end for start, end in suspects)
    for number, point in enumerate(stream.points[:MOST_POINTS]):
        end = min((start for start, stop in suspects if stop > point), default=len(decoded))
        if point < end:
            cursor = stream.cursor(number)
            assert cursor.position == point
            assert cursor.read(end - point) == decoded[point:end]
