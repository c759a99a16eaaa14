"""Permissions and owner from a header, each spelling looked at once: most archives have a handful."""

from __future__ import annotations

from collections.abc import Callable

from rofuse_formats.archives.tar.header import MAGIC, number, text
from rofuse_formats.entry import Builder

_ID_LIMIT = 1 << 32
_NOBODY = 65534


class Identities(dict[bytes, tuple[int, int]]):
    """From a header's bytes 100 to 124 and 257 to 329 (mode, uid, gid; magic, uname, gname) to the permission bits
    and the owner's number."""

    _MANY = 1 << 12

    def __init__(self, builder: Builder, note: Callable[[str], None]) -> None:
        super().__init__()
        self._builder = builder
        self._note = note
        self._owners: dict[tuple[int, int, bytes, bytes], int] = {}

    def __missing__(self, fields: bytes) -> tuple[int, int]:
        permissions, owner = self.parsed(fields)
        identity = permissions, self.owner(*owner)
        if len(self) >= self._MANY:
            self.clear()
        self[fields] = identity
        return identity

    def parsed(self, fields: bytes) -> tuple[int, tuple[int, int, bytes, bytes]]:
        numbers = []
        for field in (fields[:8], fields[8:16], fields[16:24]):
            try:
                numbers.append(number(field))
            except ValueError:
                self._note("a mode or owner that is not a number is read as 0")
                numbers.append(0)
        mode, uid, gid = numbers
        names = (text(fields[32:64]), text(fields[64:96])) if fields.startswith(MAGIC, 24) else (b"", b"")
        return mode & 0o7777, (uid, gid, *names)

    def owner(self, uid: int, gid: int, uname: bytes, gname: bytes) -> int:
        key = uid, gid, uname, gname
        known = self._owners.get(key)
        if known is None:
            known = self._builder.owner(self._identifier(uid), self._identifier(gid), uname, gname)
            self._owners[key] = known
        return known

    def _identifier(self, value: int) -> int:
        if -_ID_LIMIT // 2 <= value < _ID_LIMIT:
            return value % _ID_LIMIT  # -2 is how some write 4294967294
        self._note("an owner out of range is read as 65534")
        return _NOBODY
