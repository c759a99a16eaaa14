"""Zip archives as no tool of today writes them, or only one that runs elsewhere, byte by byte."""

from __future__ import annotations

import lzma
import stat
import struct
import zlib
from typing import NamedTuple

STAMP = 0x576E_7540  # 2023-11-14 14:42: a DOS date and time
FAT, UNIX = 0, 3
UTF8 = 1 << 11


class Member(NamedTuple):
    """A member; what is packed already, is in ``packed``."""

    name: bytes
    data: bytes = b""
    method: int = 8
    packed: bytes | None = None
    system: int = UNIX
    attributes: int = (stat.S_IFREG | 0o644) << 16
    flags: int = 0
    extra: bytes = b""
    """Of the directory; the local header has none."""
    wide: bool = False
    """Whether zip64 says its sizes and place."""
    local: bytes | None = None
    """Its name in the local header, if that is another."""

    def content(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method == 0:
            return self.data
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        return compressor.compress(self.data) + compressor.flush()


def local_header(member: Member) -> bytes:
    """Header and data."""
    content = member.content()
    name = member.name if member.local is None else member.local
    sizes = len(content), len(member.data)
    crc = zlib.crc32(member.data)
    fields = (b"PK\3\4", 20, member.flags, member.method, STAMP, crc, *sizes, len(name), 0)
    return struct.pack("<4sHHHIIIIHH", *fields) + name + content


def central_header(member: Member, at: int) -> bytes:
    sizes, extra = (len(member.content()), len(member.data)), member.extra
    if member.wide:
        extra += struct.pack("<HHQQQ", 1, 24, sizes[1], sizes[0], at)
        sizes, at = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
    fields = (
        b"PK\1\2", member.system << 8 | 30, 20, member.flags, member.method, STAMP, zlib.crc32(member.data), *sizes,
        len(member.name), len(extra), 0, 0, 0, member.attributes, at,
    )  # fmt: skip
    return struct.pack("<4sHHHHIIIIHHHHHII", *fields) + member.name + extra


def end(count: int, size: int, at: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, at, len(comment)) + comment


def end64(count: int, size: int, at: int) -> bytes:
    """A zip64 end record, its locator, and an end record that says nothing."""
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + size, 1)
    return record + locator + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def archive(*members: Member, wide: bool = False) -> bytes:
    body, directory = bytearray(), bytearray()
    for member in members:
        directory += central_header(member, len(body))
        body += local_header(member)
    ending = end64 if wide else end
    return bytes(body + directory) + ending(len(members), len(directory), len(body))


def xz_and_zstd() -> bytes:
    import zstandard

    text = b"All of it, again and again. " * 3_000
    large = bytes(range(256)) * 8_000
    members = []
    for name, data in ((b"text", text), (b"large", large)):
        zstd = zstandard.ZstdCompressor(level=3).compress(data)
        members.append(Member(b"xz/" + name, data, 95, lzma.compress(data)))
        members.append(Member(b"zstd/" + name, data, 93, bytes(zstd)))
    return archive(*members)


def _dos(name: bytes, data: bytes = b"x\n", attributes: int = 0x20) -> Member:
    return Member(name, data, system=FAT, attributes=attributes)


def cp437() -> bytes:
    names = ("Übersicht.txt", "Grüße aus Köln.doc", "Änderungen/größe.txt", "Résumé.pdf")
    return archive(*(_dos(name.encode("cp437")) for name in names))


def cp932() -> bytes:
    """Among them letters whose second byte is a backslash's."""
    names = ("日本語のファイル.txt", "写真/夏休み.jpg", "ドキュメント/レポート.doc", "表示.txt", "ソース.c")
    return archive(*(_dos(name.encode("cp932")) for name in names))


def backslashes() -> bytes:
    return archive(_dos(b"one\\two\\three.txt"), _dos(b"one\\four.txt", attributes=0x21), _dos(b"five.txt"))


def duplicates() -> bytes:
    return archive(Member(b"a", b"first\n"), Member(b"b", b"other\n"), Member(b"a", b"second and last\n"))


def unclean() -> bytes:
    return archive(
        Member(b"/absolute/file", b"1\n"),
        Member(b"./dotted/./file", b"2\n"),
        Member(b"doubled//slash", b"3\n"),
        Member(b"../climbing", b"4\n"),
        Member(b"inside/../../climbing", b"5\n"),
        Member(b"last", b"6\n"),
    )


def zip64() -> bytes:
    return archive(Member(b"wide", b"1\n" * 500, wide=True), Member(b"narrow", b"2\n", 0), wide=True)


def no_directories() -> bytes:
    return archive(
        Member(b"a/b/c/file", b"1\n"),
        Member(b"a/other", b"2\n", 0),
        Member(b"z/", b"", 0, attributes=(stat.S_IFDIR | 0o700) << 16),
    )
