"""Which of libarchive's formats a stream is, by its first 64 KiB. Nothing is loaded for that.

Rules
- Strict: where a magic is short (binary cpio has two bytes, LHA five), the header that it stands in must be one.
- A kind is what libarchive calls its reader: ``archive_read_support_format_KIND``.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable

ISO_AT = 32768
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

_NAMES = {"7zip": "7z", "rar5": "rar", "iso9660": "iso"}
NAMES = tuple(dict.fromkeys(_NAMES.get(kind, kind) for kind in KINDS))
"""What people call them."""


def name_of(head: bytes) -> str | None:
    """One of ``NAMES``, as ``kind_of``."""
    kind = kind_of(head)
    return None if kind is None else _NAMES.get(kind, kind)
