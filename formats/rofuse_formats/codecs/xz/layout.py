"""Headers, footers and indexes of xz streams (.xz file format 1.2.0, sections 2 to 4), read from untrusted bytes.

Rules
- Every field that has a CRC32 is checked by it before anything in it is used.
- Nothing here decodes, and nothing is kept: an index of millions of records is read a piece at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from rofuse_formats.errors import DamagedError, TruncatedError, UnsupportedError
from rofuse_formats.source import Source

MAGIC = b"\xfd7zXZ\0"
FOOTER_MAGIC = b"YZ"
HEADER = FOOTER = 12  # bytes; both are of one size
LARGEST_BLOCK_HEADER = 1024
LEAST_INDEX = 8
MOST_RATIO = 8192
"""Decoded bytes of one compressed byte, at most: LZMA's shortest match of 273 bytes takes 0.3 bits."""

NO_CHECK = 0
CHECK_SIZES = {NO_CHECK: 0, 1: 4, 4: 8, 10: 32}  # none, CRC32, CRC64, SHA-256
_LZMA2 = 0x21
_LARGEST = 1 << 63  # no integer is as large (section 1.2)
_PIECE = 64 << 10


def padded(size: int) -> int:
    return size + 3 & ~3


def encoded(number: int) -> bytes:
    """A multibyte integer (section 1.2)."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def integer(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The multibyte integer at ``data[at]`` and where it ends. Raises ValueError where there is none."""
    number = shift = 0
    for place in range(at, min(at + 9, len(data))):
        digit = data[place]
        number |= (digit & 127) << shift
        if digit < 128:
            if not digit and shift:
                break
            return number, place + 1
        shift += 7
    raise ValueError("no multibyte integer")


def stream_header(check: int) -> bytes:
    """The header of a stream with this check (section 2.1.1)."""
    flags = bytes((0, check))
    return MAGIC + flags + zlib.crc32(flags).to_bytes(4, "little")


def stream_ending(records: bytes, count: int, check: int) -> bytes:
    """Index and footer (sections 2.1.2 and 4) of a stream of ``count`` blocks."""
    index = b"\0" + encoded(count) + records
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    fields = (len(index) // 4 - 1).to_bytes(4, "little") + bytes((0, check))
    return index + zlib.crc32(fields).to_bytes(4, "little") + fields + FOOTER_MAGIC


def check_of_header(data: bytes, offset: int) -> int:
    """The check of the stream whose header at ``offset`` is ``data``. Raises DamagedError, UnsupportedError."""
    if len(data) < HEADER and MAGIC.startswith(data[: len(MAGIC)]):
        raise TruncatedError(f"xz data ends within the stream header at offset {offset}", offset)
    if not data.startswith(MAGIC) or zlib.crc32(data[6:8]) != int.from_bytes(data[8:12], "little"):
        raise DamagedError(f"the xz stream header at offset {offset} is damaged", offset)
    return _check(data[6:8], offset)


def _check(flags: bytes, offset: int) -> int:
    if flags[0] or flags[1] not in CHECK_SIZES:
        raise UnsupportedError(f"xz stream flags {flags.hex()} at offset {offset} are not supported")
    return flags[1]


class Footer(NamedTuple):
    check: int
    index_length: int
    """Of the index before it."""


def footer(data: bytes, offset: int) -> Footer:
    """The footer ``data`` at ``offset``. Raises DamagedError, UnsupportedError."""
    if len(data) < FOOTER:
        raise TruncatedError(f"xz data ends within the stream footer at offset {offset}", offset)
    if data[10:] != FOOTER_MAGIC or zlib.crc32(data[4:10]) != int.from_bytes(data[:4], "little"):
        raise DamagedError(f"the xz stream footer at offset {offset} is damaged", offset)
    return Footer(_check(data[8:10], offset), (int.from_bytes(data[4:8], "little") + 1) * 4)


class Record(NamedTuple):
    """What an index says of a block."""

    unpadded: int
    """Bytes of the block without its padding."""
    size: int
    """Decoded bytes."""


class Index:
    """The index of ``length`` bytes at ``offset``."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self.source, self.offset, self.length = source, offset, length

    def verify(self) -> int:
        """Reads all of it; returns how many bytes of the source its blocks take. Raises DamagedError."""
        checksum, end = 0, self.offset + self.length - 4
        for at in range(self.offset, end, _PIECE):
            checksum = zlib.crc32(self.source.pread(min(_PIECE, end - at), at), checksum)
        if checksum != int.from_bytes(self.source.pread(4, end), "little"):
            raise self._damage()
        return sum(padded(record.unpadded) for record in self.records())

    def records(self) -> Iterator[Record]:
        """Raises DamagedError."""
        position, end = self.offset, self.offset + self.length - 4
        data, at, left = b"", 0, -1
        try:
            while left:
                if len(data) - at < 18 and position < end:  # two of the longest integers
                    more = self.source.pread(min(_PIECE, end - position), position)
                    position += len(more)
                    data, at = data[at:] + more, 0
                    if not more:
                        break
                if left < 0:
                    left, at = integer(data, 1)
                    if data[0] or left > self.length // 2:
                        break
                else:
                    unpadded, at = integer(data, at)
                    size, at = integer(data, at)
                    if unpadded < 5:
                        break
                    left -= 1
                    yield Record(unpadded, size)
        except ValueError as error:
            raise self._damage() from error
        if left or position < end or len(data) - at > 3 or any(data[at:]):
            raise self._damage()

    def _damage(self) -> DamagedError:
        return DamagedError(f"the xz index at offset {self.offset} is damaged", self.offset)


class BlockHeader(NamedTuple):
    length: int
    window: int
    """Bytes of LZMA2's dictionary."""


def block_header(data: bytes, offset: int) -> BlockHeader:
    """The header of the block at ``offset`` that ``data`` begins with (section 3.1). Raises DamagedError,
    UnsupportedError."""
    length = (data[0] + 1) * 4 if data else 0
    if len(data) < max(length, 1):
        raise TruncatedError(f"xz data ends within the block header at offset {offset}", offset)
    fields, checksum = data[: length - 4], data[length - 4 : length]
    if length < 8 or zlib.crc32(fields) != int.from_bytes(checksum, "little"):
        raise DamagedError(f"the xz block header at offset {offset} is damaged", offset)
    flags = fields[1]
    try:
        at = 2
        for sizes in (0x40, 0x80):  # compressed size, uncompressed size
            if flags & sizes:
                _, at = integer(fields, at)
        for _ in range((flags & 3) + 1):
            filter_id, at = integer(fields, at)
            properties, at = integer(fields, at)
            last, at = fields[at : at + properties], at + properties
    except ValueError as error:
        raise DamagedError(f"the xz block header at offset {offset} is damaged", offset) from error
    if flags & 0x3C or filter_id != _LZMA2 or len(last) != 1 or last[0] > 40:
        raise UnsupportedError(f"the xz block at offset {offset} has filters that are not supported")
    return BlockHeader(length, _window(last[0]))


def _window(bits: int) -> int:
    """Dictionary size by LZMA2's property byte (section 5.3.1)."""
    return (1 << 32) - 1 if bits == 40 else (2 | bits & 1) << bits // 2 + 11
