"""Columns of numbers: what is done to all at once is what would be done to each."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats import lanes
from rofuse_formats.image.runs import Runs

SIZE = 7
rows = st.lists(st.binary(min_size=SIZE, max_size=SIZE), min_size=1, max_size=40)
numbers = st.lists(st.integers(0, (1 << 32) - 1) | st.just(0), min_size=1, max_size=40)


@given(rows)
def test_a_column_is_a_field_of_each_row(rows: list[bytes]) -> None:
    together = b"".join(rows)
    fields = [int.from_bytes(row[2:6], "little") for row in rows]
    assert lanes.column("I", together, SIZE, range(2, 6)).tolist() == fields
    assert lanes.column("Q", together, SIZE, range(2, 6)).tolist() == fields
    assert lanes.column("H", together, SIZE, (6, 0)).tolist() == [row[6] | row[0] << 8 for row in rows]


@given(
    rows | st.builds(lambda row, count: [row] * count, st.binary(min_size=7, max_size=7), st.integers(1, 9))
)
def test_what_is_common_is_the_same_in_all_rows(rows: list[bytes]) -> None:
    found = {row[1:4] for row in rows}
    expected = found.pop() if len(found) == 1 else None
    assert lanes.common(b"".join(rows), SIZE, range(1, 4)) == expected


@given(numbers)
def test_what_is_done_to_all_numbers_is_done_to_each(values: list[int]) -> None:
    column = array("I", values)
    assert list(lanes.zeros(column)) == [value == 0 for value in values]
    assert list(lanes.top_bytes(column)) == [value >> 24 for value in values]
    assert lanes.shifted(column, 2, 0xFFFC).tolist() == [value << 2 & 0xFFFC for value in values]
    assert lanes.low_halves("H", column).tolist() == [value & 0xFFFF for value in values]
    assert lanes.widened("Q", column, 5).tolist() == [5 << 32 | value for value in values]
    half = array("I", (value >> 1 for value in values))
    assert lanes.sums((half, half)).tolist() == [value >> 1 << 1 for value in values]


@given(st.lists(st.integers(0, 255)), st.lists(st.integers(0, 0xFFFF), min_size=256, max_size=256))
def test_numbers_are_looked_up(of_rows: list[int], values: list[int]) -> None:
    assert lanes.looked_up("H", values, bytes(of_rows)).tolist() == [values[number] for number in of_rows]


stretches = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 1500)), max_size=6)


@given(stretches)
def test_runs_are_the_rows_that_they_were_made_of(stretches: list[tuple[int, int]]) -> None:
    rows = array("I", (row for start, count in stretches for row in range(start, start + count)))
    runs = Runs.of(rows)
    assert list(runs) == rows.tolist()
    values = array("Q", range(100, 7000))
    assert runs.gathered(values).tolist() == [100 + row for row in rows]
