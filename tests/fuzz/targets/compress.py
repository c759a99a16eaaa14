""".Z, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

from collections.abc import Iterator

from tests.formats.lzw_support import lzw
from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    yield b"\x1f\x9d\x90"
    yield lzw(TEXT)
    yield lzw(lzw(TEXT))


def fuzz(data: bytes) -> None:
    check("compress", data)
