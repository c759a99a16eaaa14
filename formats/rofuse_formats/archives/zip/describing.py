"""One member at a time, with everything that its header and its extra fields may say."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rofuse_formats.archives.zip import attributes, directory, extra, methods, records
from rofuse_formats.archives.zip.local import KEPT_ENCRYPTED, kept_flags
from rofuse_formats.archives.zip.member import Checker, opened
from rofuse_formats.archives.zip.names import Names, unicode_path
from rofuse_formats.archives.zip.times import DosTimes
from rofuse_formats.entry import Builder, PackedMember, ScanOptions, Time
from rofuse_formats.errors import DamagedError, FormatError, PasswordError
from rofuse_formats.limits import TARGET_MAX
from rofuse_formats.source import Source

_FAR = 1 << 62
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_EMPTY = (*_DEVICES, stat.S_IFIFO, stat.S_IFSOCK)


class Entry(NamedTuple):
    """What a header says, as it says it."""

    name: bytes
    system: int
    flags: int
    method: int
    stamp: int
    crc: int
    packed: int
    size: int
    extra: bytes
    attributes: int
    disk: int
    at: int
    """Of the local header, on its disk, without what is before the archive."""


class Describer:
    def __init__(
        self, source: Source, builder: Builder, names: Names, disks: Sequence[int], options: ScanOptions
    ) -> None:
        """``disks``: as a Directory has them."""
        self._password = options.password
        self._refused = self._taken = 0  # encrypted links that did and did not take it
        self._source, self._builder, self._names, self._disks = source, builder, names, disks
        self._owners: dict[tuple[int, int], int] = {}
        self._methods: Counter[int] = Counter()
        self._encrypted = 0
        self.times = DosTimes()
        self.modes = attributes.Modes()

    def describe(self, entry: Entry) -> None:
        """Adds the member to the builder. Raises OSError."""
        facts = extra.Facts(entry.extra, entry.stamp)
        path = self.path(entry, facts)
        numbers = extra.widened(facts.zip64, entry.size, entry.packed, entry.at)
        at = None if numbers is None else self._place(entry, facts, numbers[2])
        if numbers is None or at is None or at >= _FAR:
            self._builder.skipped(
                path, "sizes or a place beyond what there is, or a zip64 field that lacks them"
            )
            return
        size, packed, _at = numbers
        place = PackedMember(at, packed, entry.crc, entry.method, kept_flags(entry.flags, entry.name))
        mode = facts.mode if facts.mode else self.modes[entry.attributes << 8 | entry.system]
        if entry.name.endswith(b"/") or path.endswith(b"/"):
            mode = attributes.as_directory(mode)
        elif size and stat.S_IFMT(mode) in _EMPTY:  # Info-ZIP says so of what it read from a pipe
            mode = stat.S_IFREG | stat.S_IMODE(mode)
        self._add(entry, facts, path, mode, size, place)

    def _place(self, entry: Entry, facts: extra.Facts, at: int) -> int | None:
        disk = entry.disk
        if disk == records.MAX16:
            disk = extra.widened_disk(facts.zip64, entry.size, entry.packed, entry.at)
        return directory.place(self._disks, at, disk)

    def path(self, entry: Entry, facts: extra.Facts) -> bytes:
        """The member's name in UTF-8, with slashes."""
        name = entry.name
        letters = None
        if entry.flags & records.UTF8 == 0:
            told = unicode_path(facts.unicode, name)
            if told is not None:  # also of an ASCII name, which then spells the letters somehow
                name = told
            elif not name.isascii():
                letters = self._names.decoded(name)
        if entry.system in records.WINDOWS_LIKE:  # before encoding: 0x5c is half a letter in some code pages
            if letters is None and b"/" not in name:
                name = name.replace(b"\\", b"/")
            elif letters is not None and "/" not in letters:
                letters = letters.replace("\\", "/")
        return name if letters is None else letters.encode("utf-8", "surrogateescape")

    def _add(
        self, entry: Entry, facts: extra.Facts, path: bytes, mode: int, size: int, place: PackedMember
    ) -> None:
        builder = self._builder
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFREG and facts.link and not size:
            builder.hardlink(path, facts.link)
            return
        if kind == stat.S_IFREG:
            self._count(entry)
            data = builder.packed(*place)
        elif kind == stat.S_IFLNK:
            target = facts.link or self._target(path, place, size)
            if not target:
                return
            data, size = builder.text(target), len(target)
        else:
            data, size = (facts.rdev or 0) if kind in _DEVICES else 0, 0
        mtime = facts.mtime or Time(self.times[entry.stamp])
        added = builder.add(path, mode, self.owner(facts.owner), size, *mtime, data)
        if facts.atime or facts.btime:
            builder.times(added, atime=facts.atime, btime=facts.btime)

    def _count(self, entry: Entry) -> None:
        if entry.flags & records.ENCRYPTED:
            self._encrypted += 1
        if entry.method not in records.KNOWN_METHODS:
            self._methods[entry.method] += 1

    def owner(self, ids: tuple[int, int] | None) -> int:
        """Number of an owner; of the archive file's where there is none."""
        if ids is None:
            return self._builder.implied_owner
        known = self._owners.get(ids)
        if known is None:
            known = self._owners[ids] = self._builder.owner(*ids)
        return known

    def _target(self, path: bytes, place: PackedMember, size: int) -> bytes:
        """A symlink's target, which is its data; nothing where the builder was told why there is none."""
        if size > TARGET_MAX or not size:
            reason = f"a symbolic link whose target is empty or over {TARGET_MAX} bytes"
        elif place.flags & KEPT_ENCRYPTED:
            return self._secret_target(path, place, size)
        else:
            try:
                return self._content(place, size)
            except FormatError as error:
                reason = "a symbolic link whose target cannot be read"
                if isinstance(error, DamagedError):
                    self._builder.damaged(f"a symbolic link's target cannot be read: {error}", place.at)
        self._builder.skipped(path, reason)
        return b""

    def _secret_target(self, path: bytes, place: PackedMember, size: int) -> bytes:
        try:
            target = self._content(place, size)
        except FormatError as error:
            self._refused += isinstance(error, PasswordError)
            reason = "" if self._password is None else f", and {error}"
            self._builder.secret(False)
            self._builder.skipped(path, f"a symbolic link that is encrypted{reason}")
            return b""
        self._taken += 1
        self._builder.secret(True)
        return target

    def _content(self, place: PackedMember, size: int) -> bytes:
        """A small member's bytes."""
        feed, method, crc = opened(self._source, place, self._password)
        decoder = methods.decoder(method, feed, size, self._builder.limits)
        content = b""
        while len(content) < size:
            more = decoder.read(size - len(content))
            if not more:
                raise DamagedError(f"its data ends after {len(content)} of {size} bytes", place.at)
            content += more
        checker = Checker()
        checker.check(0, checker.crc(content), crc, feed)
        return content

    def finish(self) -> None:
        """Tells of the archive as a whole. Raises PasswordError where nothing took the password."""
        if self._refused and self._password is not None and not self._taken and not self._encrypted:
            raise PasswordError("the password is wrong")  # of files, it is tried when they are opened
        warn = self._builder.warn
        if self._names.guessed and self._names.encoding not in (None, "utf-8"):
            warn(
                f"names that do not say their encoding are read as {self._names.encoding}; --encoding says another one"
            )
        self._builder.encrypted(self._encrypted)
        for method, count in sorted(self._methods.items()):
            warn(f"{_files(count)} compressed by {records.method_name(method)}: not to be read")


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"
