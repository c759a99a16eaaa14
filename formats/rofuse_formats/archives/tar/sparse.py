"""Sparse files: where a map of the data runs is kept, in four spellings, and what it must be to be believed.

- old GNU: four runs in the header, 21 more in each extension block that follows it
- pax 0.0: repeated records GNU.sparse.offset and GNU.sparse.numbytes
- pax 0.1: one record GNU.sparse.map, numbers separated by commas
- pax 1.0: at the beginning of the member's data, decimal lines: the count, then offset and length of each run

A map is a list of (offset in the file, length). The runs' bytes lie one after another in the member's data.
"""

from __future__ import annotations

from collections.abc import Mapping

from rofuse_formats.archives.tar.header import BLOCK, GNU, MAGIC_AT, SIZE_LIMIT, number, padded
from rofuse_formats.archives.tar.pax import Records, decimal
from rofuse_formats.archives.tar.window import Window
from rofuse_formats.entry import Extent

MAX_RUNS = 1 << 20
"""Runs of one file that are accepted; what they cost in memory is bounded by this."""

Map = list[tuple[int, int]]

_ENTRY = 24
_NUMBER_AND_NEWLINE = 21


def extensions(header: bytes, window: Window, position: int) -> tuple[list[bytes], int]:
    """``(tables, position of the data)`` of a member of type S whose extension blocks, if any, begin at
    ``position``. Raises Cut. Tables beyond what MAX_RUNS allows are passed over, and not kept."""
    tables = [header[386:482]]
    extended = header[482]
    while extended:
        block = window.take(position, BLOCK)
        position += BLOCK
        if len(tables) <= MAX_RUNS // 21 + 1:
            tables.append(block[:504])
        extended = block[504]
    return tables, position


def old_gnu(header: bytes, tables: list[bytes]) -> tuple[Map, int]:
    """``(map, real size)`` of a member of type S. Raises ValueError."""
    if not header.startswith(GNU, MAGIC_AT):
        raise ValueError("is a sparse file in an unknown form")
    runs: Map = []
    for table in tables:
        for at in range(0, len(table), _ENTRY):
            length = _checked(number(table[at + 12 : at + _ENTRY]))
            if length:
                runs.append((_checked(number(table[at : at + 12])), length))
    if len(runs) > MAX_RUNS:
        raise ValueError("has a map of too many runs")
    return runs, _checked(number(header[483:495]))


def in_records(records: Mapping[bytes, bytes], pairs: Records) -> Map:
    """The map of versions 0.0 and 0.1. Raises ValueError."""
    numbers: list[bytes] = []
    if b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        numbers = text.split(b",", 2 * MAX_RUNS) if text else []
    else:
        numbers = [value for key, value in pairs if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    return _paired(numbers)


def in_data(window: Window, position: int, stored: int) -> tuple[Map, int]:
    """``(map, position of the first run's bytes)`` of version 1.0. Raises ValueError, Cut."""
    text = window.take(position, min(stored, BLOCK))
    lines = 1 + 2 * decimal(text.partition(b"\n")[0], MAX_RUNS + 1)
    longest = min(stored, padded(lines * _NUMBER_AND_NEWLINE))
    while text.count(b"\n") < lines:
        if len(text) >= longest:
            raise ValueError("has a map without end")
        text = window.take(position, min(2 * len(text), longest))
    numbers = text.split(b"\n", lines)[:lines]
    used = sum(map(len, numbers)) + lines
    return _paired(numbers[1:]), position + padded(used)


def _paired(numbers: list[bytes]) -> Map:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_RUNS:
        raise ValueError("has a map of an odd number of numbers or too many")
    values = [decimal(value, SIZE_LIMIT) for value in numbers]
    return [(offset, length) for offset, length in zip(values[::2], values[1::2], strict=True) if length]


def _checked(value: int) -> int:
    if not 0 <= value < SIZE_LIMIT:
        raise ValueError("has a number out of range")
    return value


def extents(runs: Map, real_size: int, position: int, stored: int) -> list[Extent]:
    """The runs as extents of the stream, neighbours joined. ``position`` is where the runs' bytes begin and
    ``stored`` how many there are. Raises ValueError unless the runs ascend, do not overlap, and lie within both."""
    found: list[Extent] = []
    logical = length = 0
    start = offset = position
    reached = 0
    for run, size in runs:
        if run < reached:
            raise ValueError("has runs that overlap or go back")
        if length and run == reached:
            length += size
        else:
            if length:
                found.append(Extent(logical, length, start))
            logical, length, start = run, size, offset
        reached = run + size
        offset += size
    if length:
        found.append(Extent(logical, length, start))
    if reached > real_size:
        raise ValueError("has runs beyond its end")
    if offset - position > stored:
        raise ValueError("has runs of more bytes than are stored")
    return found
