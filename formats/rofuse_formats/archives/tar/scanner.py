"""The loop over an archive's headers, and what to do where no header is.

The loop itself is written for speed: a plain file or directory of any dialect costs one struct call, one checksum,
two conversions and two dictionary look-ups. It keeps its buffer in local variables and asks the reader for a new
one only when a header is not wholly inside.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from zlib import adler32

from rofuse_formats.archives.tar.header import (
    BLOCK,
    ZEROS,
    Checksums,
    checksum_right,
    plausible,
    stored_size,
    text,
)
from rofuse_formats.archives.tar.members import Malformed, Members
from rofuse_formats.archives.tar.window import Cut, Window
from rofuse_formats.entry import Builder, Reader, ScanOptions
from rofuse_formats.errors import DamagedError

# name; mode, uid and gid; size, its end; mtime, its end; chksum; typeflag; magic to gname; first byte of the prefix
_FIELDS = Struct("100s 24s 11sB 11sB 8s B 100x 72s 16x B 166x")

_S_IFREG = 0o100000
_S_IFDIR = 0o040000
_DIRECTORY = ord("5")
_PLAIN = frozenset(b"\x0005")
_NONE: frozenset[int] = frozenset()
_ENDS = frozenset(b"\0 ")

_LAST_RECORD = 1 << 20
"""Bytes of zeros behind the end mark that are taken for the padding of the last record."""


class Scanner:
    """One scan of one archive."""

    def __init__(self, reader: Reader, builder: Builder, options: ScanOptions) -> None:
        self.builder = builder
        self.ignore_zeros = options.ignore_zeros
        self.window = Window(reader)
        self.members = Members(self.window, builder)
        self.damage: DamagedError | None = None

    def run(self) -> None:
        """Describes the whole archive. Raises DamagedError when nothing could be read."""
        self._headers()
        for message, count in self.members.notes.items():
            self.builder.warn(f"{message} ({count} times)" if count > 1 else message)
        if self.damage is not None and self.members.name is None:
            raise self.damage

    def _headers(self) -> None:
        add = self.builder.add
        window = self.window
        members = self.members
        identities = members.identities
        checksums = Checksums()
        fields = _FIELDS.unpack_from
        plain = _PLAIN
        buffer, base = b"", 0
        position = data_end = 0
        name: bytes | None = None
        while position >= 0:
            at = position - base
            try:
                (
                    name_field,
                    ids,
                    size_field,
                    size_end,
                    mtime_field,
                    mtime_end,
                    checksum,
                    kind,
                    names,
                    prefix,
                ) = fields(buffer, at)
            except StructError:
                if len(window.peek(position, BLOCK)) < BLOCK:
                    members.name, members.data_end = name, data_end
                    self._end_of_stream(position)
                    return
                buffer, base = window.buffer, window.base
                continue

            right = adler32(buffer[at : at + BLOCK]) & 0xFFFF == checksums[checksum]
            try:  # int() alone would take signs, spaces and underscores
                size = int(size_field, 8) if size_field.isdigit() and size_end in _ENDS else -1
                mtime = int(mtime_field, 8) if mtime_field.isdigit() and mtime_end in _ENDS else -1
            except ValueError:  # an 8 or a 9
                size = -1
            if right and kind in plain and size >= 0 and mtime >= 0 and not prefix:
                path = name_field.partition(b"\0")[0]
                if kind == _DIRECTORY:
                    if size == 0:
                        permissions, owner = identities[ids + names]
                        add(path, _S_IFDIR | permissions, owner, 0, mtime, 0, 0)
                        name = path
                        position += BLOCK
                        data_end = position
                        continue
                elif not path.endswith(b"/"):
                    permissions, owner = identities[ids + names]
                    position += BLOCK
                    add(path, _S_IFREG | permissions, owner, size, mtime, 0, position)
                    name = path
                    data_end = position + size
                    position += size + 511 & -512
                    continue

            members.name, members.data_end = name, data_end
            position = self._unusual(buffer[at : at + BLOCK], right, size, position)
            name, data_end = members.name, members.data_end
            plain = _PLAIN if members.plain else _NONE
            buffer, base = window.buffer, window.base

    def _unusual(self, header: bytes, right: bool, size: int, position: int) -> int:
        """What the loop does not know at a glance; ``size`` is -1 where it did not read it. Returns where to go on,
        or -1."""
        if not right and not checksum_right(header):
            if header == ZEROS:
                return self._end_mark(position)
            return self._lost(position, "no valid header")
        if size < 0:
            try:
                size = stored_size(header)
            except ValueError:
                return self._lost(position, "a header with an impossible size")
        members = self.members
        try:
            members.describe(header, header[156], size, position + BLOCK)
        except Malformed as error:  # costs this member at most
            self._damaged(f"the header at byte {position} {error}", position)
        except Cut:
            end = self.window.end()
            self._damaged(f"the archive is cut at byte {end}, in the header that begins at {position}", end)
            return -1
        return members.following

    # -- where the headers end

    def _end_mark(self, position: int) -> int:
        """A block of zeros: two of them end the archive; a lone one is passed over as by GNU tar."""
        members = self.members
        if members.pending:
            members.forget()
            self._damaged(f"the end mark at byte {position} follows an extended header", position)
        second = self.window.peek(position + BLOCK, BLOCK)
        if second != ZEROS and (plausible(second) or (self.ignore_zeros and len(second) == BLOCK)):
            members.note("a lone block of zeros between members is passed over")
            return position + BLOCK
        if second == ZEROS and self.ignore_zeros:
            members.globals.clear()
            members.data_end = 0  # an archive of its own begins, if any
            return self.window.zeros_end(position + BLOCK, 1 << 62)
        self._behind_end_mark(position + BLOCK)
        return -1

    def _behind_end_mark(self, position: int) -> None:
        """Says so when there is more than the padding of the last record."""
        rest = self.window.zeros_end(position, _LAST_RECORD)
        block = self.window.peek(rest, BLOCK)
        if plausible(block):
            self.builder.warn("another archive follows the end mark; --ignore-zeros shows it as well")
        elif len(block) == BLOCK and not self.members.data_end:
            self._damaged("begins with zeros and holds no tar header", rest)

    def _end_of_stream(self, position: int) -> None:
        """Less than a header is left at ``position``: no end mark was met."""
        members = self.members
        end = self.window.end()
        rest = self.window.peek(position, BLOCK)
        if members.data_end > end:
            missing = members.data_end - end
            self._damaged(
                f"the archive is cut at byte {end}, in {_shown(members.name)}, {missing} bytes before its end",
                end,
            )
        elif members.pending:
            self._damaged(f"the archive is cut at byte {end}, after an extended header", end)
        elif rest.strip(b"\0"):
            self._damaged(
                f"the archive is cut at byte {end}, in the header of {_shown(text(rest[:100]))}", position
            )
        elif members.data_end:
            self.builder.warn("the archive has no end mark: it may have been cut between two members")
        elif position == 0:
            self._damaged("is too short for a tar archive", 0)

    # -- damage

    def _lost(self, position: int, what: str) -> int:
        """No usable header at ``position``: searches for the next and goes on there."""
        if position == 0:
            raise DamagedError(f"does not begin with a tar header: {what}", 0)
        self.members.forget()
        found = self.window.find_header(position + BLOCK)
        if found < 0:
            self._damaged(f"{what} at byte {position}, and none after it", position)
        else:
            self._damaged(f"{what} at byte {position}: {found - position} bytes are passed over", position)
        return found

    def _damaged(self, message: str, offset: int) -> None:
        if self.damage is None:
            self.damage = DamagedError(message, offset)
        self.builder.damaged(message, offset)


def _shown(name: bytes | None) -> str:
    """A name fit for a message of one line."""
    letters = (name or b"").decode("utf-8", "replace")[:200]
    return repr("".join(letter if letter.isprintable() else "\ufffd" for letter in letters))
