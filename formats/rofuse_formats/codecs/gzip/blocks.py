"""bgzip's members: at most 64 KiB of output, their whole size in the header (the SAM specification, §4.1, calls them
blocks). Each is decoded at one stroke; one that is damaged costs its own output and no more, because where the next one
starts, and where its output does, is known nevertheless.

Rules
- A size is believed only where a member, or nothing, follows it.
- What is not wholly in order is none of this module's business unless both are known; then its output counts as
  suspect, and what of it cannot be had is zeros.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from rofuse_formats.codecs.gzip import member
from rofuse_formats.deflate import inflate
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.errors import DamagedError

LARGEST = 1 << 16  # bytes of output


class Block(NamedTuple):
    data: bytes
    damage: DamagedError | None


def block(feed: Feed, offset: int, header: member.Header) -> Block | None:
    """The member at ``offset``, whose ``header.size`` is not 0; None where it is to be decoded as any other."""
    index = feed.at(offset, header.size + len(member.MAGIC))
    end = index + header.size
    following = feed.data[end : end + len(member.MAGIC)]
    if end > len(feed.data) or not (not following or member.could_start(following)):
        return None
    start, trailer = index + header.length, end - member.TRAILER.size
    if start >= trailer:
        return None
    crc, size = member.TRAILER.unpack_from(feed.data, trailer)
    data = _decoded(memoryview(feed.data)[start:trailer])
    if data is not None and zlib.crc32(data) == crc:
        return Block(data, None if len(data) == size else member.failed_check(offset + trailer - index))
    if size > LARGEST:
        return None
    if data is not None:
        return Block(data[:size].ljust(size, b"\0"), member.failed_check(offset + trailer - index))
    place = offset + header.length
    return Block(bytes(size), DamagedError(f"gzip block at offset {place} is damaged", place))


def _decoded(stream: memoryview) -> bytes | None:
    """What exactly this deflate stream decodes to, if that is no more than a block may hold."""
    for library in (inflate.fastest(), inflate.ZLIB):  # zlib has the last word
        decompressor = library.decompressor()
        try:
            data = decompressor.decompress(stream, LARGEST + 1)
        except library.error:
            continue
        if decompressor.eof and not decompressor.unused_data:
            return data
    return None
