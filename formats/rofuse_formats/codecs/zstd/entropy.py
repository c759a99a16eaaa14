"""What a compressed block says about its entropy coding (RFC 8878 §3.1.1.3 and §4), and the three repeated offsets.

Strategy
Literals are never decoded here and no match is copied. A block's *layout* is read from a handful of bytes; table
descriptions are copied verbatim once their length is known; of the sequences only what changes the repeated
offsets is followed, which means reading every sequence's bits but computing one number of it.

Rules
- Every function raises DamagedError on bytes that contradict the format, and nothing else.
- Bits: FSE descriptions are read forward, least significant bit first; sequences are read backward from the last
  set bit of the last byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from rofuse_formats.errors import DamagedError

PREDEFINED, RLE_MODE, FSE, REPEAT = range(4)
TREELESS = 3


class Code(NamedTuple):
    """One of the three codes that sequences are written in."""

    extra_bits: tuple[int, ...]
    """By symbol: how many bits follow its code."""
    largest_log: int
    default_log: int
    default: tuple[int, ...]


LITERAL_LENGTHS = Code(
    (0,) * 16 + (1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    9,
    6,
    (4, 3) + (2,) * 6 + (2,) * 5 + (1, 1, 1) + (2,) * 9 + (3, 2) + (1,) * 5 + (-1,) * 4,
)
OFFSETS = Code(tuple(range(32)), 8, 5, (1,) * 6 + (2,) * 3 + (1,) * 15 + (-1,) * 5)
MATCH_LENGTHS = Code(
    (0,) * 32 + (1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    9,
    6,
    (1, 4, 3) + (2,) * 6 + (1,) * 37 + (-1,) * 7,
)
CODES = (LITERAL_LENGTHS, OFFSETS, MATCH_LENGTHS)  # in the order in which a block describes them


_SIZES = ((3, 10), (3, 10), (4, 14), (5, 18))
"""Of Huffman-coded literals, by size format: bytes of their header, and bits in it of each of their two sizes."""
LITERALS_HEAD = 6  # the longest header, and the first byte of a Huffman tree description


class Layout(NamedTuple):
    """Where things are in a compressed block (positions count from the start of its content)."""

    huffman: int
    """Position of the Huffman tree description, 0 where the block sends none."""
    huffman_size: int
    """Bytes of that description."""
    sequences: int
    """How many sequences."""
    modes: tuple[int, int, int]
    """How the tables for literal lengths, offsets and match lengths are given; Repeat where there are none."""
    tables: int
    """Position of the first table description, right behind the modes."""


def block_layout(block: bytes | memoryview) -> Layout:
    """The layout of a compressed block's content."""
    literals = literals_section(block)
    return Layout(literals.huffman, literals.huffman_size, *sequences_section(block, literals.size))


class Literals(NamedTuple):
    """The literals section of a compressed block, with which its content begins."""

    huffman: int
    huffman_size: int
    """As in Layout."""
    size: int
    """Bytes of the section."""


def literals_section(head: bytes | memoryview) -> Literals:
    """The section, of which no more than the first LITERALS_HEAD bytes are looked at."""
    try:
        first = head[0]
        kind, size_format = first & 3, first >> 2 & 3
        if kind < 2:  # raw and RLE literals
            header = (1, 2, 1, 3)[size_format]
            size = int.from_bytes(head[:header], "little") >> (4 if size_format & 1 else 3)
            return Literals(0, 0, header + (1 if kind else size))
        header, bits = _SIZES[size_format]
        size = int.from_bytes(head[:header], "little") >> (4 + bits)
        if kind == TREELESS:
            return Literals(0, 0, header + size)
        huffman_size = description_size(head[header])
    except IndexError:
        raise DamagedError("zstd block ends within its headers") from None
    if huffman_size > size:
        raise DamagedError("zstd Huffman table is longer than its literals")
    return Literals(header, huffman_size, header + size)


def sequences_section(block: bytes | memoryview, at: int) -> tuple[int, tuple[int, int, int], int]:
    """``sequences``, ``modes`` and ``tables`` of the Layout, as the section at ``block[at]`` begins."""
    try:
        count = block[at]
        at += 1
        if count == 255:
            count = block[at] + (block[at + 1] << 8) + 0x7F00
            at += 2
        elif count > 127:
            count = (count - 128 << 8) + block[at]
            at += 1
        if not count:
            return 0, (REPEAT, REPEAT, REPEAT), at
        modes = block[at]
    except IndexError:
        raise DamagedError("zstd block ends within its headers") from None
    return count, (modes >> 6, modes >> 4 & 3, modes >> 2 & 3), at + 1


def description_size(first: int) -> int:
    """Bytes of the Huffman tree description that starts with ``first``."""
    return 1 + (first if first < 128 else first - 126 >> 1)


