""".lzma, the first pass and what its index gives: as ``_units`` says."""

from __future__ import annotations

import lzma
from collections.abc import Iterator

from tests.fuzz.targets._units import check

MAX_LEN = 1 << 13
TEXT = b"".join(b"line %d of a text\n" % (number * number) for number in range(60))


def seeds() -> Iterator[bytes]:
    whole = lzma.compress(TEXT, format=lzma.FORMAT_ALONE, preset=0)
    yield whole
    yield whole[:5] + len(TEXT).to_bytes(8, "little") + whole[13:]


def fuzz(data: bytes) -> None:
    check("lzma", data)
