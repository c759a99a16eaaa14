"""What libarchive does not tell of RAR archives: whether they are solid, volumes of a set, and which members are
stored.

Facts from the technical notes that come with RAR (RAR 4: ``technote.txt``; RAR 5: "RAR 5.0 archive format").
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

RAR4, RAR5 = b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\1\0"
_BLOCK = struct.Struct("<HBHH")  # CRC, type, flags, size
# packed, size, system, CRC, time, version, method, bytes of the name, attributes
_FILE = struct.Struct("<IIBIIBBHI")
_MAIN_4, _FILE_4 = 0x73, 0x74
_VOLUME_4, _SOLID_4 = 1, 8
_SPLIT_4, _ENCRYPTED_4, _LARGE_4, _STORED_4 = 1 | 2, 4, 0x100, 0x30
_MAIN_5, _FILE_5 = 1, 2
_HAS_EXTRA, _HAS_DATA, _SPLIT_5 = 1, 2, 8 | 16
_VOLUME_5, _SOLID_5 = 1, 4
_HAS_TIME_5, _HAS_CRC_5, _NO_FILE_5 = 2, 4, 1 | 8  # a directory, or of unknown size
_LONGEST = 1 << 16

Pread = Callable[[int, int], bytes]


def flags(pread: Pread) -> tuple[bool, bool] | None:
    """Whether the archive is a volume of a set, and whether it is solid; None where its first header is none."""
    head = pread(64, 0)
    if head.startswith(RAR5):
        found = _header5(head, len(RAR5))
        if found is None or found[0] != _MAIN_5:
            return None
        word = found[3]
        return bool(word & _VOLUME_5), bool(word & _SOLID_5)
    if not head.startswith(RAR4) or len(head) < len(RAR4) + _BLOCK.size:
        return None
    _crc, kind, word, _size = _BLOCK.unpack_from(head, len(RAR4))
    return (bool(word & _VOLUME_4), bool(word & _SOLID_4)) if kind == _MAIN_4 else None


def stored_at(pread: Pread, place: int, size: int) -> tuple[int, int | None]:
    """Where the bytes begin of the member of ``size`` bytes whose header is at ``place``, and their CRC-32, where it
    has one; -1 unless they lie there in one piece as they are."""
    head = pread(_BLOCK.size + _FILE.size + 8, place).ljust(_BLOCK.size + _FILE.size + 8, b"\0")
    crc, kind, word, length = _BLOCK.unpack_from(head)
    is_one = kind == _FILE_4 and not word & (_SPLIT_4 | _ENCRYPTED_4) and length >= _BLOCK.size + _FILE.size
    if is_one and zlib.crc32(pread(length, place)[2:]) & 0xFFFF == crc:
        packed, unpacked, _system, checksum, *_rest, method, _name, _attributes = _FILE.unpack_from(
            head, _BLOCK.size
        )
        if word & _LARGE_4:
            high = struct.unpack_from("<II", head, _BLOCK.size + _FILE.size)
            packed, unpacked = packed | high[0] << 32, unpacked | high[1] << 32
        return place + length if method == _STORED_4 and packed == unpacked == size else -1, checksum
    return _stored_at5(pread, place, size)


def _stored_at5(pread: Pread, place: int, size: int) -> tuple[int, int | None]:
    head = pread(_LONGEST, place)
    found = _header5(head, 0)
    if found is None or found[0] != _FILE_5 or not found[1] & _HAS_DATA or found[1] & _SPLIT_5:
        return -1, None
    _kind, _flags, packed, file_flags, at, end, extra = found
    try:
        unpacked, at = _number(head, at)
        _attributes, at = _number(head, at)
        at += 4 * bool(file_flags & _HAS_TIME_5)
        checksum = int.from_bytes(head[at : at + 4], "little") if file_flags & _HAS_CRC_5 else None
        compression, at = _number(head, at + 4 * bool(file_flags & _HAS_CRC_5))
    except IndexError:
        return -1, None
    encrypted = _has_encryption(head, end - extra, end)
    is_plain = not compression >> 7 & 7 and not file_flags & _NO_FILE_5 and not encrypted
    return place + end if is_plain and packed == unpacked == size else -1, checksum


def _has_encryption(head: bytes, at: int, end: int) -> bool:
    """Whether a record of the extra area says so, or cannot be read."""
    try:
        while at < end:
            length, start = _number(head, at)
            if _number(head, start)[0] == 1 or not length:
                return True
            at = start + length
    except IndexError:
        return True
    return False


def _header5(head: bytes, start: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Type, flags, bytes of data, the type's own flags, where its next field is, where the header ends, and bytes of
    its extra area."""
    try:
        length, at = _number(head, start + 4)
        end = at + length
        if end > len(head) or zlib.crc32(head[start + 4 : end]) != int.from_bytes(
            head[start : start + 4], "little"
        ):
            return None
        kind, at = _number(head, at)
        word, at = _number(head, at)
        extra, at = _number(head, at) if word & _HAS_EXTRA else (0, at)
        packed, at = _number(head, at) if word & _HAS_DATA else (0, at)
        own, at = _number(head, at)
    except IndexError:
        return None
    return kind, word, packed, own, at, end, extra


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, as long as the eighth is set; and what is behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise IndexError("a number without an end")
