"""lzop, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

from collections.abc import Iterator

from tests.formats.lzop_support import ADLER, CRC, file
from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    yield file(TEXT)
    yield (
        file(TEXT[:300], TEXT[300:], flags=CRC)
        + file(flags=ADLER)
        + file(TEXT, flags=0, name=b"name", extra=b"more")
    )
    yield file(TEXT[:300], TEXT[300:], version=0x0900) + b"garbage"


def fuzz(data: bytes) -> None:
    check("lzop", data)
