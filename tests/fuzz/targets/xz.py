"""xz, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

import lzma
from collections.abc import Iterator

from tests.formats.xz_support import CHECKS, of_parts
from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    yield lzma.compress(TEXT, preset=0)
    small = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 16}
    parts = [TEXT[:400], b"", TEXT[400:500], TEXT[500:]]
    for kind in CHECKS:
        blocks = of_parts(parts, kind, filters=[small])
        yield blocks
        yield lzma.compress(TEXT[:50], check=kind, preset=0) + bytes(8) + blocks
    yield lzma.compress(TEXT, filters=[{"id": lzma.FILTER_DELTA, "dist": 3}, small])


def fuzz(data: bytes) -> None:
    check("xz", data)
