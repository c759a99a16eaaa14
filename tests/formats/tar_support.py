"""For the tests of tar: a builder that records, a reader that checks its caller, archives written byte by byte."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rofuse_formats.archives.tar import FORMAT
from rofuse_formats.entry import Extent, PackedColumns, ScanOptions, Time
from rofuse_formats.limits import Limits

END = bytes(1024)


@dataclass
class Member:
    path: bytes
    mode: int
    owner: tuple[int, int, bytes, bytes]
    size: int
    mtime: Time
    data: int
    target: bytes | None = None  # of a symlink
    pieces: list[Extent] | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    times: tuple[Time | None, Time | None, Time | None] = (None, None, None)

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self.mode)


class Recorder:
    """A Builder that keeps every call."""

    def __init__(self, archive: bytes = b"", **limits: Any) -> None:
        self.limits, self.implied_owner = Limits(**limits), 0
        self.archive = archive
        self.owners: list[tuple[int, int, bytes, bytes]] = []
        self.texts: list[bytes] = []
        self.maps: list[list[Extent]] = []
        self.members: list[Member] = []
        self.links: list[tuple[bytes, bytes]] = []
        self.passed: list[tuple[bytes, str]] = []
        self.warnings: list[str] = []
        self.damages: list[tuple[str, int]] = []

    def owner(self, uid: int, gid: int, uname: bytes = b"", gname: bytes = b"", /) -> int:
        assert 0 <= uid < 1 << 32
        assert 0 <= gid < 1 << 32
        self.owners.append((uid, gid, uname, gname))
        return len(self.owners) - 1

    def text(self, data: bytes, /) -> int:
        self.texts.append(data)
        return len(self.texts) - 1

    def extents(self, extents: Sequence[Extent], /) -> int:
        reached = 0
        for extent in extents:
            assert extent.length > 0
            assert extent.logical >= reached
            reached = extent.logical + extent.length
        self.maps.append(list(extents))
        return 1 << 63 | len(self.maps) - 1

    def packed(self, at: int, packed: int, crc: int, method: int, flags: int) -> int:
        raise AssertionError("no member of a tar archive is compressed by itself")

    def add(
        self, path: bytes, mode: int, owner: int, size: int, mtime: int, mtime_ns: int, data: int, /
    ) -> int:
        assert 0 <= size < 1 << 62
        assert -(1 << 63) <= mtime < 1 << 63
        assert 0 <= mtime_ns < 10**9
        assert 0 <= data < 1 << 64
        member = Member(path, mode, self.owners[owner], size, Time(mtime, mtime_ns), data)
        if stat.S_ISLNK(mode):
            member.target = self.texts[data]
        if data >> 63:
            member.pieces = self.maps[data & ~(1 << 63)]
        self.members.append(member)
        return len(self.members) - 1

    def hardlink(self, path: bytes, target: bytes, /) -> None:
        self.links.append((path, target))

    def xattrs(self, member: int, attributes: Iterable[tuple[bytes, bytes]], /) -> None:
        self.members[member].xattrs = dict(attributes)

    def times(
        self, member: int, atime: Time | None = None, ctime: Time | None = None, btime: Time | None = None, /
    ) -> None:
        self.members[member].times = (atime, ctime, btime)

    def skipped(self, path: bytes, reason: str, /) -> None:
        self.passed.append((path, reason))

    def warn(self, message: str, /) -> None:
        assert "\n" not in message
        self.warnings.append(message)

    def add_packed(self, members: PackedColumns, /) -> None:
        raise AssertionError("members of tar are not packed")

    def encrypted(self, files: int, /) -> None:
        raise AssertionError("tar knows no encryption")

    def together(self, size: int, /) -> None:
        raise AssertionError("members of tar are not compressed by themselves")

    def secret(self, told: bool, /) -> None:
        raise AssertionError("tar knows no encryption")

    def damaged(self, message: str, offset: int, /) -> None:
        assert "\n" not in message
        assert offset >= 0
        self.damages.append((message, offset))

    # -- what tests ask

    @property
    def paths(self) -> list[bytes]:
        return [member.path for member in self.members]

    @property
    def by_path(self) -> dict[bytes, Member]:
        return {member.path.rstrip(b"/"): member for member in self.members}

    def content(self, member: Member) -> bytes:
        """A file's bytes, by the data word and the extents alone."""
        if member.pieces is None:
            return self.archive[member.data : member.data + member.size]
        content = bytearray(member.size)
        for logical, length, offset, _ in member.pieces:
            content[logical : logical + length] = self.archive[offset : offset + length]
        assert len(content) == member.size
        return bytes(content)


class MemoryReader:
    """A Reader that gives little more than what was asked for, and knows its end only when it was seen."""

    def __init__(self, archive: bytes, more: int = 700) -> None:
        self.archive = archive
        self.end: int | None = None
        self.more = more
        self.position = 0

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        assert position >= self.position, "the window moved back"
        assert 0 < need <= 20 << 20
        self.position = position
        if position + need > len(self.archive):
            self.end = len(self.archive)
        base = max(0, position - 100)
        return self.archive[base : position + need + self.more], base


def scan(archive: bytes, *, more: int = 700, ignore_zeros: bool = False, **limits: Any) -> Recorder:
    builder = Recorder(archive, **limits)
    FORMAT.scan(MemoryReader(archive, more), builder, ScanOptions(ignore_zeros=ignore_zeros))
    return builder


def checksummed(block: bytes) -> bytes:
    """The block with the checksum field made right."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def patched(block: bytes, offset: int, data: bytes) -> bytes:
    """A header with a field replaced and the checksum made right again."""
    return checksummed(block[:offset] + data + block[offset + len(data) :])


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int = 0,
    *,
    mtime: int = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"0000644\0" + b"0001750\0" + b"0000144\0",
            b"%011o\0%011o\0" % (size, mtime),
            b" " * 8,
            kind,
            link.ljust(100, b"\0"),
            magic.ljust(8, b"\0"),
            (b"ann".ljust(32, b"\0") + b"users".ljust(32, b"\0")) if magic else b"",
        )
    )
    return checksummed(block.ljust(512, b"\0"))


def body(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def file(name: bytes, data: bytes = b"", kind: bytes = b"0") -> bytes:
    return header(name, kind, len(data)) + body(data)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def extended(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return file(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records), kind)


def python_kind(member: tarfile.TarInfo) -> int:
    kinds = {
        tarfile.DIRTYPE: stat.S_IFDIR,
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.CHRTYPE: stat.S_IFCHR,
        tarfile.BLKTYPE: stat.S_IFBLK,
        tarfile.FIFOTYPE: stat.S_IFIFO,
    }
    return kinds.get(member.type, stat.S_IFREG)


def name_of(member: tarfile.TarInfo) -> bytes:
    return os.fsencode(member.name)
