"""bzip2: whatever the bytes, intact blocks and then perhaps damage, and a seek index that gives them again."""

from __future__ import annotations

import bz2
from collections.abc import Iterator

from tests.fuzz.targets._streams import decode_and_read

MAX_LEN = 1 << 14


def seeds() -> Iterator[bytes]:
    one, two = bz2.compress(b"one " * 200), bz2.compress(bytes(range(256)) * 20)
    yield bz2.compress(b"")
    yield one
    yield one + bz2.compress(b"") + two + bytes(10)
    yield bz2.compress(bytes(250_000) + bytes(range(256)) * 100, 1)


def fuzz(data: bytes) -> None:
    decode_and_read("bzip2", data)
