"""What is read of a block's entropy coding: distributions, tables, layouts, repeated offsets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.zstd import entropy
from rofuse_formats.codecs.zstd.entropy import CODES, LITERAL_LENGTHS, MATCH_LENGTHS, OFFSETS, Code
from rofuse_formats.errors import DamagedError


@st.composite
def distributions(draw: st.DrawFn) -> tuple[Code, int, list[int]]:
    """A code, an accuracy and counts that fill the table, the last one not zero."""
    code = draw(st.sampled_from(CODES))
    log = draw(st.integers(5, code.largest_log))
    left = 1 << log
    counts: list[int] = []
    while left and len(counts) < len(code.extra_bits) - 1:
        count = draw(st.integers(-1, left) | st.just(0) | st.just(0))
        counts.append(count)
        left -= abs(count)
    if left:
        counts.append(left)
    while not counts[-1]:
        counts.pop()
    return code, log, counts


@st.composite
def descriptions(draw: st.DrawFn) -> tuple[Code, bytes]:
    """A description, cut off or with bytes changed, or any bytes at all: of zeros and ones many are its zeros."""
    code, log, counts = draw(distributions())
    data = bytearray(entropy.write_distribution(log, counts))
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=2)):
        data[at] = draw(st.integers(0, 255))
    data += draw(st.binary(max_size=4) | st.just(bytes(140)) | st.just(b"\xff" * 140))
    whole = bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    return code, draw(st.just(whole) | st.binary(max_size=140))


@settings(max_examples=1000)
@given(descriptions(), st.integers(0, 3))
def test_extent_is_that_of_the_distribution(description: tuple[Code, bytes], before: int) -> None:
    code, data = description
    data = bytes(before) + data
    try:
        expected = entropy.read_distribution(data, before, code)
    except DamagedError:
        with pytest.raises(DamagedError):
            entropy.extent(data, before, code)
    else:
        assert entropy.extent(data, before, code) == (expected.size, len(expected.counts) - 1)


@given(distributions(), st.binary(max_size=8), st.binary(max_size=8))
def test_distribution_written_is_read(
    distribution: tuple[Code, int, list[int]], before: bytes, behind: bytes
) -> None:
    code, log, counts = distribution
    description = entropy.write_distribution(log, counts)
    read = entropy.read_distribution(before + description + behind, len(before), code)
    assert (read.log, list(read.counts), read.size) == (log, counts, len(description))


@given(distributions())
def test_every_state_of_a_table_is_reached_once_from_each_symbol(
    distribution: tuple[Code, int, list[int]],
) -> None:
    """The law of FSE: the states of one symbol partition the next states, which makes coding reversible."""
    _, log, counts = distribution
    table = entropy.decoding_table(log, counts)
    for symbol, count in enumerate(counts):
        states = [state for state in table if state[0] == symbol]
        assert len(states) == abs(count)
        following = sorted(base + n for _, bits, base in states for n in range(1 << bits))
        assert not states or following == list(range(1 << log))


@pytest.mark.parametrize("code", CODES)
def test_predefined_distributions_fill_their_tables(code: Code) -> None:
    assert sum(map(abs, code.default)) == 1 << code.default_log
    assert len(code.default) <= len(code.extra_bits)
    read = entropy.read_distribution(entropy.predefined(code), 0, code)
    assert (read.log, tuple(read.counts)) == (code.default_log, code.default)


def test_predefined_tables_are_those_of_rfc_8878_appendix_a() -> None:
    def state(code: Code, number: int) -> tuple[int, int, int]:
        return entropy.decoding_table(code.default_log, code.default)[number]

    assert [state(LITERAL_LENGTHS, n) for n in (0, 1, 2, 31, 63)] == [
        (0, 4, 0), (0, 4, 16), (1, 5, 32), (13, 6, 0), (32, 6, 0),
    ]  # fmt: skip
    assert [state(OFFSETS, n) for n in (0, 1, 2, 30, 31)] == [
        (0, 5, 0), (6, 4, 0), (9, 5, 0), (25, 5, 0), (24, 5, 0),
    ]  # fmt: skip
    assert [state(MATCH_LENGTHS, n) for n in (0, 1, 2, 3, 63)] == [
        (0, 6, 0), (1, 4, 0), (2, 5, 32), (3, 5, 0), (46, 6, 0),
    ]  # fmt: skip


@given(st.binary(max_size=200), st.sampled_from(CODES))
def test_any_bytes_are_a_distribution_or_damage(data: bytes, code: Code) -> None:
    try:
        log, counts, size = entropy.read_distribution(data, 0, code)
    except DamagedError:
        return
    assert sum(map(abs, counts)) == 1 << log
    assert size <= len(data)
    entropy.decoding_table(log, counts)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_layout_or_damage(data: bytes) -> None:
    try:
        layout = entropy.block_layout(data)
    except DamagedError:
        return
    assert layout.tables <= len(data)


@given(st.binary(max_size=100), st.integers(1, 500))
def test_any_bytes_are_sequences_or_damage(data: bytes, count: int) -> None:
    literals, offsets, matches = (entropy.decoding_table(code.default_log, code.default) for code in CODES)
    try:
        after, _ = entropy.follow_offsets(data, count, (literals, offsets, matches))
    except DamagedError:
        return
    assert len(after) == 3


@pytest.mark.parametrize(
    ("block", "sequences", "tables"),
    [
        (bytes((5 << 3,)) + b"12345" + b"\0", 0, 7),
        (bytes((5 << 3,)) + b"12345" + b"\x01\xa8", 1, 8),
        (bytes((0 << 4 | 0b0100, 1)) + b"x" * 16 + b"\x7f\0", 127, 20),
        (bytes((1 << 4 | 0b1100, 1, 0)) + b"x" * 17 + b"\x80\x85\0", 0x85, 23),
        (bytes((0 << 4 | 0b0101, 1)) + b"x" + b"\xff\x01\x02\0", 0x7F00 + 0x201, 7),
    ],
)
def test_layout_of_raw_and_rle_literals(block: bytes, sequences: int, tables: int) -> None:
    layout = entropy.block_layout(block)
    assert (layout.sequences, layout.tables, layout.huffman) == (sequences, tables, 0)


def test_offsets_unknown_before_a_block_are_substituted() -> None:
    first, second, third = entropy.UNKNOWN
    assert entropy.substitute((7, third, first - 1), (40, 50, 60)) == (7, 60, 39)
    assert entropy.substitute((second, second - 2, first), (second, first - 1, 9)) == (
        first - 1,
        first - 3,
        second,
    )
