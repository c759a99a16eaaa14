"""The seek index: a header, a table of points, and their packed dictionaries.

Layout, little-endian: a header (magic with version; size of the source, and how much of it is intact; decoded size;
largest window; number of points), the table (one record a point), CRC-32 of both, and the packed dictionaries in the
order of their points.

Rules
- Canonical: the same points give the same bytes.
- Reading it costs O(points) and copies no dictionary; each is checked when it is unpacked.
- What is read is believed only after all of it was found consistent: offsets ascend and lie within the source, sizes
  add up, no dictionary is larger than its window allows.
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from struct import Struct

from rofuse_formats.codecs.zstd import frame
from rofuse_formats.codecs.zstd.points import LARGEST_ENTROPY, Seed
from rofuse_formats.errors import IndexDamagedError

MAGIC = b"ROzstd\0\1"
HEADER = Struct("<8sQQQQQ")
RECORD = Struct("<QQQQIIIB?2x")
CHECKSUM = Struct("<I")


class Point:
    """A place where decoding can start."""

    __slots__ = ("anew", "decoded", "descriptor", "end", "following", "offset", "seed")

    def __init__(
        self,
        decoded: int,
        offset: int,
        descriptor: int = 0,
        end: int = 0,
        following: int = 0,
        seed: Seed | None = None,
        anew: bool = False,
    ) -> None:
        self.decoded = decoded  # offset in the decoded stream
        self.offset = offset  # in the source: of a frame, or of a block where there is a descriptor or a seed
        self.descriptor = descriptor  # Window_Descriptor to decode the rest of the frame with
        self.end = end  # in the source: where the frame's last block ends
        self.following = following  # in the source: where the frame ends
        self.seed = seed  # None at the start of a frame
        self.anew = anew  # whether who comes from before it starts here anew: the frame before is damaged


class Index:
    """An index, read."""

    __slots__ = ("intact", "points", "size", "window")

    def __init__(self, intact: int, size: int, window: int, points: list[Point]) -> None:
        self.intact = intact  # bytes of the source up to its end, or to where it is damaged
        self.size = size
        self.window = window
        self.points = points


def write_index(source_size: int, index: Index) -> bytes:
    parts = [HEADER.pack(MAGIC, source_size, index.intact, index.size, index.window, len(index.points))]
    for point in index.points:
        seed = point.seed
        packed, size, checksum = (len(seed.packed), seed.size, seed.checksum) if seed else (0, 0, 0)
        parts.append(
            RECORD.pack(
                point.decoded,
                point.offset,
                point.end,
                point.following,
                packed,
                size,
                checksum,
                point.descriptor,
                point.anew,
            )
        )
    table = b"".join(parts)
    seeds = [bytes(point.seed.packed) for point in index.points if point.seed]
    return b"".join((table, CHECKSUM.pack(zlib.crc32(table)), *seeds))


def read_index(source_size: int, data: bytes | bytearray | memoryview) -> Index:
    """The index that ``write_index`` wrote. Raises IndexDamagedError."""
    view = memoryview(data).cast("B")
    if len(view) < HEADER.size + CHECKSUM.size:
        raise IndexDamagedError("zstd seek index is too short")
    magic, indexed_size, intact, size, window, count = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise IndexDamagedError("zstd seek index is of another version")
    if indexed_size != source_size:
        raise IndexDamagedError("zstd seek index is of a source of another size")
    end = HEADER.size + count * RECORD.size
    if not 0 < count <= len(view) // RECORD.size or end + CHECKSUM.size > len(view):
        raise IndexDamagedError("zstd seek index has fewer points than it says")
    if CHECKSUM.unpack_from(view, end) != (zlib.crc32(view[:end]),):
        raise IndexDamagedError("zstd seek index fails its checksum")
    at = end + CHECKSUM.size
    points = []
    for record in RECORD.iter_unpack(view[HEADER.size : end]):
        decoded, offset, blocks_end, following, packed, length, checksum, descriptor, anew = record
        seed = Seed(view[at : at + packed], length, checksum) if packed else None
        points.append(Point(decoded, offset, descriptor, blocks_end, following, seed, anew))
        at += packed
    if at != len(view):
        raise IndexDamagedError("zstd seek index does not end with its last dictionary")
    index = Index(intact, size, window, points)
    if intact > source_size:
        raise IndexDamagedError("zstd seek index knows of more than there is")
    _check(index)
    return index


def _check(index: Index) -> None:
    first, last = index.points[0], index.points[-1]
    largest = frame.window_size(frame.window_descriptor(index.window))
    ascending = all(a.decoded < b.decoded and a.offset < b.offset for a, b in pairwise(index.points))
    if (
        first.decoded
        or first.seed
        or not ascending
        or (last.decoded >= index.size > 0)
        or last.offset > index.intact
    ):
        raise IndexDamagedError("zstd seek index has its points in disorder")
    for point in index.points:
        window = frame.window_size(point.descriptor)
        if point.seed and not (
            point.offset < point.end <= point.following <= index.intact
            and window <= largest
            and 8 < point.seed.size <= window + LARGEST_ENTROPY
        ):
            raise IndexDamagedError("zstd seek index has a point that cannot be")
