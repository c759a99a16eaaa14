"""Describes an archive to the builder, from the rows that the helper process tells.

Rules
- A process that dies is started once more, and what was described already is passed over; dies it there again, the
  archive is damaged at that entry.
- Owners that a format does not have are the archive file's own.
- A hard link that comes with bytes of its own (cpio: the last name has them) is the file, and what came before a name
  of it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import Any

from rofuse_formats.archives.libarchive import protocol
from rofuse_formats.archives.libarchive.magic import Place
from rofuse_formats.archives.libarchive.process import DiedError, Helper, error_of
from rofuse_formats.archives.libarchive.records import ENCRYPTED, NOT_HELD, NUMBERS, STORED
from rofuse_formats.entry import Builder, ScanOptions, Time
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source
from rofuse_formats.spool import LEAST

_OWNERLESS = ("7zip", "cab", "rar", "warc")
# of ar: what linkers look names up in
_SYMBOLS = (b"/", b"//", b"/SYM64/", b"__.SYMDEF", b"__.SYMDEF SORTED")
_TRIES = 2
_WARNED = 3
_NO_TIMES = [None, None, None]
_MOST_DATA = (1 << 62) - 1


class Scanner:
    def __init__(self, source: Source, place: Place, builder: Builder, options: ScanOptions) -> None:
        self._source, self._builder, self._options = source, builder, options
        self._kind, self._start = place
        self._owners: dict[tuple[int, int, str, str], int] = {}
        self._empty_links: dict[
            bytes, list[bytes]
        ] = {}  # names of what has no bytes yet, by the first of them
        self._count = self._encrypted = self._warnings = 0
        self._method = NUMBERS[place.kind]
        self._summary: dict[str, Any] = {}

    def run(self) -> None:
        for body in self._bodies():
            self._describe(body)
        for name, message in self._summary.get("damage") or ():
            self._builder.damaged(str(error_of((name, message))), self._source.size)
        together = self._summary.get("together", 0)
        if isinstance(together, int) and together > 0 and self._kind != "mtree":
            self._builder.together(min(together, _MOST_DATA))
        self._tell()

    def _bodies(self) -> Iterator[bytes]:
        """The messages with rows, each once, whatever becomes of who sends them."""
        given, tries = 0, 0
        while True:
            helper = Helper(
                self._source,
                self._kind,
                self._builder.limits,
                start=self._start,
                password=self._options.password,
                encoding=self._options.encoding,
            )
            passed = 0
            try:
                helper.ask(protocol.LIST, LEAST)
                while (message := helper.receive()).kind == protocol.ENTRIES:
                    passed += 1
                    if passed > given:
                        given, tries = passed, 0
                        yield message.body
                if message.kind != protocol.LISTED:
                    raise DiedError("spoke nonsense")
                summary = message.json()
                self._summary = summary if isinstance(summary, dict) else {}
                return
            except DiedError as error:
                tries += 1
                if tries >= _TRIES:
                    text = f"libarchive {error} while it read the list of members"
                    if not given:
                        raise DamagedError(text) from None
                    self._summary = {"damage": [("DamagedError", text)]}
                    return
            finally:
                helper.close()

    def _describe(self, body: bytes) -> None:
        try:
            for fields in json.loads(body):
                self._add(protocol.Row(*fields))
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise DamagedError(f"libarchive gives what cannot be: {error}") from error

    def _add(self, row: protocol.Row) -> None:
        path, target = row.path.encode("latin-1"), row.target.encode("latin-1")
        self._count += 1
        if row.warning:
            self._warn(path, row.warning)
        if self._kind == "ar" and path in _SYMBOLS:
            return
        if row.hardlink and (row.size <= 0 or target not in self._empty_links):
            self._builder.hardlink(path, target)
            if target in self._empty_links:
                self._empty_links[target].append(path)
            return
        if row.size < 0:
            self._builder.skipped(path, "a file whose size the archive does not tell")
            return
        if row.linear + row.size > _MOST_DATA and self._kind != "mtree":
            self._builder.skipped(path, "a size beyond what can be, or what is before it has one")
            return
        size, data = self._data(row, target)
        mtime, *others = row.times
        seconds, nanoseconds = mtime or (0, 0)
        member = self._builder.add(
            path, row.mode & 0xFFFF, self._owner(row), size, seconds, _nanoseconds(nanoseconds), data
        )
        if others != _NO_TIMES:
            atime, ctime, btime = map(_checked, others)
            self._builder.times(member, atime=atime, ctime=ctime, btime=btime)
        if row.xattrs:
            pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in row.xattrs]
            self._builder.xattrs(member, pairs)
        self._link(row, path, target)

    def _link(self, row: protocol.Row, path: bytes, target: bytes) -> None:
        """What was added is a file that others are names of, or turns out to be one."""
        if row.hardlink:
            for name in self._empty_links.pop(target, ()):
                self._builder.hardlink(name, path)
        elif self._kind == "cpio" and not row.size and stat.S_ISREG(row.mode):
            self._empty_links[path] = [path]

    def _data(self, row: protocol.Row, target: bytes) -> tuple[int, int]:
        """The size, and the data word."""
        kind = stat.S_IFMT(row.mode)
        if kind == stat.S_IFLNK and (target or row.size <= 0):
            return len(target), self._builder.text(target)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            major, minor = row.rdev
            return 0, os.makedev(major & 0xFFF, minor & 0xFFFFF)
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            return 0, 0
        if not (row.linear >= 0 and -1 <= row.place <= _MOST_DATA):
            raise ValueError("a place that is none")
        flags, linear = 0, row.linear
        if row.encrypted:
            self._encrypted += 1
            flags |= ENCRYPTED
        if self._kind == "mtree" and row.size:
            flags, linear = flags | NOT_HELD, 0
        elif row.place >= 0 and not row.encrypted and (kind == stat.S_IFREG or row.checksum is not None):
            place = self._start + row.place
            if row.checksum is not None and row.size:
                word = self._builder.packed(place, row.size, row.checksum & 0xFFFFFFFF, self._method, STORED)
                return row.size, word
            if place + row.size > self._source.size:
                self._builder.damaged("the archive ends before the data of its last member", place)
            return row.size, place
        return row.size, self._builder.packed(linear, 0, 0, self._method, flags)

    def _owner(self, row: protocol.Row) -> int:
        if self._kind in _OWNERLESS:
            return self._builder.implied_owner
        key = (row.uid, row.gid, row.uname, row.gname)
        number = self._owners.get(key)
        if number is None:
            names = (name.encode("latin-1") for name in key[2:])
            number = self._owners[key] = self._builder.owner(row.uid, row.gid, *names)
        return number

    def _warn(self, path: bytes, text: str) -> None:
        self._warnings += 1
        if self._warnings <= _WARNED:
            self._builder.warn(f"{path.decode('utf-8', 'backslashreplace')[:200]!r}: libarchive: {text}")

    def _tell(self) -> None:
        if self._warnings > _WARNED:
            self._builder.warn(f"libarchive: {self._warnings - _WARNED} more warnings")
        if self._encrypted:
            version = self._summary.get("version", "")
            files = "1 file is" if self._encrypted == 1 else f"{self._encrypted} files are"
            self._builder.warn(f"{files} encrypted, which libarchive {version} may not be able to read")


def _checked(moment: tuple[int, int] | None) -> Time | None:
    return None if moment is None else Time(moment[0], _nanoseconds(moment[1]))


def _nanoseconds(value: int) -> int:
    return value if 0 <= value < 1_000_000_000 else 0
