"""Columns of numbers out of rows of bytes, and what is done to all numbers of a column, by what Python does in C.

Every n-th byte of rows of n bytes is a *lane*: a byte of all rows. Slices with a step take them out and put them
together in a nanosecond a byte, where a number that is unpacked costs a hundred.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import reduce
from operator import or_

_IS_ZERO = b"\1" + bytes(255)
_LOW = 0 if sys.byteorder == "little" else 1  # of the halves of a number


def column(code: str, rows: bytes, size: int, places: Sequence[int]) -> array[int]:
    """Of rows of ``size`` bytes those at these places, the lowest first, as numbers of a type that may be wider."""
    found = array(code)
    width = found.itemsize
    lanes = bytearray(len(rows) // size * width)
    for lane, place in enumerate(places):
        lanes[lane::width] = rows[place::size]
    found.frombytes(lanes)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def common(rows: bytes, size: int, places: Sequence[int]) -> bytes | None:
    """Of rows of ``size`` bytes, one at least, those at these places where they are the same in all; else None."""
    lanes = [rows[place::size] for place in places]
    alike = all(lane.count(lane[0]) == len(lane) for lane in lanes)
    return bytes(lane[0] for lane in lanes) if alike else None


def looked_up(code: str, values: Sequence[int], numbers: bytes) -> array[int]:
    """The value that has each number, of 256 at most."""
    found = array(code)
    width = found.itemsize
    lanes = bytearray(len(numbers) * width)
    for lane in range(width):
        table = bytes(value >> 8 * lane & 0xFF for value in values)
        lanes[lane::width] = numbers.translate(table.ljust(256, b"\0"))
    found.frombytes(lanes)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def zeros(values: array[int]) -> bytes:
    """1 for each that is 0, and 0 for all others."""
    lanes, width = values.tobytes(), values.itemsize
    together = reduce(or_, (int.from_bytes(lanes[lane::width], "little") for lane in range(width)))
    return together.to_bytes(len(values), "little").translate(_IS_ZERO)


def sums(columns: Sequence[array[int]]) -> array[int]:
    """Of columns of one type row by row, which that type must hold."""
    order = sys.byteorder
    together = sum(int.from_bytes(column.tobytes(), order) for column in columns)
    found = array(columns[0].typecode)
    found.frombytes(together.to_bytes(len(columns[0]) * found.itemsize, order))
    return found


def top_bytes(values: array[int]) -> bytes:
    """The uppermost byte of each."""
    width = values.itemsize
    return values.tobytes()[width - 1 if sys.byteorder == "little" else 0 :: width]


def shifted(values: array[int], bits: int, mask: int) -> array[int]:
    """All values shifted to the left, and of that the bits in ``mask``, which has none that come from outside."""
    order = sys.byteorder
    together = int.from_bytes(values.tobytes(), order) << bits
    masks = array(values.typecode, (mask,)) * len(values)
    found = array(values.typecode)
    found.frombytes(
        (together & int.from_bytes(masks.tobytes(), order)).to_bytes(len(values) * found.itemsize, order)
    )
    return found


def low_halves(code: str, values: array[int]) -> array[int]:
    """The lower halves of numbers that are twice as wide as ``code``."""
    return array(code, values.tobytes())[_LOW::2]


def widened(code: str, low: array[int], high: int) -> array[int]:
    """Numbers that are twice as wide as those in ``low``, their upper halves all ``high``."""
    halves = array(low.typecode, bytes(2 * len(low) * low.itemsize))
    halves[_LOW::2], halves[1 - _LOW :: 2] = low, array(low.typecode, (high,)) * len(low)
    return array(code, halves.tobytes())
