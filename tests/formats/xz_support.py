"""xz streams put together from blocks."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Sequence

from rofuse_formats.codecs.xz import layout
from rofuse_formats.codecs.xz.layout import CHECK_SIZES, encoded
from tests.formats.zstd_support import BytesSource

_FIELDS = b"\2\0\x21\1\x16\0\0\0"
EMPTY = _FIELDS + zlib.crc32(_FIELDS).to_bytes(4, "little") + bytes(4)
"""A block of nothing, up to its check: LZMA2's end and padding behind a header."""

CHECKS = (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256)


def block(data: bytes, check: int = lzma.CHECK_CRC64, **options: object) -> tuple[bytes, bytes]:
    """A block that holds ``data``, and its record in an index."""
    whole = lzma.compress(data, check=check, **options)  # type: ignore[arg-type]
    footer = layout.footer(whole[-layout.FOOTER :], 0)
    start = len(whole) - layout.FOOTER - footer.index_length
    if not data:  # the library makes no block of nothing
        empty = EMPTY + (
            hashlib.sha256().digest() if check == lzma.CHECK_SHA256 else bytes(CHECK_SIZES[check])
        )
        return empty, encoded(len(empty) - 3) + encoded(0)
    (record,) = layout.Index(BytesSource(whole), start, footer.index_length).records()
    return whole[layout.HEADER : start], encoded(record.unpadded) + encoded(record.size)


def stream(blocks: Sequence[tuple[bytes, bytes]], check: int = lzma.CHECK_CRC64) -> bytes:
    """A stream of these blocks."""
    records = b"".join(record for _block, record in blocks)
    body = b"".join(block for block, _record in blocks)
    return layout.stream_header(check) + body + layout.stream_ending(records, len(blocks), check)


def of_parts(parts: Sequence[bytes], check: int = lzma.CHECK_CRC64, **options: object) -> bytes:
    """A stream with a block for each part."""
    return stream([block(part, check, **options) for part in parts], check)
