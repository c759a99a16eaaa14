"""Extended headers (POSIX.1-2001, ``pax``): their records and the values that are not plain bytes.

All arithmetic is on integers: a time keeps every nanosecond that was written.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable

from rofuse_formats.entry import Time

MAX_BODY = 16 << 20
"""Bytes of one extended header that are looked at. Its largest honest content is a sparse map of a million runs."""

Records = list[tuple[bytes, bytes]]

_NANO = 1_000_000_000
_MOST_LINES = 64  # that are split at once
_DIGITS = 20  # what a number of 64 bits can have
_SECONDS = 1 << 63


class _Heads(dict[bytes, tuple[bytes, int]]):
    """From a record's beginning, up to its ``=``, to its key and its length; (b"", -1) for what is none. The same
    few come again in every header."""

    _MANY = 1 << 10

    def __missing__(self, head: bytes) -> tuple[bytes, int]:
        digits, _, key = head.partition(b" ")
        parsed = (key, int(digits)) if key and digits.isdigit() and len(digits) < _DIGITS else (b"", -1)
        if len(self) >= self._MANY:
            self.clear()
        if len(head) <= 64:
            self[head] = parsed
        return parsed


_heads = _Heads()


def records(body: bytes) -> tuple[Records, bool]:
    """All records in order, as (key, value), and whether the body is well-formed to its end.

    A record is ``"%d %s=%s\n" % (length, key, value)``, where the length counts the whole record, its own digits
    and the newline among it; the value may hold any bytes. Few hold a newline: as long as every line is just as
    long as it says, the lines are the records.
    """
    found: Records = []
    lines = body.split(b"\n", _MOST_LINES)
    rest = lines.pop()
    position = 0
    for line in lines:
        head, equals, value = line.partition(b"=")
        key, length = _heads[head]
        if length != len(line) + 1 or not equals:
            return _records_from(body, position, found)
        found.append((key, value))
        position += length
    return (found, True) if not rest else _records_from(body, position, found)


def _records_from(body: bytes, position: int, found: Records) -> tuple[Records, bool]:
    """``records`` from ``position`` on, for any values."""
    end = len(body)
    while position < end:
        space = body.find(b" ", position, position + _DIGITS)
        digits = body[position : max(space, position)]
        if not digits.isdigit():
            # Some writers pad the body with NULs and count them in.
            return found, body.count(0, position) == end - position
        following = position + int(digits)
        if following > end or following <= space or body[following - 1] != 10:
            return found, False
        key, equals, value = body[space + 1 : following - 1].partition(b"=")
        if not equals or not key:
            return found, False
        found.append((key, value))
        position = following
    return found, True


def decimal(value: bytes | None, limit: int) -> int:
    """A decimal number in [0, limit). Raises ValueError."""
    if value is None or not value.isdigit():
        raise ValueError("not a number")
    number = int(_significant(value))
    if number >= limit:
        raise ValueError("too large")
    return number


def _significant(digits: bytes) -> bytes:
    """Without zeros before it, of which a writer may put any number. Raises ValueError where it is too long."""
    if len(digits) > _DIGITS:
        digits = digits.lstrip(b"0") or b"0"
        if len(digits) > _DIGITS:
            raise ValueError("too large")
    return digits


def identifier(value: bytes) -> int:
    """A uid or gid; may be negative (writers that print it signed). Raises ValueError."""
    if value.startswith(b"-"):
        return -decimal(value[1:], 1 << 31)
    return decimal(value, 1 << 32)


def moment(value: bytes) -> Time:
    """Seconds since 1970 in decimal, with any number of places; those after the ninth are cut off towards the
    past. Raises ValueError."""
    whole, _, fraction = value.partition(b".")
    if len(fraction) == 9 and len(whole) < _DIGITS - 1 and whole.isdigit() and fraction.isdigit():
        return Time(int(whole), int(fraction))
    return _any_moment(whole, fraction)


def _any_moment(whole: bytes, fraction: bytes) -> Time:
    negative = whole.startswith(b"-")
    digits = _significant(whole[negative:])
    if not (digits + fraction).isdigit():
        raise ValueError("not a time")
    seconds = int(digits or b"0")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    if negative:
        nanoseconds += bool(fraction[9:].strip(b"0"))
        seconds, nanoseconds = divmod(-seconds * _NANO - nanoseconds, _NANO)
    if not -_SECONDS <= seconds < _SECONDS:
        raise ValueError("out of range")
    return Time(seconds, nanoseconds)


_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."


def xattrs(found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Extended attributes by full name. Values that do not decode are left out.

    libarchive writes every attribute twice, and escapes more in the names of both; where its own records are
    present they are the whole truth.
    """
    schily: dict[bytes, bytes] = {}
    libarchive: dict[bytes, bytes] = {}
    for key, value in found:
        if key.startswith(_SCHILY):
            # GNU tar escapes the two characters that a key could not hold, and no others.
            name = key[len(_SCHILY) :].replace(b"%3D", b"=").replace(b"%25", b"%")
            schily[name] = value
        elif key.startswith(_LIBARCHIVE):
            try:
                padding = b"=" * (-len(value) % 4)
                data = binascii.a2b_base64(value + padding, strict_mode=True)
            except binascii.Error:
                continue
            libarchive[_url_decoded(key[len(_LIBARCHIVE) :])] = data
    return libarchive or schily


def _url_decoded(name: bytes) -> bytes:
    first, *rest = name.split(b"%")
    parts = [first]
    for part in rest:
        try:
            parts += (binascii.unhexlify(part[:2]) or b"%", part[2:])
        except binascii.Error:
            parts += (b"%", part)
    return b"".join(parts)
