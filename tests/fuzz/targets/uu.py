"""uuencode, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

from collections.abc import Iterator

from tests.formats.test_uu import encoded, encoded64
from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    yield encoded(TEXT)
    yield encoded64(TEXT)
    yield (
        b"Subject: one\r\n\r\n" + encoded(TEXT[:100]).replace(b"\n", b"\r\n").replace(b"`", b" ") + b"garbage"
    )


def fuzz(data: bytes) -> None:
    check("uu", data)
