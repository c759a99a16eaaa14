"""lzip, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

from collections.abc import Iterator

from tests.formats.lzip_support import member
from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    yield member(TEXT)
    yield member(TEXT[:300]) + member(b"") + member(TEXT[300:]) + member(TEXT)
    yield member(TEXT[:300]) + member(TEXT[300:]) + b"garbage"


def fuzz(data: bytes) -> None:
    check("lzip", data)
