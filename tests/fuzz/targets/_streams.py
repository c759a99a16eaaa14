"""What must hold of any codec, whatever the bytes."""

from __future__ import annotations

from rofuse_formats import Limits
from rofuse_formats.codecs import named
from rofuse_formats.errors import DamagedError, FormatError
from tests.fuzz.targets._archives import MemorySource

MOST_DECODED = 1 << 22

_LIMITS = Limits(max_window=1 << 20)


def decode_and_read(name: str, data: bytes) -> None:
    """The first pass yields bytes and then perhaps damage, or raises a FormatError that is no damage; the seek index it
    makes gives every byte again that is not suspect, from every seek point."""
    source, codec = MemorySource(data), named(name)
    first_pass = codec.first_pass(source, _LIMITS)
    decoded = bytearray()
    try:
        for chunk in first_pass:
            assert chunk
            decoded += chunk
            if len(decoded) > MOST_DECODED:
                return
    except FormatError as error:
        assert not isinstance(error, DamagedError), "damage is told, not raised"
        return
    suspect = first_pass.suspect
    assert suspect == sorted(suspect) and all(start < end <= len(decoded) for start, end in suspect)
    stream = codec.open(source, first_pass.index(), _LIMITS)
    assert stream.size == len(decoded)
    assert stream.points == sorted(set(stream.points)) and stream.points[:1] == [0]
    assert all(end in stream.points for _start, end in suspect if end < len(decoded))
    for number, point in enumerate(stream.points):
        end = min((max(point, start) for start, end in suspect if end > point), default=len(decoded))
        cursor = stream.cursor(number)
        assert cursor.position == point
        assert cursor.read(end - point) == decoded[point:end]
