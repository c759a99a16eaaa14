"""The payload of an RPM package: cpio in the "new ASCII" format, or rpm's own short one.

Strategy
A member is a header of 110 bytes in hexadecimal digits, its name, its data. In the short format, which packages with
files beyond 4 GiB have, it is the number of a file of the package's header and its data; all else stands there.
Of the names of one file only the last has the data, so names without wait for it.

Rules
- Members begin at multiples of four bytes, and so do their data.
- After damage, the next header that is right in every field is where the payload goes on.
- Without its trailer a payload is cut.
Source: cpio(5), "New ASCII Format"; rpm's lib/cpio.c for the short one is described in its format manual.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from rofuse_formats.archives.rpm import capabilities
from rofuse_formats.archives.rpm.files import Files
from rofuse_formats.entry import Builder, Reader, ScanOptions
from rofuse_formats.errors import DamagedError, LimitError

_MAGICS = (b"070701", b"070702")
_SHORT = b"07070X"
_HEADER, _SHORT_HEADER = 110, 14
_FIELDS = range(6, _HEADER, 8)
_TRAILER = b"TRAILER!!!"
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")
_LONGEST_NAME = 1 << 16  # that a header found after damage may have
_LONGEST_TARGET = 4096  # the builder refuses what is longer than what readlink(2) can give
_SEARCHED = 1 << 16


class _Member(NamedTuple):
    path: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    device: int
    names: tuple[bytes, bytes]
    inode: tuple[int, ...]
    linked: bool
    """Whether there may be other names of it."""
    data: int
    """Where its data begin, ``size`` bytes."""


class Payload:
    """The Format of one package's payload."""

    name = "cpio"

    def __init__(self, files: Files) -> None:
        self._files = files

    def recognise(self, head: bytes, /) -> bool:
        if head.startswith(_SHORT):
            return _hexadecimal(head[6:_SHORT_HEADER]) and len(head) > _SHORT_HEADER
        return head.startswith(_MAGICS) and len(head) > _HEADER and _hexadecimal(head[6:_HEADER])

    def scan(self, reader: Reader, builder: Builder, options: ScanOptions, /) -> None:
        _Scan(reader, builder, self._files).run()


