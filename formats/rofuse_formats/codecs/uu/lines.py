"""Where the data of a uuencoded text begins and ends, and how it is divided.

Layout: a line ``begin MODE NAME`` or ``begin-base64 MODE NAME``; lines of data; the end. A line of uuencode begins with
a character for the number of its bytes (up to 63, mostly 45) and has four for every three of them; one without bytes
and the line ``end`` are the end. That of base64 is ``====``.

Rules
- Strict: before the line that begins it there are but blank lines, the header of a message, and ``_FEW`` other lines of
  text; a longer text that quotes such lines is none. What follows it must be data, or the end.
- A unit is as many whole lines as ``PIECE`` bytes hold. Its decoded size is what its lines say; none can say more than
  63 bytes.
- What follows the end is told and not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

HEAD = 1 << 16
"""Bytes in which the data must begin."""
PIECE = 1 << 19
FULL = 61
"""Characters of a line of uuencode that has 45 bytes, as all have but the last."""
BASE64 = 1
"""The detail of a unit's place."""

_BEGIN = re.compile(rb"^begin(-base64)? [0-7]{3,4} ([^\r\n]*)\r?\n", re.MULTILINE)
_FEW = 8
_TEXT = re.compile(rb"[^\0-\x08\x0e-\x1f]*")
_OF_A_MESSAGE = re.compile(rb"[!-9;-~]+:|[ \t]|\r?\Z")
_UU_LINE = re.compile(rb"([ -`])([ -`]*)[a-z]?\r?\n")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2}\r?\n")
_ENDS = (rb"(?:[ `]?|end)\r?(?=\n|\Z)", rb"====\r?(?=\n|\Z)")
_UU_END, _BASE64_END = map(re.compile, _ENDS)
_AFTER_LINE = [re.compile(rb"\n" + end) for end in _ENDS]  # a search for a line's end is a fast one
_AFTER_ZERO = re.compile(rb"[ `]?\r?\n?(?:end\r?(?:\n|\Z))?")
_AFTER_BASE64 = re.compile(rb"====\r?(?:\n|\Z)")


class Beginning(NamedTuple):
    at: int
    """Where the data begins."""
    is_base64: bool
    name: bytes
    """What the text says that the file is called."""


def beginning(head: bytes) -> Beginning | None:
    """Where the data begins in a text that begins with ``head``."""
    found = _BEGIN.search(head)
    if found is None or not _may_come_before(head[: found.start()]):
        return None
    return Beginning(found.end(), found[1] is not None, found[2].rstrip())


def _may_come_before(text: bytes) -> bool:
    others = (line for line in text.split(b"\n") if not _OF_A_MESSAGE.match(line))
    return bool(_TEXT.fullmatch(text)) and sum(1 for _ in others) <= _FEW


def is_encoded(head: bytes) -> bool:
    start = beginning(head[:HEAD])
    if start is None:
        return False
    if start.is_base64:
        return bool(_BASE64_LINE.match(head, start.at) or _BASE64_END.match(head, start.at))
    line = _UU_LINE.match(head, start.at)
    if line is None:
        return False
    size = line[1][0] - 32 & 63
    if not size:
        return head.startswith(b"end", line.end())
    return size <= 45 and (8 * size + 5) // 6 <= len(line[2]) <= FULL


def units(source: Source, findings: Findings) -> Iterator[Unit]:
    """All units; see ``Kind.units``."""
    start = beginning(source.pread(HEAD, 0))
    if start is None:
        raise DamagedError("there is no line that begins uuencoded data", 0)
    position = start.at
    while True:
        data = source.pread(PIECE, position)
        is_last = position + len(data) >= source.size
        at, end = _find_end(data, start.is_base64)
        if end == len(data) and not is_last:
            at = -1  # the line goes on
        body = data[: at if at >= 0 else data.rfind(b"\n") + 1]
        if body:
            place = Place(position, len(body), BASE64 if start.is_base64 else 0)
            size = _base64_size(body) if start.is_base64 else _uu_size(body)
            yield Unit(place, size, checked=False)
        position += len(body)
        if at >= 0:
            _end(source, position, start.is_base64, findings)
            return
        if is_last:
            raise TruncatedError(f"uuencoded data ends too early, at offset {source.size}", source.size)
        if not body:
            raise DamagedError(f"there is no line of data at offset {position}", position)


def _find_end(data: bytes, is_base64: bool) -> tuple[int, int]:
    """Where in ``data``, which begins with a line, the line is that ends it, and where that ends; -1 for none."""
    found = (_BASE64_END if is_base64 else _UU_END).match(data)
    if found is not None:
        return found.span()
    found = _AFTER_LINE[is_base64].search(data)
    return (found.start() + 1, found.end()) if found is not None else (-1, -1)


def full_line(body: bytes) -> int:
    """How long the lines of ``body`` are, with their ends, if all of them are full; else 0."""
    length = body.find(b"\n") + 1
    if length not in (FULL + 1, FULL + 2) or len(body) % length:
        return 0
    count = len(body) // length
    are_lines = body[::length] == b"M" * count and body[length - 1 :: length] == b"\n" * count
    return length if are_lines and (length == FULL + 1 or body[FULL::length] == b"\r" * count) else 0


def _uu_size(body: bytes) -> int:
    if length := full_line(body):
        return len(body) // length * 45
    return sum(line[0] - 32 & 63 for line in body.splitlines() if line)


def _base64_size(body: bytes) -> int:
    characters = len(body) - body.count(b"\n") - body.count(b"\r")
    return max(0, characters // 4 * 3 - body.count(b"=", -4))


def _end(source: Source, position: int, is_base64: bool, findings: Findings) -> None:
    """Says what is wrong with the end, and what follows it."""
    data = source.pread(HEAD, position)
    found = (_AFTER_BASE64 if is_base64 else _AFTER_ZERO).match(data)
    after = position + (found.end() if found is not None else 0)
    if found is None or (not is_base64 and b"end" not in found[0]):
        what = f"uuencoded data ends without its end mark, at offset {after}"
        findings.damaged((TruncatedError if after >= source.size else DamagedError)(what, after))
    if data[after - position :].strip() or position + len(data) < source.size:
        left = source.size - after
        findings.warnings.append(f"{left} bytes behind the end of the uuencoded data (offset {after})")
