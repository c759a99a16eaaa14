"""The header of a 7z archive, which lies at its end and is compressed, mostly."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable

from rofuse_formats.archives.libarchive.sevenzip.filters import dictionary_of, lzma_filter
from rofuse_formats.archives.libarchive.sevenzip.reading import Bytes, MisunderstoodError
from rofuse_formats.archives.libarchive.sevenzip.streams import COPY, START, Coders, streams
from rofuse_formats.limits import MIB

LARGEST = 256 * MIB
HEADER = 1
_ENCODED = 23
_MOST_TIMES = 4
_SIGNATURE_HEADER = struct.Struct("<6sBBIQQI")
assert _SIGNATURE_HEADER.size == START

Pread = Callable[[int, int], bytes]


def header_of(pread: Pread, size: int, window: int) -> bytes:
    """The header of an archive of ``size`` bytes, decoded by dictionaries of up to ``window`` bytes; it begins with
    ``HEADER``. Raises MisunderstoodError."""
    try:
        data = _next_header(pread, size)
        for _ in range(_MOST_TIMES):
            header = Bytes(data)
            tag = header.byte()
            if tag == HEADER:
                return data
            if tag != _ENCODED:
                break
            data = _decoded(header, pread, size, window)
    except (struct.error, lzma.LZMAError, MemoryError) as error:
        raise MisunderstoodError from error
    raise MisunderstoodError


def with_header(start: bytes, size: int, header: bytes) -> bytes:
    """The first bytes of an archive, ``start``, when ``header`` is to be its header and follows its ``size`` bytes."""
    signature, major, minor, *_rest = _SIGNATURE_HEADER.unpack(start)
    fields = struct.pack("<QQI", size - START, len(header), zlib.crc32(header))
    return struct.pack("<6sBBI", signature, major, minor, zlib.crc32(fields)) + fields


def _next_header(pread: Pread, size: int) -> bytes:
    fields = _SIGNATURE_HEADER.unpack(pread(START, 0))
    offset, length, checksum = fields[4:]
    if length > LARGEST or START + offset + length > size:
        raise MisunderstoodError
    data = pread(length, START + offset)
    if not data or zlib.crc32(data) != checksum:
        raise MisunderstoodError
    return data


def _decoded(header: Bytes, pread: Pread, end: int, window: int) -> bytes:
    found = streams(header)
    if len(found) != 1:
        raise MisunderstoodError
    folder = found[0]
    (place, size), unpacked = folder.packed, sum(folder.sizes)
    if unpacked > LARGEST or size > LARGEST or place + size > end:
        raise MisunderstoodError
    data = pread(size, place)
    if folder.coders.method != COPY:
        data = _decompressed(data, unpacked, folder.coders, window)
    if len(data) != unpacked or folder.checksums not in ([None], [zlib.crc32(data)]):
        raise MisunderstoodError
    return data


def _decompressed(data: bytes, unpacked: int, coders: Coders, window: int) -> bytes:
    dictionary = dictionary_of(coders)
    if dictionary is None or dictionary > window:
        raise MisunderstoodError
    chain = lzma_filter(coders, dictionary)
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain]).decompress(data, unpacked)
