"""What the streams of this folder hold: beginnings of one long text, made anew wherever it is wanted.

Rules
- The same bytes on every machine, for ever: they are the expectation of every stream here.
- The first 128 KiB have no four equal bytes in a row, so that bzip2's blocks are full where they should be.
- Up to 160 KiB it is prose, records, noise and zeros; from there on ever the same with little in between, so that
  large streams are small files.
"""

from __future__ import annotations

import random
from functools import cache

from testdata.workshop import KIB, prose

RICH = 160 * KIB
WITHOUT_RUNS = 128 * KIB
LONG = 9 * KIB * KIB + 12_345
"""The longest beginning: more than two blocks of every format."""


def content(size: int) -> bytes:
    """The first ``size`` bytes, up to LONG."""
    if not 0 <= size <= LONG:
        raise ValueError(f"no such beginning: {size}")
    return _whole()[:size]


@cache
def _whole() -> bytes:
    choose = random.Random(31)
    whole = bytearray()
    while len(whole) < WITHOUT_RUNS:
        whole += choose.choice((_sentences, _records))(choose)
    while len(whole) < RICH:
        whole += choose.choice((_sentences, _records, _noise, _zeros))(choose)
    while len(whole) < LONG:
        whole += _sentences(choose)[:700] + _repeats(choose)
    return bytes(whole[:LONG])


def _sentences(choose: random.Random) -> bytes:
    return prose(choose.getrandbits(32), choose.randrange(500, 2_500))


def _records(choose: random.Random) -> bytes:
    """Lines of a table, of which little but the number changes."""
    start, weight = choose.randrange(10**6), choose.randrange(100, 999)
    return b"".join(b"%06d;pear;%d g;orchard %d\n" % (start + n, weight, n % 7) for n in range(40))


def _noise(choose: random.Random) -> bytes:
    return choose.randbytes(choose.randrange(1, 1_500))


def _zeros(choose: random.Random) -> bytes:
    return bytes(choose.randrange(1, 6_000))


def _repeats(choose: random.Random) -> bytes:
    pattern = choose.randbytes(choose.randrange(2, 300))
    return pattern * (choose.randrange(40_000, 90_000) // len(pattern))
