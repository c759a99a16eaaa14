"""Which of libarchive's formats a stream is, by its first 64 KiB, and where in a program that unpacks itself one
begins. Nothing is loaded for that.

libarchive looks for archives in programs, too, but each of its readers in other places, and not where the programs of
today have them: here the archive is found, and given to libarchive as if nothing were before it.

Rules
- Strict: where a magic is short (binary cpio has two bytes, LHA five), the header that it stands in must be one.
- A kind is what libarchive calls its reader: ``archive_read_support_format_KIND``.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

ISO_AT = 32768
HEAD = 1 << 16
PROGRAM = 2 << 20
"""Bytes of a program in which its archive must begin."""
_PROGRAMS = (b"MZ", b"\x7fELF")
_LONGEST_NAME = 4096
_TYPES = {
    stat.S_IFREG,
    stat.S_IFDIR,
    stat.S_IFLNK,
    stat.S_IFCHR,
    stat.S_IFBLK,
    stat.S_IFIFO,
    stat.S_IFSOCK,
    0,
}
_NEWC = re.compile(rb"07070[12][0-9A-Fa-f]{104}")
_ODC = re.compile(rb"070707[0-7]{70}")
_BINARY = 0o070707
_AR_HEADER = re.compile(rb"!<arch>\n.{58}`\n", re.DOTALL)
_WARC = re.compile(rb"WARC/[01]\.\d+\r\n")
_LHA = re.compile(rb"..-(lh[0-7d]|lz[s45])-.{13}[\0-\3]", re.DOTALL)
_XAR_HEADER = struct.Struct(">4sHH")
_ISO_DESCRIPTOR = b"\1CD001\1"


def kind_of(head: bytes) -> str | None:
    """libarchive's name of the format, None for what is none of them."""
    return next((kind for kind, recognise in _KINDS.items() if recognise(head)), None)


class Place(NamedTuple):
    kind: str
    start: int
    """0, but for what lies behind a program."""


def place_of(pread: Callable[[int, int], bytes]) -> Place | None:
    """What the archive that ``pread`` reads is, and where it begins; None where there is none."""
    head = pread(HEAD, 0)
    kind = kind_of(head)
    if kind is not None:
        return Place(kind, 0)
    return place_within(pread(PROGRAM, 0)) if head.startswith(_PROGRAMS) else None


def place_within(start: bytes) -> Place | None:
    """Where in a program that begins with ``start`` an archive begins: one whose first header proves that it is
    one."""
    for found in _HIDDEN.finditer(start, 1):
        kind = next(kind for magic, kind in _HIDDEN_KINDS.items() if found[0].startswith(magic))
        at = found.start()
        if _PROOFS[kind](start[at : at + _PROOF]):
            return Place(kind, at)
    return None


def _is_7z(head: bytes) -> bool:
    """Whether the checksum of where its list lies is right, and it has one."""
    lies = head[12:32]
    return zlib.crc32(lies) == int.from_bytes(head[8:12], "little") and any(lies[8:16])


def _is_rar4(head: bytes) -> bool:
    size = int.from_bytes(head[12:14], "little")
    return (
        head[9] == 0x73
        and size >= 13
        and zlib.crc32(head[9 : 7 + size]) & 0xFFFF == int.from_bytes(head[7:9], "little")
    )


def _is_rar5(head: bytes) -> bool:
    """Whether a header of an archive, or of its encryption, comes first; it has less than 128 bytes."""
    size = head[12]
    checked = head[12 : 13 + size]
    return (
        2 < size < 0x80 and head[13] in (1, 4) and zlib.crc32(checked) == int.from_bytes(head[8:12], "little")
    )


def _is_cab(head: bytes) -> bool:
    size, files = struct.unpack_from("<4xI4xI", head, 4)
    return head[24:26] == b"\3\1" and not any(head[12:16] + head[20:24]) and 36 < files < size


