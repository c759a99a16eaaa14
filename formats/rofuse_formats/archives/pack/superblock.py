"""The first 256 bytes of a pack (rofuse-pack(5)), and the sections that they lead to.

Rules
- All numbers are little-endian and unsigned.
- The superblock is checked by itself, each section by its checksum there, each block by its checksum in the section
  ``BLOCKS``. So every byte that means something is checked before it is believed.
- A bit of ``incompatible`` that is not known here says that the pack cannot be read here, one of ``compatible`` that
  something is there that need not be known.
- A section whose two lengths are the same lies there as it is, any other as one zstd frame.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rofuse_formats.archives.pack.frames import Decoder
from rofuse_formats.entry import CARRIED
from rofuse_formats.errors import DamagedError, UnsupportedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

MAGIC = CARRIED + b"pack\r\n\x1a\n"
VERSION = 1
SIZE = 256
PLANES = 1
"""The incompatible feature of an image in planes (``image.planes``)."""
KNOWN = PLANES

IMAGE, BLOCKS, DICTIONARY, PROPERTIES = range(4)
SECTIONS = ("image", "block index", "dictionary", "properties")

LEAST_BLOCK, MOST_BLOCK = 4096, MIB
MOST_DICTIONARY = MIB
MOST_PROPERTIES = MIB
_IMAGE_RATIO = 256  # that an image's columns are compressed to, at most ...
_SMALL_IMAGE = 16 * MIB  # ... unless it is no larger than this
_BLOCK_ENTRY = 16  # bytes of the block index for each

# magic; version, size; incompatible and compatible features; block size, reserved; blocks; decoded bytes; the pack's
# bytes; for each section offset, stored and decoded bytes, checksum; reserved; SHA-256 of all that follows; checksum
_LAYOUT = struct.Struct("<16sIIQQI4xQQQ16Q16x32sQ")
_CHECKED = SIZE - 8
DIGEST_AT = _CHECKED - 32


class Section(NamedTuple):
    offset: int
    stored: int
    """Bytes in the pack."""
    decoded: int
    """Bytes that they hold."""
    checksum: int
    """XXH3 (64 bits) of the stored bytes."""


class Superblock(NamedTuple):
    block_size: int
    blocks: int
    decoded: int
    """Bytes that all blocks hold."""
    total: int
    """Bytes of the pack."""
    sections: tuple[Section, ...]
    """In the order of ``SECTIONS``."""
    digest: bytes = bytes(32)
    """SHA-256 of all bytes behind the superblock."""
    compatible: int = 0
    incompatible: int = PLANES

    def packed(self) -> bytes:
        numbers = [number for section in self.sections for number in section]
        head = _LAYOUT.pack(
            MAGIC,
            VERSION,
            SIZE,
            self.incompatible,
            self.compatible,
            self.block_size,
            self.blocks,
            self.decoded,
            self.total,
            *numbers,
            self.digest,
            0,
        )[:_CHECKED]
        return head + checksum(head).to_bytes(8, "little")


def checksum(data: bytes | memoryview) -> int:
    """XXH3, 64 bits, seed 0."""
    from xxhash import xxh3_64_intdigest  # a pack is not what every mount is of

    return xxh3_64_intdigest(data)


def read(source: Source) -> Superblock:
    """The superblock of a pack. Raises DamagedError, UnsupportedError, OSError."""
    data = source.pread(SIZE, 0)
    if len(data) < SIZE or not data.startswith(MAGIC):
        raise DamagedError("the pack ends within its superblock", 0)
    _magic, version, size, incompatible, compatible, block_size, blocks, decoded, total, *rest = (
        _LAYOUT.unpack(data)
    )
    if version != VERSION or size != SIZE:
        # The one thing that no other version may move; a flipped bit here is told as what it looks like.
        raise UnsupportedError(f"is a pack of version {version}; this program reads version {VERSION}")
    if checksum(data[:_CHECKED]) != rest[-1]:
        raise DamagedError("the pack's superblock is damaged", 0)
    if incompatible & ~KNOWN:
        raise UnsupportedError(
            f"the pack uses features ({incompatible & ~KNOWN:#x}) that a later version knows"
        )
    sections = tuple(Section(*rest[4 * number : 4 * number + 4]) for number in range(len(SECTIONS)))
    found = Superblock(block_size, blocks, decoded, total, sections, rest[16], compatible, incompatible)
    _check(found, source.size)
    return found


def _check(found: Superblock, size: int) -> None:
    if size < found.total:
        raise DamagedError(f"the pack ends at byte {size} of {found.total}", size)
    if not LEAST_BLOCK <= found.block_size <= MOST_BLOCK:
        raise DamagedError(f"the pack claims blocks of {found.block_size} bytes", 0)
    if found.decoded > found.blocks * found.block_size or found.blocks > found.total:
        raise DamagedError("the pack claims more than its blocks can hold", 0)
    image, blocks, dictionary, properties = found.sections
    for name, section in zip(SECTIONS, found.sections, strict=True):
        if not SIZE <= section.offset <= section.offset + section.stored <= found.total:
            raise DamagedError(f"the pack's {name} lies outside of it", section.offset)
        if section.decoded < section.stored:
            raise DamagedError(f"the pack's {name} claims to hold less than it has", section.offset)
    if image.decoded > max(_SMALL_IMAGE, image.stored * _IMAGE_RATIO):
        raise DamagedError("the pack's image cannot hold what it claims", image.offset)
    if blocks.decoded != found.blocks * _BLOCK_ENTRY:
        raise DamagedError("the pack's block index is of other blocks", blocks.offset)
    if dictionary.decoded > MOST_DICTIONARY or properties.decoded > MOST_PROPERTIES:
        raise DamagedError("the pack claims a dictionary or properties beyond any measure", 0)


def section(source: Source, found: Superblock, number: int) -> bytes:
    """What a section holds. Raises DamagedError, MissingLibraryError, OSError."""
    place, name = found.sections[number], SECTIONS[number]
    data = source.pread(place.stored, place.offset)
    if len(data) != place.stored or checksum(data) != place.checksum:
        raise DamagedError(f"the pack's {name} is damaged", place.offset)
    if place.stored == place.decoded:
        return data
    try:
        return Decoder().decode(data, place.decoded)
    except ValueError as error:
        raise DamagedError(f"the pack's {name} is not what it was: {error}", place.offset) from error
