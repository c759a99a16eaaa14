"""The folders of a 7z archive: which files are compressed together, and which lie in it as they are.

libarchive reads all that and tells none of it. Here the header is read once more, as far as that goes (7-Zip's
7zFormat.txt); a header that is compressed is decoded by the standard library.

The target of a symbolic link is compressed with the files, and libarchive decodes all up to it when it comes by the
link. Where there are links, it is therefore given another header, in which they are *masked*: called sockets, which
7z archives do not have, and whose bytes it leaves alone until they are asked for.

Rules
- What is not understood is no error: ``contents`` gives None, and the archive is taken as one piece.
- Every count is checked against the bytes that must stand for it before anything is made of it.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from rofuse_formats.limits import MIB

_SIGNATURE_HEADER = struct.Struct("<6sBBIQQI")
START = _SIGNATURE_HEADER.size
_LARGEST_HEADER = 256 * MIB
_END, _HEADER, _STREAMS, _FILES = 0, 1, 4, 5
_ATTRIBUTES, _HAS_MODE = 21, 0x8000
_PACK_INFO, _UNPACK_INFO, _SUBSTREAMS, _SIZE, _CRC = 6, 7, 8, 9, 10
_FOLDER, _CODERS_SIZES, _NUM_STREAMS, _ENCODED = 11, 12, 13, 23
_COPY, _LZMA, _LZMA2 = b"\0", b"\3\1\1", b"\x21"

Pread = Callable[[int, int], bytes]


class Folder(NamedTuple):
    """What is compressed together."""

    sizes: list[int]
    """Of its files, in their order; those without bytes are in no folder."""
    place: int
    """Where its bytes begin in the archive, where they lie in it as they are; else -1."""
    checksums: list[int | None]
    """CRC-32 of each file, where the archive has it."""


class Contents(NamedTuple):
    """What a header tells."""

    folders: list[Folder]
    """In the order of their files."""
    masked: bytes | None
    """The header, with masked links; None where there are no links."""


class _Coders(NamedTuple):
    method: bytes
    """Of the only coder; nothing where there are several."""
    properties: bytes
    outputs: int
    packed: int
    """Streams that it takes from the archive."""
    main: int
    """Which of the outputs is the folder's."""


class _Misunderstood(Exception):
    pass


