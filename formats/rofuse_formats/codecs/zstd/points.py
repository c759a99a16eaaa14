"""Making a seek point inside a frame: everything its decoder knows there, as a formatted dictionary.

Strategy
A decoder at a block boundary knows the last Window_Size bytes of output, the Huffman table and three FSE tables
last sent, and three repeated offsets: exactly what a formatted dictionary holds (RFC 8878 §5). The tables are copied
from the blocks that sent them, the repeated offsets are followed through the block before the boundary, the window
is the tail of the output. The dictionary's ID tells how the library reads the Huffman table: what it makes of damaged
literals depends on that.

Of that window only little is ever used, and only by the next Window_Size bytes of output; whatever follows those
cannot refer to it. So these bytes are decoded from two *marked* windows, in which each grain of 64 bytes or more
is replaced by its number, written in two digits: what differs between the two outputs came from the window, and the
two digits tell from where. All grains that nothing came from are zeroed, and the window shrinks to a tenth.

Not every byte of the outputs is looked at: that would take longer than all the rest. Last, the same bytes are decoded
from the finished dictionary and compared with what the stream itself gave. Where they differ a grain was overlooked;
there the two outputs are looked at byte by byte, and it is tried again. Equality proves the point for ever. A boundary
whose proof fails is no point; it is never an error.

Rules
- Blocks read here have been decoded without error, but are parsed as if they had not.
- Memory: seven windows: the tail, what follows it, the two outputs, the dictionary twice, and the decoder's own.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import chain, repeat
from sys import byteorder
from typing import NamedTuple

from rofuse_formats.codecs.zstd import decoding, entropy, frame
from rofuse_formats.codecs.zstd.entropy import CODES, FSE, REPEAT, RLE_MODE, Layout
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

LEAST_HUFFMAN = b"\x80\x10"  # two symbols of one bit each: fills the place where no table was sent
FIRST_OFFSETS = (1, 4, 8)  # repeated offsets at the start of a frame
LARGEST_ENTROPY = 4096  # bytes before a dictionary's content: more than 8 + 129 + 3 * 128 + 12
LEVEL = 1  # of packed dictionaries; 3 saves 10 % of the index and costs twice the time
MOST_SEQUENCES = 1 << 16  # followed for the repeated offsets of one point


class Tables(NamedTuple):
    """Which blocks sent the tables in force, by the offsets of their headers: 0 for the predefined distribution (or
    none), negative for a table of one symbol (RLE)."""

    huffman: int = 0
    literal_lengths: int = 0
    offsets: int = 0
    match_lengths: int = 0

    def after(self, offset: int, layout: Layout) -> Tables:
        """The tables in force after the compressed block at ``offset``."""
        huffman = offset if layout.huffman else self.huffman
        if layout.modes == (FSE, FSE, FSE):  # nearly always
            return Tables(huffman, offset, offset, offset)
        if layout.modes == (REPEAT, REPEAT, REPEAT):
            return self if huffman == self.huffman else Tables(huffman, *self[1:])
        sent = (0, -offset, offset)  # by mode: predefined, RLE, FSE
        return Tables(
            huffman,
            *[self[1 + i] if mode == REPEAT else sent[mode] for i, mode in enumerate(layout.modes)],
        )

    def expressible(self) -> bool:
        """Whether a dictionary can hold them: an RLE table's first state takes no bits, which none of its can."""
        return min(self) >= 0


class Block(NamedTuple):
    """A block, as far as a later seek point may need it."""

    offset: int
    """Of its header in the source."""
    sequences: int
    """How many it has; 0 for raw and RLE blocks."""
    tables: Tables
    """In force before it."""


class Boundary(NamedTuple):
    """A block boundary, to be made a seek point."""

    offset: int
    """In the source."""
    window: int
    """Window_Size of the frame."""
    blocks: Sequence[Block]
    """The blocks before it, the last one last."""
    whole: bool
    """Whether ``blocks`` begins with the first block of the frame."""
    tables: Tables
    """In force after them."""
    tail: bytes
    """Output before it: a window, or all that the frame has given."""


