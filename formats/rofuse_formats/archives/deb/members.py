"""The members of the ar archive that a package is (ar(5), the common format)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from rofuse_formats.entry import Builder, Part
from rofuse_formats.source import Source

_MAGIC = b"!<arch>\n"
_VERSION = b"debian-binary"
_HEADER = Struct("16s 12s 6s 6s 8s 10s 2s")  # name, mtime, uid, gid, mode; size; end
_END = b"`\n"
_TARS = (b"control", b"data")
_LARGEST_ID = (1 << 32) - 1


class Member(NamedTuple):
    name: bytes
    mtime: int
    uid: int
    gid: int
    mode: int
    start: int
    """Where its bytes begin."""
    size: int

    def part(self) -> Part:
        return Part(self.name, self.start, self.size)


class Owners(dict[tuple[int, int], int]):
    """From uid and gid to the owner's number."""

    def __init__(self, builder: Builder) -> None:
        super().__init__()
        self._builder = builder

    def __missing__(self, ids: tuple[int, int]) -> int:
        number = self[ids] = self._builder.owner(*ids)
        return number


def is_package(head: bytes) -> bool:
    if not head.startswith(_MAGIC):
        return False
    first = _member(head[len(_MAGIC) :][: _HEADER.size], len(_MAGIC))
    return first is not None and first.name == _VERSION and head.startswith(b"2.", first.start)


def members(source: Source, builder: Builder) -> Iterator[Member]:
    """All members, in order. What is wrong with the headers is told to ``builder``."""
    position = len(_MAGIC)
    while position < source.size:
        header = source.pread(_HEADER.size, position)
        member = _member(header, position)
        if member is None:
            whole = len(header) == _HEADER.size
            reason = "no header of a member is" if whole else "the archive is cut"
            builder.damaged(f"{reason} at byte {position}", position)
            return
        yield member
        missing = member.start + member.size - source.size
        if missing > 0:
            name = member.name.decode("utf-8", "backslashreplace")
            builder.damaged(f"the archive is cut in {name!r}, {missing} bytes before its end", source.size)
        position = member.start + member.size
        position += position & 1


def _member(header: bytes, position: int) -> Member | None:
    if len(header) < _HEADER.size:
        return None
    name, mtime, uid, gid, mode, size, end = _HEADER.unpack(header)
    numbers = [_number(mtime), _number(uid), _number(gid), _number(mode, 8), _number(size)]
    name = name.rstrip(b" ").removesuffix(b"/")
    if end != _END or None in numbers or not size.strip() or not name or b"/" in name or b"\0" in name:
        return None
    found = [number or 0 for number in numbers]
    return Member(name, found[0], found[1], found[2], found[3], position + _HEADER.size, found[4])


def _number(field: bytes, base: int = 10) -> int | None:
    """A field's number, 0 where it is left empty; None where it is none."""
    digits = field.rstrip(b" ")
    if not digits:
        return 0
    try:
        return int(digits, base) if digits.isdigit() else None  # int() alone takes signs and underscores
    except ValueError:  # an 8 or a 9
        return None


def directory(name: bytes) -> bytes:
    """What a member's tree is shown as; nothing, where it has none."""
    return next((tar for tar in _TARS if name == tar + b".tar" or name.startswith(tar + b".tar.")), b"")


def add(member: Member, builder: Builder, owners: Owners) -> None:
    """The member as a file."""
    mode = stat.S_IFREG | (stat.S_IMODE(member.mode) or 0o644)
    builder.add(member.name, mode, owners[_ids(member)], member.size, member.mtime, 0, member.start)


def add_directory(member: Member, below: bytes, builder: Builder, owners: Owners) -> None:
    """The directory for a member's tree, unless that says how its root is."""
    builder.add(below, stat.S_IFDIR | 0o755, owners[_ids(member)], 0, member.mtime, 0, 0)


def _ids(member: Member) -> tuple[int, int]:
    return min(member.uid, _LARGEST_ID), min(member.gid, _LARGEST_ID)
