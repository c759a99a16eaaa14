"""One member at a time, in the words of every dialect: extended headers first, then the header they are about.

What a member is called, how large it is and when it was changed may be said in up to four places; the later in this
list wins: its own header, a GNU long name, a global extended header, its own extended header.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from rofuse_formats.archives.tar import acl, pax, sparse
from rofuse_formats.archives.tar.header import (
    BLOCK,
    GNU,
    MAGIC_AT,
    SIZE_LIMIT,
    ZEROS,
    number,
    padded,
    path,
    plausible,
    text,
)
from rofuse_formats.archives.tar.identities import Identities
from rofuse_formats.archives.tar.window import Window
from rofuse_formats.entry import Builder, Extent, Time
from rofuse_formats.limits import TARGET_MAX

_LINK = ord("1")
_SYMLINK = ord("2")
_CONTINUATION = ord("M")
_OLD_SPARSE = ord("S")

_TYPE_BITS = {
    ord("0"): stat.S_IFREG,
    0: stat.S_IFREG,
    ord(" "): stat.S_IFREG,
    ord("7"): stat.S_IFREG,  # contiguous: a wish about its storage
    _OLD_SPARSE: stat.S_IFREG,
    _SYMLINK: stat.S_IFLNK,
    ord("3"): stat.S_IFCHR,
    ord("4"): stat.S_IFBLK,
    ord("5"): stat.S_IFDIR,
    ord("6"): stat.S_IFIFO,
    ord("D"): stat.S_IFDIR,  # incremental dump; its body is a list of names
}
# By POSIX no body follows these, whatever their size field says; yet some writers give them one.
_BODILESS = frozenset(b"123456")

_TIMES_AND_NAMES = frozenset((b"path", b"linkpath", b"size", b"mtime", b"atime", b"ctime"))
_OWNER_KEYS = frozenset((b"uid", b"gid", b"uname", b"gname"))
_CREATION = b"LIBARCHIVE.creationtime"
_VOLUME_FILE = b"GNU.volume.filename"
_GLOBAL_KEYS = (
    *_TIMES_AND_NAMES,
    *_OWNER_KEYS,
    _CREATION,
    b"SCHILY.",
    b"LIBARCHIVE.xattr.",
)
_MANY_GLOBALS, _LARGE_GLOBALS = 256, 1 << 17  # records, and bytes of them all

_MTIME_LIMIT = 1 << 63
_MAJORS = 1 << 12  # what the kernel can pass on
_MINORS = 1 << 20


class Malformed(Exception):
    """What a header says cannot be; the archive goes on behind it. The message goes on from "the header at byte N"."""


class Members:
    """Describes members to the builder and keeps what extended headers said about the next.

    After each call ``following`` is where the next header is expected, also when Malformed was raised; ``name`` is
    the last member described (None before the first) and ``data_end`` the end of its body.
    """

    def __init__(self, window: Window, builder: Builder) -> None:
        self.window = window
        self.builder = builder
        self.notes: dict[str, int] = {}
        self.identities = Identities(builder, self.note)
        self.name: bytes | None = None
        self.data_end = 0
        self.following = 0
        self.globals: dict[bytes, bytes] = {}
        self.continued: bytes | None = None
        self.forget()

    def forget(self) -> None:
        """Drops what is kept for the next member."""
        self.pending = False
        self.pairs: pax.Records = []
        self.long_name: bytes | None = None
        self.long_link: bytes | None = None

    def note(self, message: str) -> None:
        self.notes[message] = self.notes.get(message, 0) + 1

    @property
    def plain(self) -> bool:
        """Whether the next header stands for itself."""
        return not (self.pending or self.globals or self.continued is not None)

    def describe(self, header: bytes, kind: int, size: int, position: int) -> None:
        """The header of type ``kind`` whose body of ``size`` bytes, if any, begins at ``position``. Raises
        Malformed, Cut."""
        self.following = position + padded(size)
        self.data_end = position
        extension = _EXTENSIONS.get(kind)
        if extension is None:
            self._member(header, kind, size, position)
        else:
            extension(self, size, position)

    # -- headers about the next member, or about none

    def _long_name(self, size: int, position: int) -> None:
        self.long_name = self._text(size, position)

    def _long_link(self, size: int, position: int) -> None:
        self.long_link = self._text(size, position)

    def _text(self, size: int, position: int) -> bytes:
        self.pending = True
        # One byte over the limit is enough to be refused.
        return text(self.window.take(position, min(size, self.builder.limits.max_path + 1)))

    def _records(self, size: int, position: int) -> tuple[pax.Records, bool]:
        if size > pax.MAX_BODY:
            raise Malformed(f"is an extended header of {size} bytes")
        return pax.records(self.window.take(position, size))

    def _local(self, size: int, position: int) -> None:
        self.pending = True
        # of two for one member the second counts: GNU tar, Go
        self.pairs, whole = self._records(size, position)
        if not whole:
            raise Malformed("has records that contradict themselves; those before them are used")

    def _global(self, size: int, position: int) -> None:
        pairs, whole = self._records(size, position)
        self.continued = None
        room = _LARGE_GLOBALS - sum(map(len, (*self.globals, *self.globals.values())))
        for key, value in pairs:
            if key == _VOLUME_FILE:
                self.continued = value
            length = len(key) + len(value)
            if not key.startswith(_GLOBAL_KEYS) or length > self.builder.limits.max_xattrs:
                continue
            # Every later member pays for these, and no writer has a use for more than a few.
            known = self.globals.pop(key, None)
            room += len(key) + len(known) if known is not None else 0
            if len(self.globals) >= _MANY_GLOBALS or length > room:
                raise Malformed("is a global header of too many records")
            room -= length
            self.globals[key] = value
        if not whole:
            raise Malformed("has records that contradict themselves; those before them are used")

    def _passed_over(self, size: int, position: int) -> None:
        """A volume's label, or a Solaris access control list: no member, and nothing about the next is lost."""

    def _name_list(self, size: int, position: int) -> None:
        self.note("a list of names from a very old GNU tar is passed over")

    # -- members

    def _member(self, header: bytes, kind: int, size: int, position: int) -> None:
        pairs, long_name, long_link = self.pairs, self.long_name, self.long_link
        self.forget()
        records = dict(pairs)
        if self.globals:
            records = {**self.globals, **records}

        if b"size" in records:
            size = self._decimal(records, b"size", SIZE_LIMIT, size)
            self.following = position + padded(size)
        name = records.get(b"GNU.sparse.name") or records.get(b"path") or long_name or path(header)
        self.name = name
        self.data_end = position + size
        if kind == _CONTINUATION or self.continued is not None:
            self.builder.skipped(self.continued or name, "multi-volume continuation")
            self.continued = None
            return
        if size and kind in _BODILESS and not self._has_body(position, bool(pairs)):
            self.following = self.data_end = position
        if kind == _LINK:
            self.builder.hardlink(name, records.get(b"linkpath") or long_link or text(header[157:257]))
            return

        link = b""
        if kind in (_LINK, _SYMLINK):
            link = records.get(b"linkpath") or long_link or text(header[157:257])
        if kind == _LINK:
            self.builder.hardlink(name, link)
        elif len(link) > self.builder.limits.max_path:
            self.builder.skipped(name, "link target too long")
        else:
            self._add(name, link, header, kind, size, position, pairs, records)

    def _add(
        self,
        name: bytes,
        link: bytes,
        header: bytes,
        kind: int,
        size: int,
        position: int,
        pairs: pax.Records,
        records: Mapping[bytes, bytes],
    ) -> None:
        identity = header[100:124] + header[257:329]
        only_common = records.keys() <= _TIMES_AND_NAMES
        permissions, owner = self.identities[identity]
        if not only_common and not _OWNER_KEYS.isdisjoint(records):
            owner = self._owner(records, identity)
        type_bits = _TYPE_BITS.get(kind)
        if type_bits is None:
            self.note(f"members of unknown type {chr(kind)!r} are shown as regular files")
            type_bits = stat.S_IFREG
        length = data = 0
        if type_bits == stat.S_IFREG:
            if name.endswith(b"/"):
                type_bits = stat.S_IFDIR  # how v7 wrote directories
            elif kind == _OLD_SPARSE:
                length, data = self._old_sparse(header, size, position)
            elif not only_common and any(key.startswith(b"GNU.sparse.") for key, _ in pairs):
                length, data = self._pax_sparse(pairs, size, position)
            else:
                length, data = size, position
        elif type_bits == stat.S_IFLNK:
            length, data = len(link), self.builder.text(link[: TARGET_MAX + 1])  # too long as it is
        elif type_bits in (stat.S_IFCHR, stat.S_IFBLK):
            data = self._device(header, records)
        mtime, mtime_ns = self._time(records, b"mtime") or self._header_time(header[136:148])

        member = self.builder.add(name, type_bits | permissions, owner, length, mtime, mtime_ns, data)
        if member >= 0:
            self._extras(member, header, records, only_common)

    def _has_body(self, position: int, pax_seen: bool) -> bool:
        """Whether a member whose type should have no body has one: what follows directly is then no header. If it
        is zeros, only pax writers, who may store a link's data, are believed."""
        block = self.window.peek(position, BLOCK)
        if len(block) < BLOCK or plausible(block):
            return False
        return pax_seen or block != ZEROS

    def _old_sparse(self, header: bytes, stored: int, position: int) -> tuple[int, int]:
        """(size, data word) of a member of type S."""
        tables, start = sparse.extensions(header, self.window, position)
        self.following = start + padded(stored)  # the size field does not count the extension blocks
        self.data_end = start + stored
        try:
            runs, size = sparse.old_gnu(header, tables)
            extents = sparse.extents(runs, size, start, stored)
        except ValueError as error:
            raise Malformed(str(error)) from error
        return size, self._word(extents, size)

    def _pax_sparse(self, pairs: pax.Records, stored: int, position: int) -> tuple[int, int]:
        """(size, data word) of a regular file whose own extended header says that it is sparse."""
        records = dict(pairs)
        try:
            if b"GNU.sparse.major" not in records:
                runs, start = sparse.in_records(records, pairs), position
            elif (records[b"GNU.sparse.major"], records.get(b"GNU.sparse.minor")) == (b"1", b"0"):
                runs, start = sparse.in_data(self.window, position, stored)
            else:
                raise ValueError("is a sparse file of an unknown version")
            size = pax.decimal(
                records.get(b"GNU.sparse.realsize", records.get(b"GNU.sparse.size")), SIZE_LIMIT
            )
            extents = sparse.extents(runs, size, start, stored - (start - position))
        except ValueError as error:
            raise Malformed(str(error)) from error
        return size, self._word(extents, size)

    def _word(self, extents: list[Extent], size: int) -> int:
        if len(extents) == 1 and extents[0].length == size:
            return extents[0].offset
        return self.builder.extents(extents)

    def _owner(self, records: Mapping[bytes, bytes], identity: bytes) -> int:
        _, (uid, gid, uname, gname) = self.identities.parsed(identity)
        uid, gid = self._identifier(records, b"uid", uid), self._identifier(records, b"gid", gid)
        uname, gname = records.get(b"uname") or uname, records.get(b"gname") or gname
        return self.identities.owner(uid, gid, uname, gname)

    def _identifier(self, records: Mapping[bytes, bytes], key: bytes, default: int) -> int:
        value = records.get(key)
        if value:
            try:
                return pax.identifier(value)
            except ValueError:
                self._note_record(key)
        return default

    def _device(self, header: bytes, records: Mapping[bytes, bytes]) -> int:
        try:
            major, minor = number(header[329:337]), number(header[337:345])
        except ValueError:
            major = minor = -1
        major = self._decimal(records, b"SCHILY.devmajor", _MAJORS, major)
        minor = self._decimal(records, b"SCHILY.devminor", _MINORS, minor)
        if 0 <= major < _MAJORS and 0 <= minor < _MINORS:
            return os.makedev(major, minor)
        self.note("a device number out of range is read as 0:0")
        return 0

    def _decimal(self, records: Mapping[bytes, bytes], key: bytes, limit: int, default: int) -> int:
        value = records.get(key)
        if value:
            try:
                return pax.decimal(value, limit)
            except ValueError:
                self._note_record(key)
        return default

    def _time(self, records: Mapping[bytes, bytes], key: bytes) -> Time | None:
        value = records.get(key)
        if value:
            try:
                return pax.moment(value)
            except ValueError:
                self._note_record(key)
        return None

    def _header_time(self, field: bytes) -> Time:
        try:
            seconds = number(field)
        except ValueError:
            seconds = _MTIME_LIMIT
        if not -_MTIME_LIMIT <= seconds < _MTIME_LIMIT:
            self.note("a time that is not a number or out of range is read as 0")
            seconds = 0
        return Time(seconds)

    def _note_record(self, key: bytes) -> None:
        self.note(f"a record {key.decode('ascii', 'replace')} without a valid value is ignored")

    def _extras(self, member: int, header: bytes, records: Mapping[bytes, bytes], only_common: bool) -> None:
        atime, ctime = self._time(records, b"atime"), self._time(records, b"ctime")
        btime = None
        if not only_common:
            btime = self._time(records, _CREATION)
            attributes = pax.xattrs(records.items())
            for key, name in ((b"SCHILY.acl.access", acl.ACCESS), (b"SCHILY.acl.default", acl.DEFAULT)):
                value = acl.binary(records.get(key, b""))
                if value and (name == acl.DEFAULT or acl.says_more_than_mode(value)):
                    attributes[name] = value
            if attributes:
                self.builder.xattrs(member, attributes.items())
        elif header[345] and header.startswith(GNU, MAGIC_AT):
            atime, ctime = self._header_time(header[345:357]), self._header_time(header[357:369])
        if atime or ctime or btime:
            self.builder.times(member, atime, ctime, btime)


_EXTENSIONS: dict[int, Callable[[Members, int, int], None]] = {
    ord("x"): Members._local,
    ord("X"): Members._local,  # Solaris, before there was a standard
    ord("g"): Members._global,
    ord("L"): Members._long_name,
    ord("K"): Members._long_link,
    ord("V"): Members._passed_over,
    ord("A"): Members._passed_over,
    ord("N"): Members._name_list,
}
