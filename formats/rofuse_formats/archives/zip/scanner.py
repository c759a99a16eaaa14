"""The loop over the central directory.

It is written for speed: a plain file or directory as the usual tools write them costs two struct calls and a few
dictionary look-ups, a symlink one read besides. What the loop does not know at a glance goes to ``describing``. Where
the directory is missing or damaged, what it lacks is found by the local headers (``rebuilding``).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError
from zlib import crc32

from rofuse_formats.archives.zip import directory, rebuilding
from rofuse_formats.archives.zip.describing import Describer, Entry
from rofuse_formats.archives.zip.extra import unix_ids
from rofuse_formats.archives.zip.local import NAME_MASK, NAME_SHIFT, stored
from rofuse_formats.archives.zip.names import Names
from rofuse_formats.archives.zip.records import (
    CENTRAL,
    CENTRAL_HEADER,
    CENTRAL_NUMBER,
    MAX32,
    SIGNATURE,
    UNIX_LIKE,
    UTF8,
)
from rofuse_formats.archives.zip.times import unix_seconds
from rofuse_formats.entry import Builder, PackedRow, ScanOptions
from rofuse_formats.image.builder import TARGET_MAX
from rofuse_formats.source import Source

_WINDOW = 1 << 20  # bytes of the directory; what is in it is told at once, at most
_HEADER = CENTRAL_HEADER.size
_LONGEST = _HEADER + 3 * 0xFFFF
# As CENTRAL_HEADER, with two numbers of what decides how a member is shown: made by, version needed, flags, method; and
# disk, internal attributes, external attributes.
_FAST_HEADER = Struct("<IQIIIIHHHQI")
_LENGTHS, _LENGTHS_AT = Struct("<HHH"), 28  # of name, extra fields and comment
_ASCII, _SLASHES = 1, 2  # a name must be of ASCII letters; a backslash in it may stand for a slash

# Extra fields as Info-ZIP and libarchive write them on Unix: "UT" with mtime, "ux" with uid and gid of 32 bits.
_USUAL = Struct("<IBi15s")
_USUAL_TAG = int.from_bytes(b"UT\5\0", "little")
_USUAL_IDS = b"ux\x0b\0"

_FAST_METHODS = frozenset((0, 8))
_FAST_FLAGS = 0xFFFF & ~(1 << 0 | 1 << 6 | 1 << 13)  # all but those of encryption
_S_IFREG, _S_IFDIR, _S_IFLNK = 0o100000, 0o040000, 0o120000
_TYPE = 0o170000
_SLASH = ord("/")


class Scanner:
    """One scan of one archive."""

    def __init__(self, source: Source, builder: Builder, options: ScanOptions) -> None:
        self.source, self.builder = source, builder
        self._options = options

    def run(self) -> None:
        """Describes the whole archive. Raises DamagedError when nothing could be read."""
        found = directory.find(self.source)
        if found is None:
            rebuilding.rebuild(self.source, self.builder, self._options)
            return
        names = Names(self._options.encoding, lambda: _unmarked_names(self.source, found))
        describer = Describer(self.source, self.builder, names, found.disks, self._options)
        count, end = self._entries(found, describer)
        complete = count & 0xFFFF == found.entries & 0xFFFF
        if end < found.end and not complete:
            self._damaged(found, end)
        elif not complete:
            self.builder.warn(
                f"the end record tells of {found.entries} members, the central directory of {count}"
            )
        if found.behind:
            self.builder.warn(f"{found.behind} bytes of garbage follow the archive")
        describer.finish()

    def _entries(self, found: directory.Directory, describer: Describer) -> tuple[int, int]:
        """Describes all entries; returns their number and where the last of them ends."""
        describe = describer.describe
        rows: list[PackedRow] = []  # not yet told to the builder
        times, kinds, owners = describer.times, _Kinds(describer), _Owners(describer)
        fields, usual = _FAST_HEADER.unpack_from, _USUAL.unpack_from
        nobody, before = self.builder.implied_owner, found.disks[0]
        position, end, count = found.start, found.end, 0
        buffer, base, size_of_buffer = b"", position, 0
        while position < end:
            at = position - base
            try:
                (
                    signature, made, stamp, crc, packed_size, size, name_size, extra_size, comment_size, what, local,
                ) = fields(buffer, at)  # fmt: skip
                name_at = at + _HEADER
                extra_at = name_at + name_size
                following = extra_at + extra_size + comment_size
            except StructError:
                following = MAX32
            if following > size_of_buffer:
                if base == position and buffer:
                    break  # it reaches beyond the directory's end
                base = position
                self._tell(rows)
                buffer = self.source.pread(min(_WINDOW, end - position), position)
                size_of_buffer = len(buffer)
                if size_of_buffer < min(_LONGEST, end - position):
                    break
                continue
            if signature != CENTRAL_NUMBER:
                break
            position = base + following
            count += 1
            name = buffer[name_at:extra_at]
            owner = -1
            mtime = 0
            if extra_size == 24:
                tag, has, mtime, ids = usual(buffer, extra_at)
                if tag == _USUAL_TAG and has & 1:
                    owner = owners[ids]
                    if mtime < 0:
                        mtime = unix_seconds(mtime, stamp)
            elif not extra_size:
                mtime, owner = times[stamp], nobody
            mode, method, plain_name = kinds[made, what]
            if (
                mode
                and owner >= 0
                and packed_size != MAX32
                and size != MAX32
                and local != MAX32
                and (name.isascii() or not plain_name & _ASCII)
                and (not plain_name & _SLASHES or b"\\" not in name)
            ):
                if name_size and buffer[extra_at - 1] == _SLASH:
                    if mode & _TYPE == _S_IFDIR:
                        rows.append((name, mode, owner, 0, mtime, 0, 0, 0, 0, 0))
                        continue
                elif mode & _TYPE == _S_IFREG:
                    kept = (crc32(name) & NAME_MASK) << NAME_SHIFT  # as local.kept_flags has it
                    rows.append(
                        (name, mode, owner, size, mtime, local + before, packed_size, crc, method, kept)
                    )
                    continue
                elif mode & _TYPE == _S_IFLNK and not method and packed_size == size <= TARGET_MAX:
                    target = stored(self.source, local + before, name, size)
                    if target and crc32(target) == crc:
                        rows.append((name, mode, owner, size, mtime, self.builder.text(target), 0, 0, 0, 0))
                        continue
            self._tell(rows)
            describe(_entry(buffer, at))
        self._tell(rows)
        if end - position >= 6 and self.source.pread(4, position) == SIGNATURE:
            position += 6 + int.from_bytes(self.source.pread(2, position + 4), "little")
        return count, position

    def _tell(self, rows: list[PackedRow]) -> None:
        self.builder.add_packed(rows)
        rows.clear()

    def _damaged(self, found: directory.Directory, position: int) -> None:
        """The directory cannot be read from ``position`` on: what else there is, the local headers say."""
        self.builder.damaged(f"the central directory is damaged at byte {position}", position)
        known = {
            directory.place(found.disks, entry.at, entry.disk): entry.name
            for entry in entries(self.source, found)
        }
        rebuilding.rebuild(self.source, self.builder, self._options, known)


class _Kinds(dict[tuple[int, int], tuple[int, int, int]]):
    """From the numbers of a header that many members share to mode, method, and what the name must not have; mode 0 for
    what the loop does not know."""

    _MANY = 1 << 16

    def __init__(self, describer: Describer) -> None:
        super().__init__()
        self._modes = describer.modes

    def __missing__(self, key: tuple[int, int]) -> tuple[int, int, int]:
        made, flags, method = key[0] & 0xFFFF, key[0] >> 32 & 0xFFFF, key[0] >> 48
        disk, attributes = key[1] & 0xFFFF, key[1] >> 32
        if len(self) >= self._MANY:
            self.clear()
        known = method in _FAST_METHODS and flags & _FAST_FLAGS == flags and not disk
        mode = self._modes[attributes << 8 | made >> 8] if known else 0
        name = (0 if flags & UTF8 else _ASCII) | (0 if made >> 8 in UNIX_LIKE else _SLASHES)
        kind = self[key] = mode, method, name
        return kind


class _Owners(dict[bytes, int]):
    """From a "ux" field with uid and gid of 32 bits to the owner's number; -1 for what is none."""

    _MANY = 1 << 16

    def __init__(self, describer: Describer) -> None:
        super().__init__()
        self._describer = describer

    def __missing__(self, field: bytes) -> int:
        ids = unix_ids(field[4:]) if field.startswith(_USUAL_IDS) else None
        if len(self) >= self._MANY:
            self.clear()
        number = self[field] = -1 if ids is None else self._describer.owner(ids)
        return number


