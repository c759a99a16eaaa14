"""LZ4 frames put together by hand."""

from __future__ import annotations

import lz4.block
import lz4.frame
import xxhash

from rofuse_formats.codecs.lz4 import CODEC
from rofuse_formats.codecs.lz4.cursor import Stream
from rofuse_formats.codecs.lz4.first_pass import FirstPass
from rofuse_formats.codecs.lz4.frame import LEGACY_MAGIC, MAGIC
from rofuse_formats.limits import Limits
from tests.formats.codec_support import KIB, BytesSource, output_of

BLOCK = 64 * KIB  # the block size of all frames made here


def decoded(data: bytes, spacing: int = 1, share: int = 0) -> tuple[bytes, FirstPass]:
    return output_of(FirstPass(BytesSource(data), spacing=spacing, share=share))


def opened(data: bytes, first_pass: FirstPass) -> Stream:
    return CODEC.open(BytesSource(data), first_pass.index(), Limits())


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


def header(flags: int, rest: bytes = b"") -> bytes:
    """A frame header with these flags (the version is added) for blocks of 64 KiB, with the right checksum."""
    descriptor = bytes((0x40 | flags, 0x40)) + rest
    return MAGIC + descriptor + bytes((xxhash.xxh32_intdigest(descriptor) >> 8 & 0xFF,))


def block(data: bytes, *, plain: bool = False, checksum: bool = False) -> bytes:
    """A block of its own."""
    stored = data if plain else bytes(lz4.block.compress(data, store_size=False))
    size = word(len(stored) | plain << 31)
    return size + stored + (word(xxhash.xxh32_intdigest(stored)) if checksum else b"")


def legacy(*blocks: bytes) -> bytes:
    return LEGACY_MAGIC + b"".join(map(block, blocks))


def skippable(size: int, number: int = 0) -> bytes:
    return word(0x184D2A50 + number) + word(size) + bytes(size)


def frame(
    data: bytes,
    *,
    linked: bool = False,
    block_checksum: bool = False,
    content_checksum: bool = False,
    content_size: bool = False,
) -> bytes:
    """A frame of blocks of 64 KiB."""
    made = lz4.frame.compress(
        data,
        block_size=lz4.frame.BLOCKSIZE_MAX64KB,
        block_linked=linked,
        block_checksum=block_checksum,
        content_checksum=content_checksum,
        store_size=content_size,
    )
    return bytes(made)


def block_offsets(made: bytes) -> list[int]:
    """Where the blocks of a frame begin, and its end mark."""
    flags = made[4]
    offset = 7 + (8 if flags & 8 else 0)
    offsets = [offset]
    while made[offset : offset + 4] != bytes(4):
        size = int.from_bytes(made[offset : offset + 4], "little") & 0x7FFFFFFF
        offset += 4 + size + (4 if flags & 16 else 0)
        offsets.append(offset)
    return offsets
