"""Many entries of the central directory at once, column by column.

Strategy
A stretch of the directory is cut apart at the signatures of its entries; as far as each piece is as long as its header
says, those are where the entries begin. The fixed parts of all headers, put together, are a table, of which a field is
taken a byte at a time (``lanes``): every forty-second byte from some place on is that byte of all entries. So there is
no step of Python's for each entry; only their names are objects.

Here is known what the usual tools write: plain files, directories and symlinks, without extra fields or with those of
Info-ZIP and libarchive on Unix. Which rows are something else is told, too: those are for ``describing``.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from operator import itemgetter, ne
from typing import NamedTuple

from rofuse_formats.archives.zip.describing import Describer
from rofuse_formats.archives.zip.extra import unix_ids
from rofuse_formats.archives.zip.local import NAME_MASK, NAME_SHIFT, stored
from rofuse_formats.archives.zip.records import CENTRAL, CENTRAL_HEADER, MAX32, UNIX_LIKE, UTF8
from rofuse_formats.archives.zip.times import unix_seconds
from rofuse_formats.checksum import crc32
from rofuse_formats.entry import Builder, PackedColumns
from rofuse_formats.lanes import column, common, looked_up, low_halves, shifted, sums
from rofuse_formats.limits import TARGET_MAX
from rofuse_formats.source import Source

# Where the fields of a header are, without its signature.
_HEAD = CENTRAL_HEADER.size - len(CENTRAL)
_METHOD, _STAMP, _CRC, _PACKED, _SIZE = range(6, 8), range(8, 12), range(12, 16), range(16, 20), range(20, 24)
_LENGTHS = range(24, 26), range(26, 28), range(28, 30)  # of name, extra fields and comment
_DISK, _AT = range(30, 32), range(38, 42)
_KIND = (1, 4, 5, 6, *range(34, 38))  # system, flags, the lower byte of the method, external attributes
_ELSE_ZERO = (_METHOD[1], *_DISK)
_FIXED_PART = itemgetter(slice(_HEAD))

# Extra fields as Info-ZIP and libarchive write them on Unix: "UT" with mtime, "ux" with uid and gid of 32 bits.
_USUAL = 24
_TIME_TAG, _MTIME, _IDS = range(5), range(5, 9), range(9, 24)
_TIME, _HAS_MTIME = b"UT\5\0", 1
_OWNER = b"ux\x0b\0"

_METHODS = frozenset((0, 8))
_FLAGS = 0xFFFF & ~(1 << 0 | 1 << 6 | 1 << 13)  # all but those of encryption
_TYPES = frozenset((stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK))
_MANY = 1 << 16
_AHEAD = 1 << 13
_MOST_KINDS = 0xFF  # in one window; what is of another is odd


class Window(NamedTuple):
    """The entries that a stretch of the directory begins with."""

    members: PackedColumns
    sizes: array[int]
    """Bytes of each, without its signature."""
    odd: list[int]
    """Those of which ``members`` say nothing, ascending."""


class Columns:
    """Reads the central directory of one archive."""

    def __init__(self, source: Source, builder: Builder, describer: Describer, before: int) -> None:
        """``before``: bytes before the archive."""
        self.ahead, self.builder, self.describer, self.before = _Ahead(source), builder, describer, before
        self.kinds, self.owners = _Kinds(describer), _Owners(describer)

    def window(self, buffer: bytes) -> Window | None:
        """The entries that ``buffer`` begins with, up to the first that is not whole, or has what looks like a
        signature in it. None where that is the first. Raises OSError."""
        before, *pieces = buffer.split(CENTRAL)
        if before or not pieces:
            return None
        sizes = array("I", list(map(len, pieces)))
        if min(sizes) < _HEAD:  # as a rule the last
            pieces = pieces[: _first(map(_HEAD.__gt__, sizes), len(sizes))]
        heads = b"".join(map(_FIXED_PART, pieces))
        fixed = array("I", (_HEAD,)) * len(pieces)
        names, extras, comments = (column("I", heads, _HEAD, field) for field in _LENGTHS)
        said = sums((fixed, names, extras, comments))
        count = len(said) - 1  # as a rule the last is not whole
        if said[:count] != sizes[:count] or said[count:] == sizes[count:]:
            count = _first(map(ne, said, sizes), len(said))
        if count <= 0:
            return None
        entries = _Entries(pieces[:count], heads[: count * _HEAD], names, extras, comments)
        rows = _Rows(self, entries)
        return Window(rows.members(), sizes[:count], sorted(rows.odd))


class _Entries:
    """Entries that are what their headers say. ``names``, ``extras`` and ``comments``: lengths, of these at least."""

    def __init__(
        self,
        pieces: list[bytes],
        heads: bytes,
        names: array[int],
        extras: array[int],
        comments: array[int],
    ) -> None:
        self.count, self.heads, self._pieces = len(pieces), heads, pieces
        self.extra_sizes = extras[: self.count]
        known = {*self.extra_sizes}
        self._alike = len(known) == 1 and not any(comments)
        if self._alike:
            self._extra = known.pop()
            self.names = list(map(itemgetter(slice(_HEAD, -self._extra or None)), pieces))
        else:
            self._ends = list(map(_HEAD.__add__, names[: self.count]))
            self.names = [piece[_HEAD:end] for piece, end in zip(pieces, self._ends, strict=True)]

    def extra_fields(self, rows: Sequence[int]) -> bytes:
        """Those of some rows, together."""
        pieces = self._pieces
        if self._alike:
            return b"".join(map(itemgetter(slice(-self._extra, None)), pieces))
        starts = map(self._ends.__getitem__, rows)
        sizes = map(self.extra_sizes.__getitem__, rows)
        return b"".join(
            [pieces[row][start : start + size] for row, start, size in zip(rows, starts, sizes, strict=True)]
        )

    def field(self, code: str, places: Sequence[int]) -> array[int]:
        return column(code, self.heads, _HEAD, places)

    def field_of(self, row: int, places: range) -> int:
        """A field of one row."""
        start = row * _HEAD
        return int.from_bytes(self.heads[start + places[0] : start + places[-1] + 1], "little")


class _Rows:
    """What is known of the entries of a window. ``odd`` is, when the members are."""

    def __init__(self, columns: Columns, entries: _Entries) -> None:
        self._columns, self._entries = columns, entries
        keys = entries.field("Q", _KIND)
        found = list(set(keys))
        self._known = [*map(columns.kinds.__getitem__, found[:_MOST_KINDS]), _ODD]
        numbers = dict.fromkeys(found, _MOST_KINDS) | dict(zip(found, range(_MOST_KINDS), strict=False))
        self._kinds = bytes(map(numbers.__getitem__, keys))  # of each row, by its number in what is known
        self.odd: set[int] = set()

    def members(self) -> PackedColumns:
        entries, before = self._entries, self._columns.before
        modes = looked_up("H", [kind.mode for kind in self._known], self._kinds)
        self.odd.update(self._rows_where([not kind.mode for kind in self._known]))
        sizes, packed, ats = (self._number(field) for field in (_SIZE, _PACKED, _AT))
        crcs, methods = entries.field("I", _CRC), entries.field("H", _METHOD)
        for place in _ELSE_ZERO:
            self._demand((0,), entries.heads[place::_HEAD])
        owners, mtimes = self._owners_and_mtimes()
        directories = self._rows_of(stat.S_IFDIR)
        self._check_names(directories)
        if before:
            ats = array("Q", map(before.__add__, ats))
        for row in directories:
            sizes[row] = ats[row] = 0
        for row in self._rows_of(stat.S_IFLNK):
            if row not in self.odd and not self._read_link(row, ats, sizes[row], packed[row], crcs[row]):
                self.odd.add(row)
        members = ats, packed, crcs, methods, _kept_flags(entries.names)
        return PackedColumns(entries.names, modes, owners, sizes, mtimes, members)

    def _number(self, places: range) -> array[int]:
        """A field of 32 bits. Where zip64 says what it is, it is odd."""
        values = self._entries.field("Q", places)
        if 0xFF in self._entries.heads[places[-1] :: _HEAD]:
            self.odd.update(row for row, value in enumerate(values) if value == MAX32)
        return values

    def _demand(self, known: Collection[int], values: Sequence[int]) -> None:
        """All rows with other values are odd."""
        if not {*values}.issubset(known):
            self.odd.update(row for row, value in enumerate(values) if value not in known)

    def _rows_of(self, kind: int) -> list[int]:
        """The rows of this type."""
        return self._rows_where([stat.S_IFMT(known.mode) == kind for known in self._known])

    def _rows_where(self, wanted: list[bool]) -> list[int]:
        """The rows of these kinds."""
        if not any(wanted):
            return []
        return list(compress(range(self._entries.count), looked_up("B", wanted, self._kinds)))

    # -- names and targets -----------------------------------------------------------------------------------

    def _check_names(self, directories: list[int]) -> None:
        """Whoever is called like a directory must be one, and the other way round; and all letters must be known."""
        names, odd = self._entries.names, self.odd
        together = b"\0".join(names) + b"\0"
        as_usual = together.count(b"\0") == len(names) and together.count(b"/\0") == len(directories)
        if not as_usual or not all(names[row].endswith(b"/") for row in directories):
            called = {row for row, name in enumerate(names) if name.endswith(b"/")}
            odd |= called.symmetric_difference(directories)
        if not together.isascii():
            doubted = [kind.ascii for kind in self._known]
            odd.update(row for row in self._rows_where(doubted) if not names[row].isascii())
        if b"\\" in together:
            doubted = [kind.slashes for kind in self._known]
            odd.update(row for row in self._rows_where(doubted) if b"\\" in names[row])

    def _read_link(self, row: int, ats: array[int], size: int, packed: int, crc: int) -> bool:
        """Tells the builder the target of a symlink, which becomes its place; False where it is not stored as it
        is."""
        if self._entries.field_of(row, _METHOD) or packed != size or size > TARGET_MAX:
            return False
        target = stored(self._columns.ahead, ats[row], self._entries.names[row], size)
        if not target or crc32(target) != crc:
            return False
        ats[row] = self._columns.builder.text(target)
        return True

    # -- extra fields ----------------------------------------------------------------------------------------

    def _owners_and_mtimes(self) -> tuple[array[int], array[int]]:
        sizes, count = self._entries.extra_sizes, self._entries.count
        found = {*sizes}
        known = {size: read for size, read in ((0, self._untold), (_USUAL, self._told)) if size in found}
        if len(found) == len(known) == 1:
            return known.popitem()[1](range(count))
        self._demand(known, sizes)
        owners, mtimes = array("I", bytes(4 * count)), array("q", bytes(8 * count))
        for size, read in known.items():
            rows = [row for row, value in enumerate(sizes) if value == size]
            for row, owner, mtime in zip(rows, *read(rows), strict=True):
                owners[row], mtimes[row] = owner, mtime
        return owners, mtimes

    def _untold(self, rows: Sequence[int]) -> tuple[array[int], array[int]]:
        """Of rows without extra fields."""
        stamps = map(self._entries.field("I", _STAMP).__getitem__, rows)
        mtimes = array("q", list(map(self._columns.describer.times.__getitem__, stamps)))
        return array("I", (self._columns.builder.implied_owner,)) * len(rows), mtimes

    def _told(self, rows: Sequence[int]) -> tuple[array[int], array[int]]:
        """Of rows with the usual extra fields; odd where they are others."""
        fields = self._entries.extra_fields(rows)
        tag = common(fields, _USUAL, _TIME_TAG)
        if tag is None or not _is_time(tag):
            tags = (fields[at : at + len(_TIME_TAG)] for at in range(0, len(fields), _USUAL))
            self.odd.update(row for row, tag in zip(rows, tags, strict=True) if not _is_time(tag))
        mtimes = column("q", fields, _USUAL, _MTIME)
        signs = fields[_MTIME[-1] :: _USUAL]
        if not signs.isascii():
            for number in compress(range(len(rows)), map(0x80.__and__, signs)):
                stamp = self._entries.field_of(rows[number], _STAMP)
                mtimes[number] = unix_seconds(mtimes[number] - (1 << 32), stamp)
        return self._owners(rows, fields), mtimes

    def _owners(self, rows: Sequence[int], fields: bytes) -> array[int]:
        known, ids = self._columns.owners, common(fields, _USUAL, _IDS)
        if ids is not None and known[ids] >= 0:
            return array("I", (known[ids],)) * len(rows)
        numbers = [known[fields[at : at + len(_IDS)]] for at in range(_IDS[0], len(fields), _USUAL)]
        self.odd.update(row for row, number in zip(rows, numbers, strict=True) if number < 0)
        return array("I", [max(number, 0) for number in numbers])


def _is_time(tag: bytes) -> bool:
    return tag.startswith(_TIME) and tag[-1] & _HAS_MTIME != 0


def _first(conditions: Iterable[bool], count: int) -> int:
    """The number of the first that holds, of ``count``; their number where none does."""
    return next(compress(range(count), conditions), count)


def _kept_flags(names: list[bytes]) -> array[int]:
    """As ``local.kept_flags`` has them, of what is not encrypted."""
    crcs = array("I", list(map(crc32, names)))
    return low_halves("H", shifted(crcs, NAME_SHIFT, NAME_MASK << NAME_SHIFT))


class _Ahead:
    """A source that reads more than it is asked for: the targets of symlinks often lie close together."""

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self._source, self._data, self._start = source, b"", 0

    def pread(self, size: int, offset: int, /) -> bytes:
        if not self._start <= offset <= self._start + len(self._data) - size:
            self._data, self._start = self._source.pread(max(size, _AHEAD), offset), offset
        at = offset - self._start
        return self._data[at : at + size]


class _Kind(NamedTuple):
    """What many members share. ``mode``: 0 where it is odd. ``ascii``: whether a name must be of ASCII letters;
    ``slashes``: whether a backslash in it may stand for a slash."""

    mode: int
    ascii: bool
    slashes: bool


_ODD = _Kind(0, False, False)


class _Kinds(dict[int, _Kind]):
    """By the fields of _KIND, as one number."""

    def __init__(self, describer: Describer) -> None:
        super().__init__()
        self._modes = describer.modes

    def __missing__(self, key: int) -> _Kind:
        system, flags, method, attributes = key & 0xFF, key >> 8 & 0xFFFF, key >> 24 & 0xFF, key >> 32
        mode = self._modes[attributes << 8 | system]
        if method not in _METHODS or flags & ~_FLAGS or stat.S_IFMT(mode) not in _TYPES:
            mode = 0
        if len(self) >= _MANY:
            self.clear()
        kind = self[key] = _Kind(mode, not flags & UTF8, system not in UNIX_LIKE)
        return kind


class _Owners(dict[bytes, int]):
    """From a "ux" field with uid and gid of 32 bits to the owner's number; -1 for what is none."""

    def __init__(self, describer: Describer) -> None:
        super().__init__()
        self._describer = describer

    def __missing__(self, field: bytes) -> int:
        ids = unix_ids(field[4:]) if field.startswith(_OWNER) else None
        if len(self) >= _MANY:
            self.clear()
        number = self[field] = -1 if ids is None else self._describer.owner(ids)
        return number
