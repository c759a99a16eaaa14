"""The bytes of an inode image.

Strategy
An image is a header, then *columns*: little-endian integer arrays, each aligned to 8 bytes, in the order of
``COLUMNS``, then two heaps of raw bytes. Where a column lies follows from the counts in the header, so nothing in
an image points to a column and nothing there can point astray. A reader maps the file and casts; it copies nothing.

Rules
- A row of the inode table is an inode; nodeid = row + 1; the root is row 0, nodeid 1.
- Canonical: directories' entries lie breadth first, each directory's in archive order; inodes are numbered in the
  order of the first entry that names them; owners, strings and extents lie in the order of the inodes that use them.
  No padding but zeros, no clock, no chance: the same tree gives the same bytes.
- Columns with one more row than their table (``+1``) are bounds: item i is [column[i], column[i+1]) of what they index.

Tables
- inodes: ``mode`` (type and permission bits), ``owner`` (row of owners), ``nlink``, ``parent`` (nodeid of the
  directory of its first name), ``size`` (bytes; for directories the number of their entries), ``mtime`` +
  ``mtime_ns``, ``data``: a directory's first dirent; else the data word of ``rofuse_formats.entry``.
- dirents, grouped by directory: ``name_at`` (+1, in the names heap), ``child`` (nodeid), ``order``: within a
  directory's group, the dirents sorted by name, as row numbers.
- owners: ``uid``, ``gid``, ``uname``, ``gname`` (rows of strings).
- strings: ``string_at`` (+1, in the texts heap): symlink targets that are not packed, owner names, attribute names and
  values.
- files in pieces: ``pieces_at`` (+1, in extents).
- extents: ``logical``, ``length``, ``offset``, ``stream``.
- members that are compressed by themselves: ``member_at`` (where the format finds it in stream 0), ``packed``
  (compressed bytes), ``member_crc``, ``method`` and ``member_flags`` (the format's own numbers).
- xattrs, by nodeid: ``xattr_node``, ``xattr_name``, ``xattr_value`` (rows of strings).
- times, by nodeid: ``time_node``, ``time_has`` (bits 1 atime, 2 ctime, 4 btime), the three and their nanoseconds.
"""

from __future__ import annotations

import struct

from rofuse_formats.errors import IndexDamagedError

MAGIC = b"RFIMAGE\x02"

INODES, DIRENTS, OWNERS, STRINGS, PIECES, EXTENTS, XATTRS, TIMES, MEMBERS = range(9)
TABLES = 9

# magic; the tables' row counts; bytes of the names and of the texts heap
HEADER = struct.Struct("<8s11Q")

# name, array type code, table, extra rows
COLUMNS: tuple[tuple[str, str, int, int], ...] = (
    ("size", "Q", INODES, 0),
    ("mtime", "q", INODES, 0),
    ("data", "Q", INODES, 0),
    ("owner", "I", INODES, 0),
    ("nlink", "I", INODES, 0),
    ("parent", "I", INODES, 0),
    ("mtime_ns", "I", INODES, 0),
    ("mode", "H", INODES, 0),
    ("name_at", "I", DIRENTS, 1),
    ("child", "I", DIRENTS, 0),
    ("order", "I", DIRENTS, 0),
    ("uid", "I", OWNERS, 0),
    ("gid", "I", OWNERS, 0),
    ("uname", "I", OWNERS, 0),
    ("gname", "I", OWNERS, 0),
    ("string_at", "I", STRINGS, 1),
    ("pieces_at", "I", PIECES, 1),
    ("logical", "Q", EXTENTS, 0),
    ("length", "Q", EXTENTS, 0),
    ("offset", "Q", EXTENTS, 0),
    ("stream", "I", EXTENTS, 0),
    ("member_at", "Q", MEMBERS, 0),
    ("packed", "Q", MEMBERS, 0),
    ("member_crc", "I", MEMBERS, 0),
    ("method", "H", MEMBERS, 0),
    ("member_flags", "H", MEMBERS, 0),
    ("xattr_node", "I", XATTRS, 0),
    ("xattr_name", "I", XATTRS, 0),
    ("xattr_value", "I", XATTRS, 0),
    ("atime", "q", TIMES, 0),
    ("ctime", "q", TIMES, 0),
    ("btime", "q", TIMES, 0),
    ("atime_ns", "I", TIMES, 0),
    ("ctime_ns", "I", TIMES, 0),
    ("btime_ns", "I", TIMES, 0),
    ("time_node", "I", TIMES, 0),
    ("time_has", "H", TIMES, 0),
)

WIDTH = {"H": 2, "I": 4, "Q": 8, "q": 8}

HAS_ATIME, HAS_CTIME, HAS_BTIME = 1, 2, 4

# The two top bits of a regular file's data word say what the rest is; in a symlink's, they are 0 or DATA_MEMBER.
DATA_SHIFT = 62
DATA_OFFSET = 0  # offset in stream 0, see SPAN
DATA_PIECES = 1  # row of the files in pieces
DATA_MEMBER = 2  # row of the members that are compressed by themselves
DATA_MASK = (1 << DATA_SHIFT) - 1

# Where archives lie within an archive, stream 0 is all that files are read from, each at an address of its own: what
# the archive is read from at 0, the first archive within it at SPAN, the next at 2 * SPAN; at NOWHERE nothing, ever.
SPAN_SHIFT = 56
SPAN = 1 << SPAN_SHIFT
MOST_SPANS = 1 << DATA_SHIFT - SPAN_SHIFT
NOWHERE = (MOST_SPANS - 1) << SPAN_SHIFT

MEMBER_STREAM = (1 << 32) - 1  # the stream of the one extent that such a member is
ROOT = 1
HEAP_MAX = (1 << 32) - 1  # bounds of heap items are 32 bits wide


def aligned(size: int) -> int:
    """The next multiple of 8."""
    return (size + 7) & ~7


def places(
    header: bytes | memoryview, total: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[int]]:
    """Where everything lies in an image of ``total`` bytes that starts with ``header``.

    Returns ``(columns, heaps, counts)``: (offset, bytes) of each of COLUMNS and of the two heaps, and the tables'
    row counts. Raises IndexDamagedError when the header is not one, or its counts do not add up to ``total``.
    """
    if len(header) < HEADER.size:
        raise IndexDamagedError("the inode image is shorter than its header")
    magic, *numbers = HEADER.unpack(header[: HEADER.size])
    if magic != MAGIC:
        raise IndexDamagedError("the inode image has another version")
    counts, heap_sizes = numbers[:TABLES], numbers[TABLES:]
    if counts[INODES] < 1:
        raise IndexDamagedError("the inode image has no root")
    position = HEADER.size
    columns = []
    for _name, code, table, extra in COLUMNS:
        size = (counts[table] + extra) * WIDTH[code]
        columns.append((position, size))
        position += aligned(size)
    heaps = []
    for size in heap_sizes:
        heaps.append((position, size))
        position += aligned(size)
    if position != total:
        raise IndexDamagedError(f"the inode image should have {position} bytes and has {total}")
    return columns, heaps, counts
