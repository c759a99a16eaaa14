"""The members of a 7z archive, column by column: the second half of its header.

Rules
- Only what is certain is told: a property that is not known here, or that stands twice, or has a byte too many or too
  few, and a name that is no text are misunderstood.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rofuse_formats.archives.libarchive.sevenzip.header import HEADER
from rofuse_formats.archives.libarchive.sevenzip.reading import Bytes, MisunderstoodError
from rofuse_formats.archives.libarchive.sevenzip.streams import Folder, streams

_END, _STREAMS, _FILES = 0, 4, 5
_EMPTY_STREAM, _EMPTY_FILE, _NAMES = 14, 15, 17
_CTIME, _ATIME, _MTIME, _ATTRIBUTES, _DUMMY = 18, 19, 20, 21, 25
_KNOWN = {_EMPTY_STREAM, _EMPTY_FILE, _NAMES, _CTIME, _ATIME, _MTIME, _ATTRIBUTES, _DUMMY}
FILE, EMPTY_FILE, DIRECTORY = 0, 1, 2

Moments = list[int | None]
"""In tenths of microseconds since 1601; None of what has none, and 0 where that is written for none."""


class Members(NamedTuple):
    """Each list has an item for every member, in archive order; but those of times may be empty, where no member has
    one."""

    names: list[bytes]
    """In UTF-8; none is empty."""
    kinds: list[int]
    """``FILE``: has bytes, in the next place of a folder. ``EMPTY_FILE``, ``DIRECTORY``."""
    attributes: list[int]
    """Of Windows, and in the high half the mode of Unix; 0 where there are none."""
    mtimes: Moments
    atimes: Moments
    ctimes: Moments


def members_of(data: bytes) -> tuple[list[Folder], Members]:
    """What a header tells. The folders have as many files as there are members with bytes. Raises
    MisunderstoodError."""
    header = Bytes(data)
    header.expect(HEADER)
    folders: list[Folder] = []
    tag = header.byte()
    if tag == _STREAMS:
        folders = streams(header)
        tag = header.byte()
    if tag != _FILES:
        raise MisunderstoodError
    count = header.count(1)
    found = _members(_properties(header), count)
    header.expect(_END)
    if found.kinds.count(FILE) != sum(len(folder.sizes) for folder in folders):
        raise MisunderstoodError
    return folders, found


def _properties(header: Bytes) -> dict[int, Bytes]:
    found: dict[int, Bytes] = {}
    while (tag := header.byte()) != _END:
        if tag not in _KNOWN or (tag in found and tag != _DUMMY):
            raise MisunderstoodError
        found[tag] = Bytes(header.take(header.length()))
    return found


def _members(properties: dict[int, Bytes], count: int) -> Members:
    kinds = [FILE] * count
    if (vector := properties.get(_EMPTY_STREAM)) is not None:
        kinds = [DIRECTORY if bit else FILE for bit in vector.vector(count)]
    if (vector := properties.get(_EMPTY_FILE)) is not None:
        empty = [row for row, kind in enumerate(kinds) if kind]
        for row, bit in zip(empty, vector.vector(len(empty)), strict=True):
            kinds[row] = EMPTY_FILE if bit else DIRECTORY
    mtimes, atimes, ctimes = (
        _numbers(properties.get(tag), count, "Q", None) for tag in (_MTIME, _ATIME, _CTIME)
    )
    attributes = [number or 0 for number in _numbers(properties.get(_ATTRIBUTES), count, "I", 0)]
    found = Members(
        _names(properties.get(_NAMES), count), kinds, attributes or [0] * count, mtimes, atimes, ctimes
    )
    if any(one.left for tag, one in properties.items() if tag != _DUMMY):
        raise MisunderstoodError
    return found


def _names(names: Bytes | None, count: int) -> list[bytes]:
    if names is None:
        raise MisunderstoodError
    names.expect(0)  # not elsewhere
    try:
        text = names.take(names.left).decode("utf-16-le").encode()
    except UnicodeError as error:
        raise MisunderstoodError from error
    found = text.split(b"\0", count)
    if len(found) != count + 1 or found.pop() or b"" in found:
        raise MisunderstoodError
    return found


def _numbers(column: Bytes | None, count: int, code: str, nothing: int | None) -> list[int | None]:
    """A column of which some may be undefined; empty where all are."""
    if column is None:
        return []
    known = column.bits(count)
    column.expect(0)  # not elsewhere
    numbers = struct.unpack(f"<{sum(known)}{code}", column.take(struct.calcsize(code) * sum(known)))
    if len(numbers) == count:
        return list(numbers)
    of_known = iter(numbers)
    return [next(of_known) if is_known else nothing for is_known in known]
