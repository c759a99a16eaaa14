"""How often each request was asked and how long its answer took.

Strategy
A table is one flat list of integers: for each opcode a histogram over powers of two of the time. Counting is one
addition in a list that one thread alone writes, so it needs no lock and no object; tables are added up when somebody
asks. Times are nanoseconds from the request's arrival to the end of its reply's ``writev``.

    table[(opcode << WIDTH_BITS) + (nanoseconds >> SCALE_BITS).bit_length()] += 1

Bucket 0 is below 1.024 µs, bucket k from 2**(k-1) to 2**k times that. Opcodes are taken modulo 64 (the largest the
kernel sends is 53), so whatever a request claims stays inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from rofuse_mount.wire import Opcode, names

Table: TypeAlias = list[int]

SCALE_BITS = 10
WIDTH_BITS = 6  # 64 buckets: no 64-bit duration is beyond them
OPCODE_MASK = 63
_OPCODES = OPCODE_MASK + 1
_WIDTH = 1 << WIDTH_BITS


def new_table() -> Table:
    return [0] * (_OPCODES * _WIDTH)


class Latency:
    """One opcode's figures."""

    __slots__ = ("count", "median_us", "p99_us")

    def __init__(self, histogram: Sequence[int]) -> None:
        self.count = sum(histogram)
        self.median_us = quantile(histogram, 0.5)  # microseconds, as exact as the buckets allow
        self.p99_us = quantile(histogram, 0.99)


def quantile(histogram: Sequence[int], fraction: float) -> float:
    """The time in microseconds below which ``fraction`` of the requests are, a bucket's requests taken as spread
    evenly over it; 0 for none."""
    wanted = sum(histogram) * fraction
    seen = 0
    for bucket, count in enumerate(histogram):
        if count and seen + count >= wanted:
            low, high = (1 << bucket >> 1), 1 << bucket
            return (low + (high - low) * (wanted - seen) / count) * (1 << SCALE_BITS) / 1000
        seen += count
    return 0.0


def summary(tables: Iterable[Table]) -> dict[str, Latency]:
    """The figures of each opcode that was asked, by its name, over all tables together."""
    known = names(Opcode)
    total = [sum(column) for column in zip(*tables, strict=True)]
    return {
        known.get(opcode, str(opcode)): Latency(total[start : start + _WIDTH])
        for opcode, start in enumerate(range(0, len(total), _WIDTH))
        if any(total[start : start + _WIDTH])
    }