def _is_cpio(head: bytes) -> bool:
    if _NEWC.match(head):
        mode, name = int(head[14:22], 16), int(head[94:102], 16)
        return _is_cpio_entry(head, 110, mode, name)
    if _ODC.match(head):
        return _is_cpio_entry(head, 76, int(head[18:24], 8), int(head[59:65], 8))
    for order in "<>":
        if len(head) >= 26 and struct.unpack_from(order + "H", head)[0] == _BINARY:
            mode, name = (
                struct.unpack_from(order + "H", head, 6)[0],
                struct.unpack_from(order + "H", head, 20)[0],
            )
            return _is_cpio_entry(head, 26, mode, name)
    return False


def _is_cpio_entry(head: bytes, at: int, mode: int, size: int) -> bool:
    """Whether a name of ``size`` bytes ends with the one zero byte that it has."""
    return (
        1 < size <= _LONGEST_NAME
        and head.find(b"\0", at, at + size) == at + size - 1
        and (stat.S_IFMT(mode) in _TYPES and mode <= 0o177777)
    )


def _is_lha(head: bytes) -> bool:
    if not _LHA.match(head):
        return False
    level = head[20]
    if level < 2:
        size = head[0]
        return size >= 20 and len(head) >= size + 2 and sum(head[2 : size + 2]) & 0xFF == head[1]
    if level == 2:
        total = int.from_bytes(head[:2], "little")
        return _has_extensions(head, 24, total, 2)
    total = int.from_bytes(head[24:28], "little")
    return head[:2] == b"\4\0" and _has_extensions(head, 28, total, 4)


def _has_extensions(head: bytes, at: int, end: int, width: int) -> bool:
    """Whether the extended headers of LHA, each with the size of the next one, end within the header."""
    while at + width <= min(end, len(head)):
        size = int.from_bytes(head[at : at + width], "little")
        if not size:
            return at + width <= end <= at + width + 1  # one byte may fill up
        if size <= width:
            return False
        at += size
    return False


_KINDS: dict[str, Callable[[bytes], bool]] = {
    "7zip": lambda head: head.startswith(b"7z\xbc\xaf\x27\x1c\0") and len(head) >= 32,
    "rar5": lambda head: head.startswith(b"Rar!\x1a\x07\x01\0"),
    "rar": lambda head: head.startswith(b"Rar!\x1a\x07\0"),
    "cab": lambda head: head.startswith(b"MSCF\0\0\0\0") and head[24:26] == b"\3\1",
    "xar": lambda head: len(head) >= 28 and _XAR_HEADER.unpack_from(head)[::2] == (b"xar!", 1),
    "ar": lambda head: bool(_AR_HEADER.match(head)) or head == b"!<arch>\n",
    "warc": lambda head: bool(_WARC.match(head)),
    "mtree": lambda head: head.startswith((b"#mtree\n", b"#mtree ", b"#mtree\r")),
    "cpio": _is_cpio,
    "lha": _is_lha,
    "iso9660": lambda head: head[ISO_AT : ISO_AT + 7] == _ISO_DESCRIPTOR,
}
KINDS = tuple(_KINDS)

_HIDDEN_KINDS = {
    b"7z\xbc\xaf\x27\x1c\0": "7zip",
    b"Rar!\x1a\x07\x01\0": "rar5",
    b"Rar!\x1a\x07\0": "rar",
    b"MSCF\0\0\0\0": "cab",
}
_HIDDEN = re.compile(b"|".join(map(re.escape, _HIDDEN_KINDS)))
_PROOF = 256  # bytes that prove it
_PROOFS: dict[str, Callable[[bytes], bool]] = {
    "7zip": lambda head: len(head) >= 32 and _is_7z(head),
    "rar5": lambda head: len(head) >= 16 and _is_rar5(head),
    "rar": lambda head: len(head) >= 20 and _is_rar4(head),
    "cab": lambda head: len(head) >= 36 and _is_cab(head),
}

_NAMES = {"7zip": "7z", "rar5": "rar", "iso9660": "iso"}
NAMES = tuple(dict.fromkeys(_NAMES.get(kind, kind) for kind in KINDS))
"""What people call them."""


def name_of(kind: str) -> str:
    """One of ``NAMES``."""
    return _NAMES.get(kind, kind)
