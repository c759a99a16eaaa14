"""Packs whose checksums are right, whatever else is wrong with them: a FormatError, or an image that can be dumped and
walked, and files that give exactly their bytes or a FormatError. As they are, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import accumulate
from struct import Struct

from rofuse_formats import Limits
from rofuse_formats.archives.pack import FORMAT
from rofuse_formats.archives.pack.blocks import LENGTH
from rofuse_formats.archives.pack.superblock import BLOCKS, IMAGE, SIZE, checksum
from rofuse_formats.errors import FormatError
from rofuse_formats.image import layout
from rofuse_formats.image.dump import dump
from rofuse_formats.image.reader import Image
from rofuse_formats.source import FileSource
from rofuse_formats.streams import BlockCache
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 14
_SECTION, _WORD = Struct("<4Q"), Struct("<Q")
_SECTIONS_AT, _COUNT_AT, _TOTAL_AT = 72, 48, 64
_READ = 1 << 16


def seeds() -> Iterator[bytes]:
    for path in paths(".rpack", MAX_LEN):
        data = path.read_bytes()
        yield data
        yield unpacked(data)


def unpacked(data: bytes) -> bytes:
    """The same pack, its image stored as it is, at the end."""
    image = FORMAT.carried(MemorySource(data), Limits()).image
    copy = bytearray(data + image)
    place = _SECTION.pack(len(data), len(image), len(image), 0)
    copy[_SECTIONS_AT : _SECTIONS_AT + _SECTION.size] = place
    copy[_TOTAL_AT : _TOTAL_AT + 8] = _WORD.pack(len(copy))
    return sealed(bytes(copy))


def sealed(data: bytes) -> bytes:
    """``data`` with the checksums that it should have."""
    copy = bytearray(data)
    if len(copy) < SIZE:
        return data
    offset, stored, decoded, _check = _SECTION.unpack_from(copy, _SECTIONS_AT + BLOCKS * _SECTION.size)
    count = _WORD.unpack_from(copy, _COUNT_AT)[0]
    if stored == decoded == 16 * count and offset + stored <= len(copy):
        words = [int.from_bytes(copy[offset + 4 * row :][:4], "little") & LENGTH for row in range(count)]
        for row, (start, length) in enumerate(zip(accumulate(words, initial=SIZE), words, strict=False)):
            at = offset + 8 * count + 8 * row
            copy[at : at + 8] = _WORD.pack(checksum(bytes(copy[start : start + length])))
    for number in range(IMAGE, 4):
        at = _SECTIONS_AT + number * _SECTION.size
        offset, stored, decoded, _check = _SECTION.unpack_from(copy, at)
        if offset + stored <= len(copy):
            copy[at + 24 : at + 32] = _WORD.pack(checksum(bytes(copy[offset : offset + stored])))
    copy[SIZE - 8 : SIZE] = _WORD.pack(checksum(bytes(copy[: SIZE - 8])))
    return bytes(copy)


def fuzz(data: bytes) -> None:
    FORMAT.recognise(data)
    _open(data)
    _open(sealed(data))


def _open(data: bytes) -> None:
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    os.write(fd, data)
    source = FileSource("fuzz", fd, named=False)
    try:
        carried = FORMAT.carried(source, Limits(max_entries=10_000))
        stream = FORMAT.stream(source, memoryview(carried.blocks), BlockCache(), False)
    except FormatError:
        return
    image = Image(carried.image)
    for _line in dump(image):
        pass
    for _path, node in image.walk():
        image.xattrs(node)
        image.times(node)
        if stat.S_ISREG(image.mode[node - 1]):
            for extent in image.extents(node):
                assert extent.stream != layout.MEMBER_STREAM
                size = min(extent.length, _READ)
                try:
                    found = b"".join(map(bytes, stream.read(extent.offset, size)))
                except FormatError:
                    continue
                assert len(found) == size
