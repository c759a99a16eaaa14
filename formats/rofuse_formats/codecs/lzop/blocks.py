"""The headers of a lzop file: what it is made of.

Layout (big-endian): magic; version, library version, version needed, method, level, flags, mode, time, bytes of the
name, the name, a checksum of all that; perhaps an extra field. Then blocks: decoded bytes (0: the end), bytes in the
file, checksums as the flags say, data; as many bytes in the file as decoded are stored. Another such file may follow.
Files of versions before 0.940 lack the version needed, the level and the upper half of the time.

Rules
- A block has at most ``LARGEST`` bytes, decoded, and no more of them than its data can stand for.
- A block whose header cannot be ends what can be found: nothing else says where the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import adler32, crc32

from rofuse_formats.errors import DamagedError, FormatError, TruncatedError, UnsupportedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

MAGIC = b"\x89LZO\0\r\n\x1a\n"
LARGEST = 64 * MIB
ADLER_DECODED, ADLER_STORED, CRC_DECODED, CRC_STORED = 1, 2, 4, 8
"""Checksums of a block: the detail of its place. Of what it decodes to, of what is stored."""

_FLAGS = {0x1: ADLER_DECODED, 0x2: ADLER_STORED, 0x100: CRC_DECODED, 0x200: CRC_STORED}
_EXTRA, _FILTER, _HEADER_CRC = 0x40, 0x800, 0x1000
_METHODS = (1, 2, 3)  # LZO1X-1, LZO1X-1(15), LZO1X-999: all decoded alike
_LATER = 0x0940
_WORD = Struct(">I")
_SIZES = Struct(">II")
_LONGEST_HEADER = 512
_MOST_RATIO = 256  # a length of LZO1X grows by 255 with every byte


class Header(NamedTuple):
    end: int
    checks: int
    name: bytes


class Block(NamedTuple):
    size: int
    """Decoded bytes."""
    stored: int
    """Bytes of its data."""
    before: int
    """Bytes of its header."""


class _Fields:
    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at, self._start = data, len(MAGIC), start

    def take(self, size: int) -> bytes:
        data = self.data[self.at : self.at + size]
        if len(data) < size:
            end = self._start + len(self.data)
            raise TruncatedError(f"lzop data ends within the header at offset {self._start}", end)
        self.at += size
        return data

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def header(source: Source, start: int) -> Header:
    """The one at ``start``, where the magic is. Raises DamagedError, UnsupportedError."""
    fields = _Fields(source.pread(_LONGEST_HEADER, start), start)
    is_later = fields.number(2) >= _LATER
    fields.take(4 if is_later else 2)
    method = fields.number(1)
    fields.take(1 if is_later else 0)
    flags = fields.number(4)
    fields.take(4 if flags & _FILTER else 0)
    fields.take(12 if is_later else 8)
    name = fields.take(fields.number(1))
    checked = fields.data[len(MAGIC) : fields.at]
    if fields.number(4) != (crc32(checked) if flags & _HEADER_CRC else adler32(checked)):
        raise DamagedError(f"the lzop header at offset {start} fails its checksum", start)
    if method not in _METHODS or flags & _FILTER:
        what = "a filter" if flags & _FILTER else f"method {method}"
        raise UnsupportedError(f"the lzop data at offset {start} uses {what}, which is not supported")
    end = start + fields.at
    if flags & _EXTRA:
        end += _WORD.size + fields.number(4) + _WORD.size
    return Header(end, sum(check for flag, check in _FLAGS.items() if flags & flag), name)


def named_in(source: Source) -> bytes:
    """What the first header says that the file is called; nothing where it says nothing, or is none. Raises OSError."""
    if source.pread(len(MAGIC), 0) != MAGIC:
        return b""
    try:
        return header(source, 0).name
    except FormatError:  # whoever decodes it will say that
        return b""


def block(data: bytes, checks: int) -> Block | None:
    """What a block's header says, the first eight bytes of which are ``data``; None where that cannot be."""
    size, stored = _SIZES.unpack(data)
    if not 0 < stored <= size <= min(LARGEST, stored * _MOST_RATIO):
        return None
    made = checks if stored < size else checks & (ADLER_DECODED | CRC_DECODED)
    return Block(size, stored, _SIZES.size + _WORD.size * made.bit_count())


def units(source: Source, findings: Findings) -> Iterator[Unit]:
    """All blocks; see ``Kind.units``."""
    position = 0
    while position < source.size:
        if source.pread(len(MAGIC), position) != MAGIC:
            _followed_by(source, position, findings)
            return
        found = header(source, position)
        position = found.end
        while True:
            data = source.pread(_SIZES.size, position)
            if data[: _WORD.size] == bytes(_WORD.size):
                position += _WORD.size
                break
            if len(data) < _SIZES.size:
                raise TruncatedError(f"lzop data ends too early, at offset {source.size}", source.size)
            one = block(data, found.checks)
            if one is None:
                raise DamagedError(f"there is no lzop block at offset {position}", position)
            place = Place(position, one.before + one.stored, found.checks)
            if place.end > source.size:
                raise TruncatedError(
                    f"lzop data ends too early, at offset {source.size}, in the block at offset {position}",
                    source.size,
                )
            yield Unit(place, one.size, checked=bool(found.checks))
            position = place.end


def _followed_by(source: Source, position: int, findings: Findings) -> None:
    left = source.size - position
    if not position:
        raise DamagedError("there is no lzop header", 0)
    if MAGIC.startswith(source.pread(len(MAGIC), position)):
        raise TruncatedError(f"lzop data ends within the header at offset {position}", source.size)
    findings.warnings.append(f"{left} bytes of garbage behind the lzop data (offset {position})")
