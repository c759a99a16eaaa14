"""RAR archives, byte by byte: no free tool makes them. Members are stored.

Facts from the technical notes of RAR 4 and 5.
"""

from __future__ import annotations

import stat
import struct
import zlib
from itertools import pairwise
from typing import NamedTuple

STAMP = 0x576E_7540  # 2023-11-14 14:42: a DOS date and time
SECONDS = 1_700_000_000
EPOCH = 11_644_473_600  # seconds from 1601 to 1970
RAR4, RAR5 = b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\1\0"


class File(NamedTuple):
    name: bytes
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    nanoseconds: int = 0
    """RAR 5 only."""
    target: bytes = b""
    """Of a symbolic link; RAR 5 has it beside, RAR 4 as data."""


# -- RAR 4


def _block4(kind: int, flags: int, body: bytes, follow: int = 0) -> bytes:
    """``follow``: bytes of the header that ``body`` does not have."""
    head = struct.pack("<BHH", kind, flags, 7 + len(body) + follow) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def _file4(file: File, piece: bytes, flags: int = 0, checksum: int | None = None) -> bytes:
    data = file.target or file.data
    crc = zlib.crc32(data) if checksum is None else checksum
    window = 0xE0 if stat.S_ISDIR(file.mode) else 0
    fields = (len(piece), len(data), 3, crc, STAMP, 20, 0x30, len(file.name), file.mode)
    return _block4(0x74, 0x8000 | flags | window, struct.pack("<IIBIIBBHI", *fields) + file.name) + piece


def _main4(flags: int = 0) -> bytes:
    return RAR4 + _block4(0x73, flags, bytes(6))


def rar4(*files: File) -> bytes:
    members = b"".join(_file4(file, file.target or file.data) for file in files)
    return _main4() + members + _block4(0x7B, 0x4000, b"")


def rar4_volumes(file: File, *cuts: int) -> list[bytes]:
    """One file in volumes, cut at these places, with the old names' flag unset."""
    places = [0, *cuts, len(file.data)]
    volumes = []
    for number, (start, end) in enumerate(pairwise(places)):
        piece, is_last = file.data[start:end], end == len(file.data)
        flags = (1 if number else 0) | (0 if is_last else 2)
        checksum = None if is_last else zlib.crc32(piece)
        main = _main4(0x0001 | 0x0010 | (0 if number else 0x0100))
        ending = _block4(0x7B, 0x4000 | (0 if is_last else 1), b"")
        volumes.append(main + _file4(file, piece, flags, checksum) + ending)
    return volumes


# -- RAR 5


def number(value: int) -> bytes:
    found = bytearray()
    while True:
        found.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(found)


def _block5(body: bytes) -> bytes:
    head = number(len(body)) + body
    return struct.pack("<I", zlib.crc32(head)) + head


def _record(kind: int, body: bytes) -> bytes:
    body = number(kind) + body
    return number(len(body)) + body


def _main5(volume: int | None = None) -> bytes:
    flags = number(3) + number(volume) if volume else number(0 if volume is None else 1)
    return RAR5 + _block5(number(1) + number(0) + flags)


def _file5(file: File, piece: bytes, flags: int = 0, checksum: int | None = None) -> bytes:
    extra = b""
    if file.nanoseconds:
        ticks = (SECONDS + EPOCH) * 10_000_000 + file.nanoseconds // 100  # of Windows: the last write's
        extra += _record(3, number(0x02) + struct.pack("<Q", ticks))
    if file.target:
        extra += _record(5, number(1) + number(0) + number(len(file.target)) + file.target)
    is_directory = stat.S_ISDIR(file.mode)
    crc = zlib.crc32(file.data) if checksum is None else checksum
    body = number(2) + number((1 if extra else 0) | 2 | flags)
    body += number(len(extra)) if extra else b""
    body += number(len(piece)) + number(0x02 | (0x01 if is_directory else 0x04)) + number(len(file.data))
    body += number(file.mode) + struct.pack("<I", SECONDS)
    body += b"" if is_directory else struct.pack("<I", crc)
    body += number(0) + number(1) + number(len(file.name)) + file.name
    return _block5(body + extra) + piece


def _end5(*, more: bool = False) -> bytes:
    return _block5(number(5) + number(0) + number(1 if more else 0))


def rar5(*files: File) -> bytes:
    return _main5() + b"".join(_file5(file, file.data) for file in files) + _end5()


def rar5_volumes(file: File, *cuts: int) -> list[bytes]:
    places = [0, *cuts, len(file.data)]
    volumes = []
    for volume, (start, end) in enumerate(pairwise(places)):
        piece, is_last = file.data[start:end], end == len(file.data)
        flags = (8 if volume else 0) | (0 if is_last else 16)
        checksum = None if is_last else zlib.crc32(piece)
        volumes.append(_main5(volume) + _file5(file, piece, flags, checksum) + _end5(more=not is_last))
    return volumes