def _entry(buffer: bytes, at: int) -> Entry:
    """The entry at ``at``, all of which is in the buffer."""
    (
        _signature, made, _needed, flags, method, stamp, crc, packed, size, name_size, extra_size,
        _comment_size, disk, _internal, attributes, local,
    ) = CENTRAL_HEADER.unpack_from(buffer, at)  # fmt: skip
    name_at = at + _HEADER
    extra_at = name_at + name_size
    name, extra = buffer[name_at:extra_at], buffer[extra_at : extra_at + extra_size]
    return Entry(name, made >> 8, flags, method, stamp, crc, packed, size, extra, attributes, disk, local)


def entries(source: Source, found: directory.Directory) -> Iterator[Entry]:
    """The entries of a directory, as far as it is intact."""
    position = found.start
    while found.end - position >= _HEADER:
        buffer = source.pread(min(_WINDOW, found.end - position), position)
        at = 0
        while at + _HEADER <= len(buffer):
            if not buffer.startswith(CENTRAL, at):
                return
            end = at + _HEADER + sum(_LENGTHS.unpack_from(buffer, at + _LENGTHS_AT))
            if end > len(buffer):
                break
            yield _entry(buffer, at)
            at = end
        if not at:
            return
        position += at


def _unmarked_names(source: Source, found: directory.Directory) -> Iterator[bytes]:
    return (
        entry.name for entry in entries(source, found) if not entry.flags & UTF8 and not entry.name.isascii()
    )
