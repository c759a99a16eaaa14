"""lzop files byte by byte: blocks are stored, or as the library compresses them."""

from __future__ import annotations

import ctypes
import struct
from typing import Any
from zlib import adler32, crc32

from rofuse_formats.codecs.lzop.blocks import MAGIC

ADLER, CRC = 0x1 | 0x2, 0x100 | 0x200


def compressed(data: bytes) -> bytes:
    library = ctypes.CDLL("liblzo2.so.2")
    output = ctypes.create_string_buffer(len(data) + len(data) // 16 + 64)
    size, memory = ctypes.c_size_t(), ctypes.create_string_buffer(1 << 18)
    source = ctypes.c_char_p(data)
    assert not library.lzo1x_1_compress(
        source, ctypes.c_size_t(len(data)), output, ctypes.byref(size), memory
    )
    return output.raw[: size.value]


def header(
    flags: int, *, method: int = 1, name: bytes = b"", version: int = 0x1040, extra: bytes = b""
) -> bytes:
    flags |= 0x40 if extra else 0
    if version >= 0x0940:
        fields = struct.pack(">HHHBBI", version, 0x20A0, 0x0940, method, 5, flags)
    else:
        fields = struct.pack(">HHBI", version, 0x20A0, method, flags)
    fields += bytes(4) if flags & 0x800 else b""
    fields += bytes(12 if version >= 0x0940 else 8) + bytes((len(name),)) + name
    check = crc32(fields) if flags & 0x1000 else adler32(fields)
    behind = struct.pack(">I", len(extra)) + extra + struct.pack(">I", adler32(extra)) if extra else b""
    return MAGIC + fields + struct.pack(">I", check) + behind


def block(data: bytes, flags: int, *, size: int | None = None, stored: bytes | None = None) -> bytes:
    stored = compressed(data) if stored is None else stored
    stored = stored if len(stored) < len(data) else data
    sums = [function(data) for flag, function in ((0x1, adler32), (0x100, crc32)) if flags & flag]
    if len(stored) < len(data):
        sums += [function(stored) for flag, function in ((0x2, adler32), (0x200, crc32)) if flags & flag]
    lengths = struct.pack(">II", len(data) if size is None else size, len(stored))
    return lengths + b"".join(struct.pack(">I", one) for one in sums) + stored


def file(*pieces: bytes, flags: int = ADLER, **said: Any) -> bytes:
    made = header(flags, **said)
    return made + b"".join(block(piece, flags) for piece in pieces) + bytes(4)