def is_read_singly(block: bytes) -> bool:
    """Whether the library reads one symbol a step, and not up to two, with the Huffman table that ``block`` sends (its
    content): so it does where there is but one stream, and where it takes that for the faster way."""
    size_format = block[0] >> 2 & 3
    if not size_format:
        return True
    header, bits = _SIZES[size_format]
    sizes = int.from_bytes(block[:header], "little") >> 4
    literals, compressed = sizes & (1 << bits) - 1, sizes >> bits
    least = _LEAST_DOUBLY[min(compressed * 16 // literals, 15)] if literals else 0
    return not least or literals >> 8 < least


_LEAST_DOUBLY = (0, 0, 3, 5, 5, 6, 7, 9, 12, 15, 18, 27, 41, 173, 0, 0)
"""By sixteenths of their size that literals are compressed to: from how many times 256 of them on the library (1.5)
reads two symbols a step; 0 for never."""


class Distribution(NamedTuple):
    """An FSE table description, read."""

    log: int
    """Accuracy: the table has ``1 << log`` states."""
    counts: Sequence[int]
    """By symbol: how many of the states are its own; -1 for "less than one"."""
    size: int
    """Bytes of the description."""


def read_distribution(data: bytes, at: int, code: Code) -> Distribution:
    """The FSE table description at ``data[at]`` (RFC 8878 §4.1.1)."""
    bits = int.from_bytes(data[at : at + 128], "little")  # the longest is 53 symbols of at most 10 bits
    log = 5 + (bits & 15)
    if log > code.largest_log:
        raise DamagedError("zstd FSE table is larger than allowed")
    position = 4
    left = 1 << log
    counts: list[int] = []
    while left > 0:
        if len(counts) >= len(code.extra_bits):
            raise DamagedError("zstd FSE table has more symbols than there are")
        # A value is 0 .. left + 1. The low values are written a bit shorter, as many as the bits leave room for.
        width = (left + 1).bit_length()
        short = (1 << width) - 2 - left
        value = bits >> position & ((1 << width - 1) - 1)
        position += width - 1
        if value >= short:
            value |= (bits >> position & 1) << width - 1
            position += 1
            if value >= 1 << width - 1:
                value -= short
        counts.append(value - 1)
        left -= abs(value - 1)
        while value == 1:  # a zero is followed by how many more there are, in twos of bits
            zeros = bits >> position & 3
            position += 2
            counts += (0,) * zeros
            if zeros < 3:
                break
            if len(counts) > len(code.extra_bits):
                break
    size = position + 7 >> 3
    if left or len(counts) > len(code.extra_bits) or at + size > len(data):
        raise DamagedError("zstd FSE table contradicts itself")
    return Distribution(log, counts, size)


def extent(data: bytes, at: int, code: Code) -> tuple[int, int]:
    """``size`` of what ``read_distribution`` reads, and its last symbol; in half the time, for it keeps no counts."""
    bits = int.from_bytes(data[at : at + _LONGEST], "little") | _BEHIND
    left = (32 << (bits & 15)) + 1  # to be given to symbols, and one
    if left > (1 << code.largest_log) + 1:
        raise DamagedError("zstd FSE table is larger than allowed")
    bits >>= 4
    symbols = 0
    while left > 1:
        width = left.bit_length()
        shorter = width - 1
        mask = (1 << width) - 1
        half = mask >> 1
        while left > half:  # as long as values are as wide
            symbols += 1
            value = bits & half
            if value + left < mask:
                bits >>= shorter
            else:
                value = bits & mask
                bits >>= width
                if value > half:
                    value += left - mask
            if value > 1:
                left -= value - 1
            elif not value:
                left -= 1
            else:
                zeros = 3
                while zeros == 3:
                    zeros = bits & 3
                    bits >>= 2
                    symbols += zeros
    size = 8 * _LONGEST + 8 - bits.bit_length() >> 3
    if symbols > len(code.extra_bits) or at + size > len(data):
        raise DamagedError("zstd FSE table contradicts itself")
    return size, symbols - 1


_LONGEST = 80  # bytes looked at of a description: 53 symbols of 10 bits, and two behind each, take no more
_BEHIND = 1 << 8 * _LONGEST  # a bit that tells how many were taken before it


def write_distribution(log: int, counts: Sequence[int]) -> bytes:
    """The description that ``read_distribution`` reads as these counts."""
    bits, position, left = log - 5, 4, 1 << log
    symbol = 0
    while left > 0:
        width = (left + 1).bit_length()
        short = (1 << width) - 2 - left
        value = counts[symbol] + 1
        symbol += 1
        left -= abs(value - 1)
        if value < short:
            bits |= value << position
            position += width - 1
        else:
            bits |= (value + short if value >= 1 << width - 1 else value) << position
            position += width
        if value == 1:
            zeros = 0
            while not counts[symbol + zeros]:
                zeros += 1
            symbol += zeros
            for _ in range(zeros // 3):
                bits |= 3 << position
                position += 2
            bits |= zeros % 3 << position
            position += 2
    return bits.to_bytes(position + 7 >> 3, "little")


@cache
def predefined(code: Code) -> bytes:
    """The description of a code's predefined distribution."""
    return write_distribution(code.default_log, code.default)


Table = list[tuple[int, int, int]]
"""By state: symbol, bits to read for the next state, what to add to them."""


def decoding_table(log: int, counts: Sequence[int]) -> Table:
    """The states of an FSE table (RFC 8878 §4.1.1)."""
    size = 1 << log
    symbols = [0] * size
    high = size
    for symbol, count in enumerate(counts):
        if count < 0:
            high -= 1
            symbols[high] = symbol
    step, state = (size >> 1) + (size >> 3) + 3, 0
    for symbol, count in enumerate(counts):
        for _ in range(count):
            symbols[state] = symbol
            state = state + step & size - 1
            while state >= high:
                state = state + step & size - 1
    following = [abs(count) for count in counts]
    table: Table = []
    for symbol in symbols:
        number = following[symbol]
        following[symbol] = number + 1
        bits = log + 1 - number.bit_length()
        table.append((symbol, bits, (number << bits) - size))
    return table


@lru_cache(maxsize=16)
def table_described(description: bytes, index: int) -> Table:
    """The table of ``CODES[index]`` with an FSE description. Not to be changed."""
    log, counts, _ = read_distribution(description, 0, CODES[index])
    return decoding_table(log, counts)


UNKNOWN = (-1 << 40, -2 << 40, -3 << 40)
"""Stand-ins for repeated offsets that are not known: ``UNKNOWN[i] - n`` is the i-th of them, less n."""


def substitute(offsets: Sequence[int], earlier: Sequence[int]) -> tuple[int, ...]:
    """``offsets`` with the stand-ins in them replaced by what ``earlier`` has in their places."""
    return tuple(
        offset if offset >= 0 else earlier[(-offset >> 40) - 1] - (-offset & (1 << 40) - 1)
        for offset in offsets
    )


def follow_offsets(
    bitstream: bytes, count: int, tables: tuple[Table, Table, Table], offsets: tuple[int, ...] = UNKNOWN
) -> tuple[tuple[int, ...], int]:
    """The three repeated offsets after ``count`` sequences, given those before (RFC 8878 §3.1.1.4 and §3.1.1.5), and
    the largest offset that is written out (0 for none).

    ``bitstream`` is what follows the tables in the block, to its end. ``tables`` are for literal lengths, offsets
    and match lengths.
    """
    largest = 0
    if not count:
        return offsets, largest
    literals, distances, matches = tables
    # Beside its next state a symbol is known here by the bits that follow it, and "no literals" by the symbol 0.
    literal_states = [(LITERAL_LENGTHS.extra_bits[s], bits, base, not s) for s, bits, base in literals]
    match_states = [(MATCH_LENGTHS.extra_bits[s], bits, base) for s, bits, base in matches]
    if not bitstream or not bitstream[-1]:
        raise DamagedError("zstd sequences have no end mark")
    # window holds the stream's bits from start on, above some zeros; position counts within it and falls. The zeros
    # are there so that bits can be asked for beyond the stream's beginning, as the loop does after the last sequence.
    start = max(0, len(bitstream) - _REFILL)
    window = int.from_bytes(bitstream[start:], "little") << _PADDING
    position = window.bit_length() - 1

    position -= len(literals).bit_length() - 1
    literal = window >> position & len(literals) - 1
    position -= len(distances).bit_length() - 1
    distance = window >> position & len(distances) - 1
    position -= len(matches).bit_length() - 1
    match = window >> position & len(matches) - 1
    first, second, third = offsets
    for _ in range(count):
        if position < 2 * _PADDING:
            if start:
                end = start + (position - _PADDING + 7 >> 3)
                position += start * 8
                start = max(0, end - _REFILL)
                position -= start * 8
                window = int.from_bytes(bitstream[start:end], "little") << _PADDING
            elif position < _PADDING:
                raise DamagedError("zstd sequences are longer than their bitstream")
        code, distance_bits, distance_base = distances[distance]
        literal_extra, literal_bits, literal_base, no_literals = literal_states[literal]
        match_extra, match_bits, match_base = match_states[match]
        position -= code
        if code > 1:
            third = second
            second = first
            first = (1 << code) + (window >> position & (1 << code) - 1) - 3
            if first > largest:
                largest = first
        else:
            repeat = code + (window >> position & code) + no_literals
            if repeat:
                if repeat == 1:
                    first, second = second, first
                elif repeat == 2:
                    first, second, third = third, first, second
                else:
                    first, second, third = first - 1, first, second
        position -= literal_extra + match_extra + literal_bits
        literal = literal_base + (window >> position & (1 << literal_bits) - 1)
        position -= match_bits
        match = match_base + (window >> position & (1 << match_bits) - 1)
        position -= distance_bits
        distance = distance_base + (window >> position & (1 << distance_bits) - 1)
    # The last sequence is followed by no state update; the loop has taken one too many.
    if start or position + literal_bits + match_bits + distance_bits != _PADDING:
        raise DamagedError("zstd sequences do not fill their bitstream")
    return (first, second, third), largest


_PADDING = 96  # bits; more than the 31 + 16 + 16 + 9 + 9 + 8 that a sequence and its updates can take
_REFILL = 48  # bytes; several sequences each, and still a short integer to shift