class _Scan:
    """One scan of one payload."""

    def __init__(self, reader: Reader, builder: Builder, files: Files) -> None:
        self._reader, self._builder, self._files = reader, builder, files
        self._owners: dict[tuple[int, int, tuple[bytes, bytes]], int] = {}
        self._waiting: dict[
            tuple[int, ...], list[_Member]
        ] = {}  # names, for the data that comes with the last
        self._waiting_count = 0
        self._damaged = False
        self._known: dict[tuple[int, ...], bytes] = {}  # one name of each file that has several

    def run(self) -> None:
        position: int = 0
        while position >= 0:
            try:
                member = self._member(position)
            except DamagedError as error:
                found = self._search(position + 4)
                passed = f"{found - position} bytes are passed over" if found >= 0 else "nothing follows"
                self._tell(f"{error} at byte {position}: {passed}", position)
                position = found
                continue
            if member is None:
                break
            self._describe(member)
            position = _aligned(member.data + member.size)
        self._release()

    # -- headers

    def _member(self, position: int) -> _Member | None:
        """The member at ``position``; None where there is none any more. Raises DamagedError where no header is."""
        header = self._peek(position, _HEADER)
        if header.startswith(_SHORT) and len(header) >= _SHORT_HEADER:
            return self._short_member(header, position)
        if len(header) < _HEADER:
            self._cut(position + len(header))
            return None
        if not header.startswith(_MAGICS) or not _hexadecimal(header[6:]):
            raise DamagedError("no header of a member")
        (
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            major,
            minor,
            device_major,
            device_minor,
            name_size,
            _check,
        ) = (int(header[at : at + 8], 16) for at in _FIELDS)
        if not name_size or mode >> 16:
            raise DamagedError("a header that cannot be")
        name_at = position + _HEADER
        data = _aligned(name_at + name_size)
        wanted = min(name_size, self._builder.limits.max_path + 2)  # of a longer one the builder says so
        name = self._peek(name_at, wanted)
        if len(name) < wanted:
            self._cut(name_at + len(name))
            return None
        path = name.partition(b"\0")[0]
        if path == _TRAILER:
            return None
        return _Member(
            path, mode, uid, gid, mtime, size, os.makedev(device_major, device_minor), self._files.names(path),
            (major, minor, inode), links > 1, data,
        )  # fmt: skip

    def _short_member(self, header: bytes, position: int) -> _Member:
        digits = header[6:_SHORT_HEADER]
        file = self._files.file(int(digits, 16)) if _hexadecimal(digits) else None
        if file is None:
            raise DamagedError("a header of a file that the package does not list")
        has_data = file.is_last if stat.S_ISREG(file.mode) else stat.S_ISLNK(file.mode)
        return _Member(
            file.path, file.mode, 0, 0, file.mtime, file.size if has_data else 0,
            os.makedev(file.rdev >> 8 & 0xFF, file.rdev & 0xFF), file.names, file.inode, file.links > 1,
            _aligned(position + _SHORT_HEADER),
        )  # fmt: skip

    # -- what they describe

    def _describe(self, member: _Member) -> None:
        if not stat.S_ISREG(member.mode) or not member.linked:
            self._add(member)
        elif member.size:
            self._add(member)
            self._known.setdefault(member.inode, member.path)
            for name in self._waiting.pop(member.inode, ()):
                self._builder.hardlink(name.path, member.path)
        elif member.inode in self._known:
            self._builder.hardlink(member.path, self._known[member.inode])
        else:
            self._wait(member)

    def _add(self, member: _Member) -> None:
        kind, data, size = stat.S_IFMT(member.mode), 0, member.size
        if kind == stat.S_IFREG:
            data = member.data
        elif kind == stat.S_IFLNK:
            target = self._peek(member.data, min(size, _LONGEST_TARGET))
            data, size = self._builder.text(target), len(target)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            data, size = member.device, 0
        else:
            size = 0
        owner = self._owner(member.uid, member.gid, member.names)
        number = self._builder.add(member.path, member.mode, owner, size, member.mtime, 0, data)
        text = self._files.capabilities(member.path) if kind == stat.S_IFREG else b""
        if text:
            self._empower(number, member.path, text)

    def _empower(self, number: int, path: bytes, text: bytes) -> None:
        value = capabilities.attribute(text)
        if value:
            self._builder.xattrs(number, [(capabilities.ATTRIBUTE, value)])
        elif value is None:
            name, said = (words.decode("utf-8", "backslashreplace")[:200] for words in (path, text))
            self._builder.warn(f"{name!r} has capabilities that cannot be shown: {said!r}")

    def _wait(self, member: _Member) -> None:
        self._waiting_count += 1
        if self._waiting_count > self._builder.limits.max_entries:
            raise LimitError(
                f"more than {self._builder.limits.max_entries} entries (raise it with --max-entries)"
            )
        self._waiting.setdefault(member.inode, []).append(member)

    def _release(self) -> None:
        """Names whose data never came: of an empty file, or of one whose data is lost."""
        for first, *others in self._waiting.values():
            if self._damaged:
                for name in (first, *others):
                    self._builder.skipped(name.path, "a name of a file whose data is lost")
                continue
            self._add(first)
            for name in others:
                self._builder.hardlink(name.path, first.path)

    def _owner(self, uid: int, gid: int, names: tuple[bytes, bytes]) -> int:
        key = uid, gid, names
        number = self._owners.get(key)
        if number is None:
            number = self._owners[key] = self._builder.owner(uid, gid, *names)
        return number

    # -- where no header is

    def _cut(self, position: int) -> None:
        self._tell(f"the payload is cut at byte {position}, before its end mark", position)

    def _tell(self, message: str, position: int) -> None:
        self._damaged = True
        self._builder.damaged(message, position)

    def _search(self, position: int) -> int:
        """Where the next header is, from ``position``, a multiple of four, on; -1 where none is."""
        while True:
            data = self._peek(position, _SEARCHED + _HEADER)
            at = data.find(b"07070")
            while 0 <= at < _SEARCHED:
                if not at & 3 and self._plausible(data[at : at + _HEADER]):
                    return position + at
                at = data.find(b"07070", at + 1)
            if len(data) <= _HEADER:
                return -1
            position += min(_SEARCHED, len(data) - _HEADER + 3 & -4)

    def _plausible(self, header: bytes) -> bool:
        if header.startswith(_SHORT):
            digits = header[6:_SHORT_HEADER]
            return len(digits) == 8 and _hexadecimal(digits) and self._files.file(int(digits, 16)) is not None
        if len(header) < _HEADER or not header.startswith(_MAGICS) or not _hexadecimal(header[6:]):
            return False
        return 0 < int(header[94:102], 16) <= _LONGEST_NAME and int(header[14:22], 16) >> 16 == 0

    def _peek(self, position: int, need: int) -> bytes:
        """Bytes at ``position``, fewer than ``need`` only where the stream ends."""
        buffer, base = self._reader.window(position, need)
        at = position - base
        return buffer[at : at + need]


def _aligned(position: int) -> int:
    return position + 3 & -4


def _hexadecimal(digits: bytes) -> bool:
    return _HEXADECIMAL.issuperset(digits)
