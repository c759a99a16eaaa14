"""Brotli, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

from collections.abc import Iterator

import brotli

from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    for quality in (0, 5, 11):
        yield brotli.compress(TEXT, quality=quality)


def fuzz(data: bytes) -> None:
    check("brotli", data)