class Seed(NamedTuple):
    """A dictionary, packed for the index."""

    packed: bytes | memoryview
    size: int
    """Bytes of the dictionary."""
    checksum: int
    """CRC-32 of ``packed``."""


class Blocks:
    """Contents and layouts of blocks, each read once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.known: dict[int, tuple[bytes, Layout]] = {}

    def read(self, offset: int) -> tuple[bytes, Layout]:
        """Content and layout of the compressed block at ``offset``."""
        if offset not in self.known:
            header = self.source.pread(frame.BLOCK_HEADER, offset)
            if len(header) < frame.BLOCK_HEADER:
                raise DamagedError("zstd data has become shorter", offset)
            size = min(frame.block_header(header, 0)[2], frame.LARGEST_BLOCK)
            content = self.source.pread(size, offset + frame.BLOCK_HEADER)
            self.known[offset] = content, entropy.block_layout(content)
        return self.known[offset]

    def descriptions(self, offset: int) -> tuple[list[bytes], int]:
        """The three table descriptions of a block (empty where it sends none) and the position after them."""
        content, layout = self.read(offset)
        found, at = [], layout.tables
        for mode, code in zip(layout.modes, CODES, strict=True):
            size = 0
            if mode == RLE_MODE:
                size = 1
            elif mode == FSE:
                size, _ = entropy.extent(content, at, code)
            found.append(content[at : at + size])
            at += size
        return found, at

    def description(self, sender: int, index: int) -> bytes:
        """The table in force for code ``index``, as FSE description, given ``Tables``' word for who sent it."""
        if not sender:
            return entropy.predefined(CODES[index])
        return self.descriptions(sender)[0][index]

    def table(self, block: Block, index: int) -> entropy.Table:
        """The table with which ``block`` decodes code ``index``."""
        mode = self.read(block.offset)[1].modes[index]
        sender = block.tables[1 + index] if mode == REPEAT else (0, -block.offset, block.offset)[mode]
        if sender < 0:
            symbol = self.descriptions(-sender)[0][index]
            if not symbol or symbol[0] >= len(CODES[index].extra_bits):
                raise DamagedError("zstd RLE table names no symbol")
            return [(symbol[0], 0, 0)]
        return entropy.table_described(self.description(sender, index), index)

    def offsets_after(self, block: Block) -> tuple[int, ...]:
        """The repeated offsets after a block, in terms of those before it."""
        return self._followed(block)[0]

    def largest_offset(self, block: Block) -> int:
        """The largest one that a block writes out."""
        return self._followed(block)[1]

    def _followed(self, block: Block) -> tuple[tuple[int, ...], int]:
        content = self.read(block.offset)[0]
        start = self.descriptions(block.offset)[1]
        tables = self.table(block, 0), self.table(block, 1), self.table(block, 2)
        return entropy.follow_offsets(content[start:], block.sequences, tables)


def entropy_part(source: Source, boundary: Boundary) -> bytes:
    """A dictionary up to its content. Raises DamagedError."""
    blocks = Blocks(source)
    offsets: tuple[int, ...] = entropy.UNKNOWN
    work = 0
    for block in reversed(boundary.blocks):
        if block.sequences:
            if work > MOST_SEQUENCES:
                raise DamagedError("zstd repeated offsets are set too far back", boundary.offset)
            work += block.sequences
            offsets = entropy.substitute(offsets, blocks.offsets_after(block))
            if min(offsets) > 0:
                break
    else:
        if not boundary.whole:
            raise DamagedError("zstd repeated offsets are set too far back", boundary.offset)
        offsets = entropy.substitute(offsets, FIRST_OFFSETS)
    if not 0 < min(offsets) <= max(offsets) <= len(boundary.tail):
        raise DamagedError("zstd repeated offsets reach beyond the window", boundary.offset)
    tables = boundary.tables
    huffman, number = LEAST_HUFFMAN, decoding.READ_DOUBLY
    if tables.huffman:
        content, layout = blocks.read(tables.huffman)
        huffman = content[layout.huffman : layout.huffman + layout.huffman_size]
        number = decoding.READ_SINGLY if entropy.is_read_singly(content) else number
    return b"".join(
        (
            decoding.DICTIONARY_MAGIC.to_bytes(4, "little"),
            number.to_bytes(4, "little"),
            huffman,
            blocks.description(tables.offsets, 1),
            blocks.description(tables.match_lengths, 2),
            blocks.description(tables.literal_lengths, 0),
            *(offset.to_bytes(4, "little") for offset in offsets),
        )
    )


