"""LZ4: whatever the bytes, intact data and then perhaps damage, and a seek index that gives all of it again that is not
suspect.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.formats.lz4_support import frame, legacy, skippable
from tests.fuzz.targets._streams import decode_and_read

MAX_LEN = 1 << 14


def seeds() -> Iterator[bytes]:
    text = bytes(range(256)) * 300 + bytes(300_000)
    yield frame(b"")
    yield frame(text, content_checksum=True, content_size=True)
    yield frame(text, block_checksum=True)
    yield frame(text, linked=True, block_checksum=True) + skippable(20) + frame(b"more")
    yield legacy(text, b"more") + frame(text)


def fuzz(data: bytes) -> None:
    decode_and_read("lz4", data)