class _Bytes:
    """A header, read front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) < size:
            raise _Misunderstood
        self._at += size
        return data

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        at = self._at
        if at >= len(self._data):
            raise _Misunderstood
        self._at = at + 1
        return self._data[at]

    def number(self) -> int:
        """The leading ones of the first byte count the bytes that follow."""
        first = self.byte()
        if first < 0x80:
            return first
        more = 8 - (first ^ 0xFF).bit_length()
        return int.from_bytes(self.take(more), "little") | (first & 0x7F >> more) << 8 * more

    def count(self, each: int = 0) -> int:
        """A number of things, each of which takes so many of the bytes that are left."""
        count = self.number()
        if count * each > len(self._data) - self._at or count > 1 << 25:
            raise _Misunderstood
        return count

    def bits(self, count: int) -> list[bool]:
        """Which are defined: all, or those whose bit is set."""
        if self.byte():
            return [True] * count
        data = self.take((count + 7) // 8)
        return [bool(data[i >> 3] & 0x80 >> (i & 7)) for i in range(count)]

    def expect(self, tag: int) -> None:
        if self.byte() != tag:
            raise _Misunderstood


def contents(pread: Pread, size: int) -> Contents | None:
    """What the header of an archive of ``size`` bytes tells; None where it is not understood."""
    try:
        data = _next_header(pread, size)
        for _ in range(4):
            header = _Bytes(data)
            tag = header.byte()
            if tag == _HEADER:
                return _of_header(header, data)
            if tag != _ENCODED:
                return None
            data = _decoded_header(header, pread)
    except (_Misunderstood, struct.error, lzma.LZMAError, MemoryError):
        pass
    return None


def _next_header(pread: Pread, size: int) -> bytes:
    fields = _SIGNATURE_HEADER.unpack(pread(_SIGNATURE_HEADER.size, 0))
    offset, length, checksum = fields[4:]
    if length > _LARGEST_HEADER or _SIGNATURE_HEADER.size + offset + length > size:
        raise _Misunderstood
    data = pread(length, _SIGNATURE_HEADER.size + offset)
    if not data or zlib.crc32(data) != checksum:
        raise _Misunderstood
    return data


def with_header(start: bytes, size: int, header: bytes) -> bytes:
    """The first bytes of an archive, ``start``, when ``header`` is to be its header and follows its ``size`` bytes."""
    signature, major, minor, *_rest = _SIGNATURE_HEADER.unpack(start)
    fields = struct.pack("<QQI", size - _SIGNATURE_HEADER.size, len(header), zlib.crc32(header))
    return struct.pack("<6sBBI", signature, major, minor, zlib.crc32(fields)) + fields


def _of_header(header: _Bytes, data: bytes) -> Contents | None:
    tag = header.byte()
    if tag == _FILES:
        return Contents([], None)
    if tag != _STREAMS:
        return None
    found = _streams(header)[0]
    try:
        return Contents(found, _masked(header, data))
    except _Misunderstood:
        return Contents(found, None)


def _masked(header: _Bytes, data: bytes) -> bytes | None:
    """``header`` is ``data``, behind the streams."""
    header.expect(_FILES)
    count = header.count()
    while (tag := header.byte()) != _END:
        size = header.count(1)
        if tag != _ATTRIBUTES:
            header.take(size)
            continue
        known = sum(header.bits(count))
        header.expect(0)  # not elsewhere
        place = len(data) - header.left
        words = header.take(4 * known)
        if all(highest >> 4 != stat.S_IFLNK >> 12 for highest in set(words[3::4])):
            return None
        changed = bytearray(data)
        for at, (word,) in enumerate(struct.iter_unpack("<I", words)):
            if word & _HAS_MODE and stat.S_ISLNK(word >> 16):
                mode = stat.S_IFSOCK | stat.S_IMODE(word >> 16)
                struct.pack_into("<H", changed, place + 4 * at + 2, mode)
        return bytes(changed) if changed != data else None
    return None


def _decoded_header(header: _Bytes, pread: Pread) -> bytes:
    found, coders, packed = _streams(header)
    if len(found) != 1 or not coders[0].method:
        raise _Misunderstood
    (place, size), unpacked = packed[0], sum(found[0].sizes)
    if unpacked > _LARGEST_HEADER or size > _LARGEST_HEADER:
        raise _Misunderstood
    data = pread(size, place)
    if coders[0].method == _COPY:
        return data
    if coders[0].method != _LZMA or len(coders[0].properties) != 5:
        raise _Misunderstood
    first, dictionary = struct.unpack("<BI", coders[0].properties)
    if first >= 225 or dictionary > _LARGEST_HEADER:
        raise _Misunderstood
    chain = {
        "id": lzma.FILTER_LZMA1, "lc": first % 9, "lp": first // 9 % 5, "pb": first // 45, "dict_size":
        max(dictionary, 4096)
    }  # fmt: skip
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain]).decompress(data, unpacked)


def _streams(header: _Bytes) -> tuple[list[Folder], list[_Coders], list[tuple[int, int]]]:
    """Folders, how each is compressed, and place and size of the streams in the archive."""
    packed: list[tuple[int, int]] = []
    coders: list[_Coders] = []
    sizes: list[int] = []
    checked: list[int | None] = []
    files: list[list[int]] | None = None
    checksums: list[int | None] = []
    while (tag := header.byte()) != _END:
        if tag == _PACK_INFO:
            packed = _pack_info(header)
        elif tag == _UNPACK_INFO:
            coders, sizes, checked = _unpack_info(header)
        elif tag == _SUBSTREAMS:
            files, checksums = _substreams(header, sizes, checked)
        else:
            raise _Misunderstood
    if files is None:
        files, checksums = [[size] for size in sizes], checked
    of_files = iter(checksums)
    found, number = [], 0
    for one, unpacked, of_folder in zip(coders, sizes, files, strict=True):
        if number + one.packed > len(packed):
            raise _Misunderstood
        place, size = packed[number] if one.packed else (-1, -1)
        stored = one.method == _COPY and size == unpacked
        sums = [next(of_files, None) for _ in of_folder]
        found.append(Folder(of_folder, place if stored else -1, sums))
        number += one.packed
    return found, coders, packed


def _pack_info(header: _Bytes) -> list[tuple[int, int]]:
    place, count = _SIGNATURE_HEADER.size + header.number(), header.count(1)
    found: list[tuple[int, int]] = []
    while (tag := header.byte()) != _END:
        if tag == _SIZE:
            for _ in range(count):
                size = header.number()
                found.append((place, size))
                place += size
        elif tag == _CRC:
            _checksums(header, count)
        else:
            raise _Misunderstood
    return found


def _unpack_info(header: _Bytes) -> tuple[list[_Coders], list[int], list[int | None]]:
    header.expect(_FOLDER)
    count = header.count(2)
    header.expect(0)  # not elsewhere
    coders = [_coders(header) for _ in range(count)]
    header.expect(_CODERS_SIZES)
    sizes = []
    for one in coders:
        outputs = [header.number() for _ in range(one.outputs)]
        sizes.append(outputs[one.main])
    checked: list[int | None] = [None] * count
    while (tag := header.byte()) != _END:
        if tag != _CRC:
            raise _Misunderstood
        checked = _checksums(header, count)
    return coders, sizes, checked


def _coders(header: _Bytes) -> _Coders:
    count = header.count(1)
    if not 0 < count <= 32:
        raise _Misunderstood
    inputs = outputs = 0
    method = properties = b""
    for _ in range(count):
        flags = header.byte()
        method, properties = header.take(flags & 15), b""
        if flags & 0x10:
            ins, outs = header.number(), header.number()
        else:
            ins = outs = 1
        if flags & 0x20:
            properties = header.take(header.count(1))
        if flags & 0x80 or ins > 32 or outs > 32:
            raise _Misunderstood
        inputs, outputs = inputs + ins, outputs + outs
    bound = {}
    for _ in range(outputs - 1):
        into = header.number()
        bound[header.number()] = into
    packed = inputs - (outputs - 1)
    if packed < 1 or not outputs:
        raise _Misunderstood
    if packed > 1:
        for _ in range(packed):
            header.number()
    main = next((out for out in range(outputs) if out not in bound), None)
    if main is None:
        raise _Misunderstood
    return _Coders(method if count == 1 else b"", properties, outputs, packed, main)


def _substreams(
    header: _Bytes, sizes: list[int], checked: list[int | None]
) -> tuple[list[list[int]], list[int | None]]:
    """The sizes of the files of each folder; the checksums of all files. One that is alone in its folder has the
    folder's, where that has one."""
    tag = header.byte()
    counts = [1] * len(sizes)
    if tag == _NUM_STREAMS:
        counts = [header.count() for _ in sizes]
        tag = header.byte()
    found: list[list[int]] = []
    for count, size in zip(counts, sizes, strict=True):
        rest = [header.number() for _ in range(count - 1)] if tag == _SIZE else []
        last = size - sum(rest)
        if last < 0 or (count > 1 and tag != _SIZE):
            raise _Misunderstood
        found.append([*rest, last] if count else [])
    if tag == _SIZE:
        tag = header.byte()
    alone = [count == 1 and known is not None for count, known in zip(counts, checked, strict=True)]
    others: list[int | None] = []
    while tag != _END:
        if tag != _CRC:
            raise _Misunderstood
        others = _checksums(header, sum(n for n, one in zip(counts, alone, strict=True) if not one))
        tag = header.byte()
    rest_of = iter(others)
    sums: list[int | None] = []
    for count, one, known in zip(counts, alone, checked, strict=True):
        sums += [known] if one else [next(rest_of, None) for _ in range(count)]
    return found, sums


def _checksums(header: _Bytes, count: int) -> list[int | None]:
    known = header.bits(count)
    found = (value for (value,) in struct.iter_unpack("<I", header.take(4 * sum(known))))
    return [next(found) if is_known else None for is_known in known]