def make_seed(
    source: Source, boundary: Boundary, follow: Sequence[bytes | memoryview], size: int, end: int
) -> Seed | None:
    """The seek point at ``boundary``, or None where there can be none.

    ``follow`` is what the stream gave after it, ``size`` how much of that counts (a window, or up to the end of the
    frame), ``end`` where in the source the block ends that gives the last of it.
    """
    import zstandard

    try:
        window = _Window(
            boundary, entropy_part(source, boundary), partial(_stretch, source, boundary, end), size
        )
        for _ in range(TRIES):
            different = _differences(window.stretch(), follow, size)
            if not different:
                break
            window.look(different)
        else:
            return None
    except (DamagedError, zstandard.ZstdError):
        return None
    packed = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False).compress(window.dictionary)
    packed = bytes(memoryview(packed))  # the library's own is as large in memory as it could have become
    return Seed(packed, len(window.dictionary), zlib.crc32(packed))


def _stretch(source: Source, boundary: Boundary, end: int, dictionary: bytearray) -> decoding.Stretch:
    descriptor = frame.window_descriptor(boundary.window)
    return decoding.rest_of_frame(source, boundary.offset, end, descriptor, dictionary)


def _differences(stretch: decoding.Stretch, follow: Sequence[bytes | memoryview], size: int) -> list[slice]:
    """The runs of the output in which it is another one than ``follow``. Raises DamagedError."""
    found: list[slice] = []
    at = 0
    for chunk in follow:
        expected = bytes(chunk[: size - at])
        given = _output(stretch, len(expected))
        found += (slice(at + start, at + start + _RUN) for start in _unequal(given, expected))
        at += len(expected)
    if at != size:
        raise DamagedError("zstd data has changed while it was read")
    return found


def _unequal(one: bytes, two: bytes) -> Sequence[int]:
    """Where the runs of ``_RUN`` bytes begin in which two outputs of one size differ."""
    unequal: Sequence[int] = () if one == two else (0,)
    length = len(one)
    for piece in (1 << 12, 1 << 9, _RUN):  # comparing is fast, going through what differs is not
        within = (range(start, min(start + length, len(one)), piece) for start in unequal)
        unequal = [at for at in chain.from_iterable(within) if one[at : at + piece] != two[at : at + piece]]
        length = piece
    return unequal


_RUN = 64
TRIES = 4
GRAIN = 64
STEP = 12  # of the bytes that are looked at
SHORTEST_MATCH = 3
_DIGITS = 254
_SAMPLES = 64 << 10  # marks found at once
_LOW = int.from_bytes(b"\x7f" * _SAMPLES, "little")
_HIGH = _LOW + int.from_bytes(b"\x01" * _SAMPLES, "little")


def _write_high_digits(window: memoryview, grain: int) -> None:
    """Makes each grain of a window the high digit of its number.

    Digits are 1 to 255, and the two of one number differ: what is copied from a window of high digits is never what
    is copied from one of low digits.
    """
    _fill(window, (bytes((digit,)) * (_DIGITS * grain) for digit in range(1, 256)))


def _write_low_digits(window: memoryview, grain: int) -> None:
    """As ``_write_high_digits``, of the low digits."""
    every = b"".join(bytes((digit,)) * grain for digit in range(1, 256))
    _fill(window, (every[: (high - 1) * grain] + every[high * grain :] for high in range(1, 256)))


def _fill(window: memoryview, pieces: Iterable[bytes]) -> None:
    """Overwrites a window with pieces, as far as there is room: nothing of its size is made for that."""
    at = 0
    for piece in pieces:
        if at >= len(window):
            return
        room = window[at : at + len(piece)]
        room[:] = piece[: len(room)]
        at += len(room)


