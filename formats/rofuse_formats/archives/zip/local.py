"""Local headers: what stands before each member's data, and where that begins."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from rofuse_formats.archives.zip.records import (
    ENCRYPTED,
    LOCAL,
    LOCAL_HEADER,
    STORED,
    STRONG,
)
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, FormatError, TruncatedError
from rofuse_formats.source import Source

_GUESS = 256  # bytes read at once: the header, and as a rule its name and extra fields
_USUAL_EXTRA = 64  # bytes that its extra fields have at most


class Local(NamedTuple):
    """A local header."""

    flags: int
    method: int
    stamp: int
    """DOS date and time."""
    crc: int
    packed: int
    size: int
    name: bytes
    extra: bytes
    data: int
    """Where the member's data begins."""


def read(source: Source, at: int) -> Local:
    """The local header at ``at``. Raises DamagedError where there is none, OSError."""
    head = source.pread(_GUESS, at)
    if len(head) < LOCAL_HEADER.size:
        raise TruncatedError(f"the archive ends before the member's header at byte {at}", at)
    signature, _needed, flags, method, stamp, crc, packed, size, name, extra = LOCAL_HEADER.unpack_from(head)
    if signature != LOCAL:
        raise DamagedError(f"no member's header is at byte {at}, where the central directory says so", at)
    end = LOCAL_HEADER.size + name + extra
    if len(head) < end:
        head += source.pread(end - len(head), at + len(head))
        if len(head) < end:
            raise TruncatedError(f"the archive ends in the member's header at byte {at}", at)
    middle = LOCAL_HEADER.size + name
    return Local(
        flags, method, stamp, crc, packed, size, head[LOCAL_HEADER.size : middle], head[middle:end], at + end
    )


def stored(source: Source, at: int, name: bytes, size: int) -> bytes | None:
    """The bytes of a small member that is stored as it is and not encrypted, by one read; None where its header at
    ``at`` is not what it usually is, or has another name, or cannot be read. Raises OSError."""
    end_of_name = LOCAL_HEADER.size + len(name)
    try:
        head = source.pread(end_of_name + _USUAL_EXTRA + size, at)
    except FormatError:
        return None
    if len(head) < end_of_name or head[LOCAL_HEADER.size : end_of_name] != name:
        return None
    signature, _needed, flags, method, *_numbers, name_size, extra_size = LOCAL_HEADER.unpack_from(head)
    data = head[end_of_name + extra_size : end_of_name + extra_size + size]
    usual = signature == LOCAL and not flags & ENCRYPTED and method == STORED and name_size == len(name)
    return data if usual and len(data) == size else None


# What the image keeps beside a member's place and sizes: two of its flags, and fourteen bits of its name's checksum by
# which the local header is known to be its own.

KEPT_ENCRYPTED, KEPT_STRONG = 1, 2
NAME_SHIFT, NAME_MASK = 2, 0x3FFF


def kept_flags(flags: int, name: bytes) -> int:
    """``PackedMember.flags`` for a member with these flags and this name as the directory has it."""
    return flags & ENCRYPTED | (flags & STRONG) >> 5 | (zlib.crc32(name) & NAME_MASK) << NAME_SHIFT


def packed(source: Source, member: PackedMember) -> bytes | None:
    """The packed bytes of a small member by one read; None where its header is not what it usually is, which
    ``matching`` finds out about. Raises what ``source`` raises."""
    head = source.pread(_GUESS + member.packed, member.at)
    if len(head) < LOCAL_HEADER.size:
        return None
    signature, _needed, flags, method, _stamp, _crc, _packed, _size, name, extra = LOCAL_HEADER.unpack_from(
        head
    )
    start = LOCAL_HEADER.size + name
    usual = (
        signature == LOCAL
        and method == member.method
        and kept_flags(flags, head[LOCAL_HEADER.size : start]) == member.flags
    )
    data = head[start + extra : start + extra + member.packed]
    return data if usual and len(data) == member.packed else None


def matching(source: Source, member: PackedMember) -> Local:
    """A member's local header. Raises DamagedError also where it is that of another member."""
    found = read(source, member.at)
    # IZArc has one here, one there
    names = (found.name, found.name.replace(b"\\", b"/"), found.name.replace(b"/", b"\\"))
    if all(kept_flags(found.flags, name) >> NAME_SHIFT != member.flags >> NAME_SHIFT for name in names):
        raise DamagedError(
            f"the header at byte {member.at} has another name than the central directory", member.at
        )
    if found.method != member.method:
        raise DamagedError(
            f"the header at byte {member.at} has another method than the central directory", member.at
        )
    if (found.flags & ENCRYPTED) != (member.flags & KEPT_ENCRYPTED):
        raise DamagedError(
            f"the header at byte {member.at} and the central directory disagree about encryption", member.at
        )
    return found
