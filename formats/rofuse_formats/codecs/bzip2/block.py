"""One block, cut out of its stream and decoded alone.

Strategy
A block's bits, moved to a byte boundary, are a stream of one block once a header stands before them and an end behind
them: the combined checksum of one block is its own, which follows its mark. The header always names the highest
level, under which blocks of all levels decode.

Where a block ends is not written anywhere; that its bits make such a stream is the proof of a guess. When the next
mark turns out a wrong guess (it was part of the block, or is damaged), the library is fed byte by byte to see at which
one it has got all of the block, which leaves eight places where the block may end.

Rules
- A block is decoded to its end, and its checksum with it, before anything of it is given out.
- Memory is bounded: what of a block is larger than ``PIECE`` (run lengths may make 46 MB of 900 kB) is decoded again
  for whoever wants it.
- OSError is what ``bz2`` raises for bad data; the source is never read where that is caught.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from rofuse_formats.codecs.bzip2.bits import BLOCK, CHECKSUM, END, MARK, bits, marks
from rofuse_formats.errors import DamagedError, MissingLibraryError, TruncatedError
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor

PIECE = 2 << 20
"""Decoded bytes given out at once; hardly any block is larger."""
LARGEST = 2_400_000 * 8
"""Bits of a block at most: 900,000 symbols of 20 bits each, and the tables. What compressors make stays below half."""
LEAST = 168
"""Bits of a block at least: mark, checksum, and its fields at their shortest."""
_HEADER = b"BZh9"
_STEPS = (1 << 14, 1 << 7, 1)
"""In which a block is fed to find its end: few calls, each of which gives the GIL away."""


class Block(NamedTuple):
    """A block that was decoded and found intact."""

    start: int
    """Bit offset of its mark."""
    end: int
    """Bit offset behind it."""
    checksum: int
    size: int
    """Decoded bytes."""
    data: bytes
    """All of them, or none where they are more than ``PIECE``; then ``stream`` has them."""
    stream: bytes

    def pieces(self) -> Iterator[bytes]:
        """The decoded bytes."""
        if self.data:
            yield self.data
            return
        decoder = _decoder()
        yield decoder.decompress(self.stream, PIECE)
        while not decoder.eof:
            piece = decoder.decompress(b"", PIECE)
            if piece:
                yield piece


def decode(source: Source, start: int, end: int) -> Block | None:
    """The block between two bit offsets; None where that is not exactly one, and intact."""
    if not LEAST <= end - start <= LARGEST:
        return None
    content = bits(source, start, end - start)
    checksum = content >> (end - start - MARK - CHECKSUM) & (1 << CHECKSUM) - 1
    trailer = END << CHECKSUM | checksum
    stream = _HEADER + _aligned(content << MARK + CHECKSUM | trailer, end - start + MARK + CHECKSUM)
    decoder = _decoder()
    try:
        data = more = decoder.decompress(stream, PIECE)
        size = len(data)
        while more and not decoder.eof:
            more = decoder.decompress(b"", PIECE)
            size += len(more)
    except OSError:
        return None
    if not decoder.eof or decoder.unused_data:
        return None
    if size > len(data):
        return Block(start, end, checksum, size, b"", stream)
    return Block(start, end, checksum, size, data, b"")


def decode_at(source: Source, start: int, limit: int, likely: int = 0) -> Block:
    """The block at a bit offset; the source counts up to bit ``limit``. ``likely``: where it may end. Raises
    DamagedError, TruncatedError."""
    block = decode(source, start, likely) if start < likely <= limit else None
    if block:
        return block
    farthest = min(start + LARGEST, limit)
    guesses = marks(source, start + MARK, min(farthest + MARK, limit))
    end = next((offset for offset, _mark in guesses), farthest)
    return decode(source, start, end) or _decode_without_guess(source, start, limit)


def _decode_without_guess(source: Source, start: int, limit: int) -> Block:
    ends = _possible_ends(source, start, limit)
    marked = [end for end in ends if end + MARK <= limit and bits(source, end, MARK) in (BLOCK, END)]
    for end in marked or ends:
        block = decode(source, start, end)
        if block:
            return block
    raise _damaged(start)


def _possible_ends(source: Source, start: int, limit: int) -> range:
    """The bit offsets behind each bit of the byte with which the library has got the whole block."""
    count = min(LARGEST, limit - start)
    stream = _HEADER + _aligned(bits(source, start, count), count)
    at = 0
    for step in _STEPS:
        decoder = _decoder()
        try:
            decoder.decompress(stream[:at], 1)
            while not decoder.decompress(stream[at : at + step], 1):
                at += step
                if at >= len(stream):
                    raise _unfinished(start, count, limit)
        except OSError as error:
            raise _damaged(start) from error
    behind = start + (at - len(_HEADER)) * 8 + 1
    return range(behind, min(behind + 8, limit + 1))


def _aligned(value: int, count: int) -> bytes:
    """``count`` bits as bytes, filled up with zeros."""
    return (value << (-count & 7)).to_bytes(count + 7 >> 3, "big")


def _decoder() -> BZ2Decompressor:
    try:
        from bz2 import BZ2Decompressor
    except ImportError as error:
        raise MissingLibraryError("this Python was built without its module bz2 (libbz2)") from error
    return BZ2Decompressor()


def _damaged(start: int) -> DamagedError:
    return DamagedError(f"bzip2 block at offset {start >> 3} is damaged", start >> 3)


def _unfinished(start: int, count: int, limit: int) -> DamagedError:
    if start + count < limit:
        return _damaged(start)
    return TruncatedError(f"bzip2 data ends within the block at offset {start >> 3}", limit >> 3)