@cache
def _numbers() -> array[int]:
    """Of grains, by their digits as ``high << 8 | low``; those rise with them."""
    return array(
        "I",
        (max(0, (high - 1) * _DIGITS + low - 1 - (low > high)) for high in range(256) for low in range(256)),
    )


def _output(stretch: decoding.Stretch, size: int) -> bytes:
    """The next ``size`` bytes."""
    output = stretch.read(size)
    if len(output) < size:
        raise DamagedError("zstd data has changed while it was read")
    return output


def _marks(one: bytes, two: bytes) -> set[int]:
    """The pairs of bytes in which two outputs differ, as ``one << 8 | two``."""
    count = len(one)
    high = int.from_bytes(one, "little")
    low = int.from_bytes(two, "little")
    differ = high ^ low
    if not differ:
        return set()
    # Of a run of equal pairs the first one will do: what equals its predecessor is dropped before the set is made.
    change = (high ^ high << 8) | (low ^ low << 8)
    # Bit 7 of each byte of keep: neither difference is 0 there. Adding 127 to the low bits of a byte carries into it.
    fill = _LOW & (1 << 8 * count) - 1
    keep = (
        ((differ & _LOW) + fill | differ) & ((change & _LOW) + fill | change) & _HIGH & (1 << 8 * count) - 1
    )
    mask = (keep << 1) - (keep >> 7)
    pairs = bytearray(2 * count)
    lows = (low & mask).to_bytes(count, "little").translate(None, b"\0")
    highs = (high & mask).to_bytes(count, "little").translate(None, b"\0")
    del pairs[2 * len(lows) :]
    pairs[_LOW_BYTE::2] = lows
    pairs[1 - _LOW_BYTE :: 2] = highs
    return set(memoryview(pairs).cast("H"))


_LOW_BYTE = 0 if byteorder == "little" else 1


class _Window:
    """The window before a boundary, of which no more is kept than is used. Raises DamagedError."""

    def __init__(
        self, boundary: Boundary, part: bytes, stretch: Callable[[bytearray], decoding.Stretch], size: int
    ) -> None:
        length = len(boundary.tail)
        self._tail = boundary.tail
        self._make = stretch
        self._seen: set[int] = set()
        self._grain = max(GRAIN, -(-length // (_DIGITS * 255)))
        self.dictionary = bytearray(len(part) + length)
        """The entropy part, and the window with zeros where nothing is known to refer to."""
        self.dictionary[: len(part)] = part
        self._content = memoryview(self.dictionary)[len(part) :]
        _write_high_digits(self._content, self._grain)
        self._high = _output(self.stretch(), size)
        _write_low_digits(self._content, self._grain)
        self._low = _output(self.stretch(), size)
        _fill(self._content, repeat(bytes(_SAMPLES)))
        last = SHORTEST_MATCH - 1  # a match may begin there and leave the window
        self._content[-last:] = self._tail[-last:]
        self._note(self._high[::STEP], self._low[::STEP])

    def stretch(self) -> decoding.Stretch:
        """What follows the window, as it is now."""
        return self._make(self.dictionary)

    def look(self, runs: Sequence[slice]) -> None:
        """Takes note of where all bytes of some runs of the output came from."""
        self._note(b"".join([self._high[run] for run in runs]), b"".join([self._low[run] for run in runs]))

    def _note(self, high: bytes, low: bytes) -> None:
        pairs: set[int] = set()
        for at in range(0, len(high), _SAMPLES):
            pairs |= _marks(high[at : at + _SAMPLES], low[at : at + _SAMPLES])
        pairs -= self._seen
        self._seen |= pairs
        tail, content, grain, number = self._tail, self._content, self._grain, _numbers()
        before, behind = STEP, grain + STEP  # what was not seen of a match
        for pair in pairs:
            begin = number[pair] * grain
            start = begin - before if begin else 0
            content[start : begin + behind] = tail[start : begin + behind]
