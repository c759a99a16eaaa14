"""The form in which a codec's seek points are kept.

Layout, little-endian: a header (magic of the codec with its version; size of the source, and how much of it is intact;
decoded size; a word of the codec's own; number of points), a record a point, CRC-32 of both, and the packed windows in
the order of their points.

Rules
- Canonical: the same points give the same bytes.
- Reading it costs O(points) and copies no window; each is checked when it is unpacked.
- What is read is believed only after all of it was found consistent: decoded offsets ascend from 0, sizes add up, no
  window is larger than the codec allows. What ``offset``, ``detail`` and ``word`` mean is the codec's affair, and so is
  checking them.
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from rofuse_formats.errors import IndexDamagedError

HEADER = Struct("<8sQQQQQ")
RECORD = Struct("<QQQIII4x")
CHECKSUM = Struct("<I")
LEVEL = 9  # of packed windows: they are written once and read at every jump


class Window(NamedTuple):
    """Output before a point that its decoder refers to, zstd-compressed."""

    packed: bytes | memoryview
    size: int
    checksum: int
    """CRC-32 of ``packed``."""

    @classmethod
    def pack(cls, data: bytes | memoryview) -> Window:
        import zstandard

        packed = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False).compress(data)
        packed = bytes(memoryview(packed))  # the library's own is as large in memory as it could have become
        return cls(packed, len(data), zlib.crc32(packed))

    def unpack(self) -> bytes:
        """Raises IndexDamagedError."""
        import zstandard

        if zlib.crc32(self.packed) != self.checksum:
            raise IndexDamagedError("seek index has a damaged window")
        try:
            data = zstandard.ZstdDecompressor().stream_reader(self.packed).read(self.size + 1)
        except zstandard.ZstdError as error:
            raise IndexDamagedError("seek index has a window that cannot be unpacked") from error
        if len(data) != self.size:
            raise IndexDamagedError("seek index has a window of another size")
        return data


class Point(NamedTuple):
    """A place where decoding can start."""

    decoded: int
    """Offset in the decoded stream."""
    offset: int
    """Place in the source, in the codec's unit (bytes, bits)."""
    detail: int = 0
    """Whatever else the codec must know there."""
    window: Window | None = None


class SeekIndex(NamedTuple):
    source_size: int
    intact: int
    """Bytes of the source up to its end, or to where it is damaged."""
    size: int
    """Decoded bytes in all."""
    word: int
    points: list[Point]


def write(magic: bytes, index: SeekIndex) -> bytes:
    """``magic``: eight bytes, the codec's name and the version of what it keeps."""
    parts = [HEADER.pack(magic, index.source_size, index.intact, index.size, index.word, len(index.points))]
    for point in index.points:
        packed, size, checksum = (
            (len(point.window.packed), point.window.size, point.window.checksum)
            if point.window
            else (0, 0, 0)
        )
        parts.append(RECORD.pack(point.decoded, point.offset, point.detail, packed, size, checksum))
    table = b"".join(parts)
    windows = [bytes(point.window.packed) for point in index.points if point.window]
    return b"".join((table, CHECKSUM.pack(zlib.crc32(table)), *windows))


def read(
    magic: bytes, data: bytes | bytearray | memoryview, source_size: int, most_window: int = 0
) -> SeekIndex:
    """The index that ``write`` wrote, for a source of this size. Raises IndexDamagedError."""
    view = memoryview(data).cast("B")
    if len(view) < HEADER.size + CHECKSUM.size:
        raise IndexDamagedError("seek index is too short")
    found, indexed_size, intact, size, word, count = HEADER.unpack_from(view)
    if found != magic:
        raise IndexDamagedError("seek index is of another version")
    if indexed_size != source_size:
        raise IndexDamagedError("seek index is of a source of another size")
    end = HEADER.size + count * RECORD.size
    if not 0 < count <= len(view) // RECORD.size or end + CHECKSUM.size > len(view):
        raise IndexDamagedError("seek index has fewer points than it says")
    if CHECKSUM.unpack_from(view, end) != (zlib.crc32(view[:end]),):
        raise IndexDamagedError("seek index fails its checksum")
    at, points = end + CHECKSUM.size, []
    for decoded, offset, detail, packed, length, checksum in RECORD.iter_unpack(view[HEADER.size : end]):
        window = Window(view[at : at + packed], length, checksum) if packed else None
        if length > most_window:
            raise IndexDamagedError("seek index has a window that is too large")
        points.append(Point(decoded, offset, detail, window))
        at += packed
    if at != len(view):
        raise IndexDamagedError("seek index does not end with its last window")
    ascending = all(a.decoded < b.decoded for a, b in pairwise(points))
    if points[0].decoded or not ascending or (points[-1].decoded >= size > 0) or intact > source_size:
        raise IndexDamagedError("seek index has its points in disorder")
    return SeekIndex(indexed_size, intact, size, word, points)
