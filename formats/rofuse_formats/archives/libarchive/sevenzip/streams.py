"""What of a 7z archive is compressed together, how, and where it lies: the first half of its header.

Rules
- Every count is checked against the bytes that must stand for it before anything is made of it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rofuse_formats.archives.libarchive.sevenzip.reading import Bytes, MisunderstoodError

START = 32
"""Bytes of what an archive begins with; places are counted from there."""
COPY, LZMA, LZMA2, _AES = b"\0", b"\3\1\1", b"\x21", b"\6\xf1\7\1"
_END, _PACK_INFO, _UNPACK_INFO, _SUBSTREAMS, _SIZE, _CRC = 0, 6, 7, 8, 9, 10
_FOLDER, _CODERS_SIZES, _NUM_STREAMS = 11, 12, 13


class Coders(NamedTuple):
    """How a folder is compressed."""

    method: bytes
    """Of the only coder; nothing where there are several."""
    properties: bytes
    outputs: int
    packed: int
    """Streams that it takes from the archive."""
    main: int
    """Which of the outputs is the folder's."""
    is_encrypted: bool


class Folder(NamedTuple):
    """What is compressed together."""

    sizes: list[int]
    """Of its files, in their order; those without bytes are in no folder."""
    place: int
    """Where its bytes begin in the archive, where they lie in it as they are; else -1."""
    checksums: list[int | None]
    """CRC-32 of each file, where the archive has it."""
    coders: Coders
    packed: tuple[int, int]
    """Place and size of the only stream that it takes from the archive, or the first."""


def streams(header: Bytes) -> list[Folder]:
    """What is compressed, in the order of its files."""
    packed: list[tuple[int, int]] = []
    coders: list[Coders] = []
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
            raise MisunderstoodError
    if files is None:
        files, checksums = [[size] for size in sizes], checked
    of_files = iter(checksums)
    found, number = [], 0
    for one, unpacked, of_folder in zip(coders, sizes, files, strict=True):
        if number + one.packed > len(packed):
            raise MisunderstoodError
        place, size = packed[number]
        stored = one.method == COPY and size == unpacked
        sums = [next(of_files, None) for _ in of_folder]
        found.append(Folder(of_folder, place if stored else -1, sums, one, (place, size)))
        number += one.packed
    return found


def _pack_info(header: Bytes) -> list[tuple[int, int]]:
    place, count = START + header.number(), header.count(1)
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
            raise MisunderstoodError
    return found


def _unpack_info(header: Bytes) -> tuple[list[Coders], list[int], list[int | None]]:
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
            raise MisunderstoodError
        checked = _checksums(header, count)
    return coders, sizes, checked


def _coders(header: Bytes) -> Coders:
    count = header.count(1)
    if not 0 < count <= 32:
        raise MisunderstoodError
    inputs = outputs = 0
    method = properties = b""
    is_encrypted = False
    for _ in range(count):
        flags = header.byte()
        method, properties = header.take(flags & 15), b""
        is_encrypted |= method == _AES
        if flags & 0x10:
            ins, outs = header.number(), header.number()
        else:
            ins = outs = 1
        if flags & 0x20:
            properties = header.take(header.count(1))
        if flags & 0x80 or ins > 32 or outs > 32:
            raise MisunderstoodError
        inputs, outputs = inputs + ins, outputs + outs
    bound = {}
    for _ in range(outputs - 1):
        into = header.number()
        bound[header.number()] = into
    packed = inputs - (outputs - 1)
    if packed < 1 or not outputs:
        raise MisunderstoodError
    if packed > 1:
        for _ in range(packed):
            header.number()
    main = next((out for out in range(outputs) if out not in bound), None)
    if main is None:
        raise MisunderstoodError
    return Coders(method if count == 1 else b"", properties, outputs, packed, main, is_encrypted)


def _substreams(
    header: Bytes, sizes: list[int], checked: list[int | None]
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
            raise MisunderstoodError
        found.append([*rest, last] if count else [])
    if tag == _SIZE:
        tag = header.byte()
    alone = [count == 1 and known is not None for count, known in zip(counts, checked, strict=True)]
    others: list[int | None] = []
    while tag != _END:
        if tag != _CRC:
            raise MisunderstoodError
        others = _checksums(header, sum(n for n, one in zip(counts, alone, strict=True) if not one))
        tag = header.byte()
    rest_of = iter(others)
    sums: list[int | None] = []
    for count, one, known in zip(counts, alone, checked, strict=True):
        sums += [known] if one else [next(rest_of, None) for _ in range(count)]
    return found, sums


def _checksums(header: Bytes, count: int) -> list[int | None]:
    known = header.bits(count)
    found = (value for (value,) in struct.iter_unpack("<I", header.take(4 * sum(known))))
    return [next(found) if is_known else None for is_known in known]
