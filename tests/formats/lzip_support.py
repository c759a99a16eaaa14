"""lzip members, made by the library's LZMA encoder."""

from __future__ import annotations

import lzma
import struct
import zlib
from functools import cache


@cache
def member(data: bytes) -> bytes:
    """A member that holds ``data``, with a dictionary of 64 KiB."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2, "preset": 0}]
    # Its .lzma header gives no size, so an end marker follows the data.
    stream = lzma.compress(data, format=lzma.FORMAT_ALONE, filters=filters)[13:]
    length = 6 + len(stream) + 20
    return b"LZIP\1\x10" + stream + struct.pack("<IQQ", zlib.crc32(data), len(data), length)
