"""The loop over the central directory.

A stretch of it at a time is read; the entries that ``columns`` knows are told at once, the others go to ``describing``
one by one, in their places between those. Where the directory is missing or damaged, what it lacks is found by the
local headers (``rebuilding``).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from rofuse_formats.archives.zip import directory, rebuilding
from rofuse_formats.archives.zip.columns import Columns, Window
from rofuse_formats.archives.zip.describing import Describer, Entry
from rofuse_formats.archives.zip.names import Names
from rofuse_formats.archives.zip.records import CENTRAL, CENTRAL_HEADER, SIGNATURE, UTF8
from rofuse_formats.entry import Builder, ScanOptions
from rofuse_formats.source import Source

_WINDOW = 1 << 20  # bytes of the directory that are read at once; more than an entry can have
_HEADER = CENTRAL_HEADER.size
_LENGTHS, _LENGTHS_AT = Struct("<HHH"), 28  # of name, extra fields and comment


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
        columns = Columns(self.source, self.builder, describer, found.disks[0])
        position, count = found.start, 0
        while position < found.end:
            buffer = self.source.pread(min(_WINDOW, found.end - position), position)
            told, end = self._tell_at_once(buffer, columns.window(buffer), describer)
            for entry, following in _each(buffer, end):
                describer.describe(entry)
                told, end = told + 1, following
            if not told:
                break
            count, position = count + told, position + end
        if found.end - position >= 6 and self.source.pread(4, position) == SIGNATURE:
            position += 6 + int.from_bytes(self.source.pread(2, position + 4), "little")
        return count, position

    def _tell_at_once(self, buffer: bytes, window: Window | None, describer: Describer) -> tuple[int, int]:
        """Describes the entries of a window; returns their number and their size."""
        if window is None:
            return 0, 0
        members, sizes, odd = window
        start = place = 0
        for row in odd:
            self.builder.add_packed(members.part(start, row))
            place += sum(sizes[start:row]) + (row - start) * len(CENTRAL)
            describer.describe(_entry(buffer, place))
            place += sizes[row] + len(CENTRAL)
            start = row + 1
        self.builder.add_packed(members.part(start, len(sizes)) if odd else members)
        return len(sizes), sum(sizes) + len(sizes) * len(CENTRAL)

    def _damaged(self, found: directory.Directory, position: int) -> None:
        """The directory cannot be read from ``position`` on: what else there is, the local headers say."""
        self.builder.damaged(f"the central directory is damaged at byte {position}", position)
        known = {
            directory.place(found.disks, entry.at, entry.disk): entry.name
            for entry in entries(self.source, found)
        }
        rebuilding.rebuild(self.source, self.builder, self._options, known)


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


def _each(buffer: bytes, at: int) -> Iterator[tuple[Entry, int]]:
    """The entries in a buffer that are whole, from ``at`` on, each with where it ends."""
    while at + _HEADER <= len(buffer) and buffer.startswith(CENTRAL, at):
        end = at + _HEADER + sum(_LENGTHS.unpack_from(buffer, at + _LENGTHS_AT))
        if end > len(buffer):
            return
        yield _entry(buffer, at), end
        at = end


def entries(source: Source, found: directory.Directory) -> Iterator[Entry]:
    """The entries of a directory, as far as it is intact."""
    position = found.start
    while found.end - position >= _HEADER:
        buffer = source.pread(min(_WINDOW, found.end - position), position)
        end = 0
        for entry, following in _each(buffer, 0):
            yield entry
            end = following
        if not end:
            return
        position += end


def _unmarked_names(source: Source, found: directory.Directory) -> Iterator[bytes]:
    return (
        entry.name for entry in entries(source, found) if not entry.flags & UTF8 and not entry.name.isascii()
    )
