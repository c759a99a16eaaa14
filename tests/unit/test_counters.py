"""Histograms of latency: counting, adding up, quantiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount import counters
from rofuse_mount.counters import OPCODE_MASK, SCALE_BITS, WIDTH_BITS
from rofuse_mount.wire import Opcode


def count(table: counters.Table, opcode: int, nanoseconds: int) -> None:
    table[((opcode & OPCODE_MASK) << WIDTH_BITS) + (nanoseconds >> SCALE_BITS).bit_length()] += 1


@given(st.integers(0, 255), st.integers(0, 2**63))
def test_any_opcode_and_any_time_has_its_place(opcode: int, nanoseconds: int) -> None:
    table = counters.new_table()
    count(table, opcode, nanoseconds)
    (latency,) = counters.summary([table]).values()
    assert latency.count == 1


def test_tables_are_added_up_by_opcode() -> None:
    first, second = counters.new_table(), counters.new_table()
    for table in first, second, second:
        count(table, Opcode.READ, 50_000)
    count(first, Opcode.LOOKUP, 1)
    figures = counters.summary([first, second])
    assert {name: latency.count for name, latency in figures.items()} == {"LOOKUP": 1, "READ": 3}
    assert counters.summary([]) == {}


def test_an_opcode_without_a_name_is_its_number() -> None:
    table = counters.new_table()
    count(table, 63, 1)
    assert list(counters.summary([table])) == ["63"]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_within_a_factor_of_two(times: list[int], fraction: float) -> None:
    histogram = [0] * (1 << WIDTH_BITS)
    for nanoseconds in times:
        histogram[(nanoseconds >> SCALE_BITS).bit_length()] += 1
    exact = sorted(times)[max(0, -int(-len(times) * fraction // 1) - 1)] / 1000
    estimate = counters.quantile(histogram, fraction)
    assert exact / 2 - 1.024 <= estimate <= exact * 2 + 1.024


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_nothing_counted_is_zero(fraction: float) -> None:
    assert counters.quantile([0] * 64, fraction) == 0
