"""Members: their headers and trailers (RFC 1952 §2.3), and what may lie between and behind them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from rofuse_formats.deflate.feed import Feed
from rofuse_formats.errors import DamagedError, TruncatedError

MAGIC = b"\x1f\x8b"
FIXED = 10  # bytes of a header's fixed part
TRAILER = Struct("<II")
"""CRC-32 of what was compressed, and its size modulo 2**32."""

LONGEST_TEXT = 1 << 16  # of a name or comment, which the RFC does not bound
_DEFLATE = 8
_START = MAGIC + bytes((_DEFLATE,))
_HEADER_CRC, _EXTRA, _NAME, _COMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_BLOCK_TYPES = 3  # stored, fixed codes, dynamic codes
_MANY = 1 << 16


class Header(NamedTuple):
    length: int
    """Bytes of it; deflate data follows."""
    name: bytes
    """FNAME as stored, which should be Latin-1; nothing where there is none."""
    size: int
    """Bytes of the whole member, where the header says so as bgzip's do (subfield BC); else 0."""


def header(feed: Feed, offset: int) -> Header:
    """The header at ``offset``. Raises DamagedError (no header, unknown method or flags, wrong header CRC)."""
    head = feed.bytes(offset, FIXED)
    if not could_start(head):
        raise DamagedError(f"there is no gzip member at offset {offset}", offset)
    if len(head) < FIXED:
        raise _truncated(offset)
    if head[2] != _DEFLATE or head[3] & _RESERVED:
        raise DamagedError(f"gzip header at offset {offset} has an unknown method or reserved flags", offset)
    flags, end, name, size = head[3], offset + FIXED, b"", 0
    if flags & _EXTRA:
        extra = _extra(feed, offset, end)
        end += 2 + len(extra)
        size = _block_size(extra)
    if flags & _NAME:
        name = _text(feed, offset, end)
        end += len(name) + 1
    if flags & _COMMENT:
        end += len(_text(feed, offset, end)) + 1
    if flags & _HEADER_CRC:
        _check(feed, offset, end)
        end += 2
    return Header(end - offset, name, size)


def _truncated(offset: int) -> TruncatedError:
    return TruncatedError(f"gzip data ends within the header at offset {offset}", offset)


def _extra(feed: Feed, offset: int, start: int) -> bytes:
    length = feed.bytes(offset, start - offset + 2)[start - offset :]
    if len(length) < 2:
        raise _truncated(offset)
    end = start + 2 + int.from_bytes(length, "little")
    extra = feed.bytes(offset, end - offset)
    if len(extra) < end - offset:
        raise _truncated(offset)
    return extra[start - offset + 2 :]


def _block_size(extra: bytes) -> int:
    """What bgzip's subfield says: BC, two bytes, the member's size less one."""
    at = 0
    while at + 4 <= len(extra):
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if extra[at : at + 4] == b"BC\2\0" and at + 6 <= len(extra):
            return int.from_bytes(extra[at + 4 : at + 6], "little") + 1
        at += 4 + length
    return 0


def _text(feed: Feed, offset: int, start: int) -> bytes:
    """The text at ``start`` without the zero that ends it."""
    need = 256
    while True:
        text = feed.bytes(offset, start - offset + need)[start - offset :]
        end = text.find(0)
        if end >= 0:
            return text[:end]
        if len(text) < need:
            raise _truncated(offset)
        if need > LONGEST_TEXT:
            raise DamagedError(f"gzip header at offset {offset} has a name or comment without end", offset)
        need *= 4


def _check(feed: Feed, offset: int, end: int) -> None:
    """CRC16: the lower half of the CRC-32 of all header bytes before it."""
    covered = feed.bytes(offset, end - offset + 2)
    if len(covered) < end - offset + 2:
        raise _truncated(offset)
    if zlib.crc32(covered[:-2]) & 0xFFFF != int.from_bytes(covered[-2:], "little"):
        raise DamagedError(f"gzip header at offset {offset} fails its check", offset)


def could_start(head: bytes) -> bool:
    """Whether a member may start with ``head``, perhaps a few bytes only."""
    return bool(head) and MAGIC.startswith(head[:2])


def resembles(head: bytes) -> bool:
    """Whether ``head`` would start a member, but for damage to one of three bytes."""
    return sum(a == b for a, b in zip(head, _START, strict=False)) == len(_START) - 1


class Check:
    """What of a member's output its trailer speaks of."""

    __slots__ = ("crc", "size")

    def __init__(self) -> None:
        self.crc = self.size = 0

    def add(self, data: bytes) -> None:
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)

    def agrees(self, feed: Feed, offset: int) -> tuple[bool, bool]:
        """Whether the trailer at ``offset`` says the same CRC, and the same size. Raises TruncatedError."""
        trailer = feed.bytes(offset, TRAILER.size)
        if len(trailer) < TRAILER.size:
            raise TruncatedError(f"gzip data ends within the trailer at offset {offset}", offset)
        crc, size = TRAILER.unpack(trailer)
        return crc == self.crc, size == self.size & 0xFFFFFFFF


def failed_check(offset: int) -> DamagedError:
    """``offset``: of the trailer."""
    return DamagedError(f"gzip member fails its check at offset {offset}", offset)


def after_padding(feed: Feed, offset: int) -> int:
    """The first byte from ``offset`` on that is not zero, or the end."""
    while True:
        piece = feed.bytes(offset, _MANY if feed.bytes(offset, 1) == b"\0" else 1)
        rest = piece.lstrip(b"\0")
        offset += len(piece) - len(rest)
        if rest or not piece:
            return offset


def offsets_of_magic(feed: Feed, offset: int) -> Iterator[int]:
    """Where, from ``offset`` on, a header may be; the feed may be moved between them."""
    while len(piece := feed.bytes(offset, _MANY)) > len(_START):
        found = piece.find(_START)
        if found >= 0:
            yield offset + found
            offset += found + 1
        else:
            offset += len(piece) - len(_START) + 1


def recognise(head: bytes) -> bool:
    """Whether a source that starts with ``head`` is gzip: a header without reserved flags, and, if its end is in
    ``head``, a block of a type that exists."""
    if len(head) < FIXED or not head.startswith(_START) or head[3] & _RESERVED:
        return False
    try:
        first = head[header(Feed(_Head(head)), 0).length]
    except (DamagedError, IndexError):  # longer than this, or damaged
        return True
    return (first >> 1 & 3) < _BLOCK_TYPES


class _Head:
    """The beginning of a source as a Source."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def pread(self, size: int, offset: int, /) -> bytes:
        return self.data[offset : offset + size]
