"""Extra fields (APPNOTE 4.5, 4.6; Info-ZIP's extrafld.txt): a tag, a length and that many bytes each.

Rules
- A field that is too short for what it should hold is passed over, as is all behind one that reaches beyond the end.
- Where several say the same, that one counts which says it best: of times 100 ns before seconds before DOS; of owners
  the one with the widest numbers.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from struct import Struct

from rofuse_formats.archives.zip.records import MAX32
from rofuse_formats.archives.zip.times import unix_seconds, windows_time
from rofuse_formats.entry import Time

ZIP64 = 0x0001
NTFS = 0x000A
PKWARE_UNIX = 0x000D
TIMES = 0x5455  # "UT"
OLD_UNIX = 0x5855  # "UX"
UNIX_IDS = 0x7855  # "Ux"
NEW_UNIX_IDS = 0x7875  # "ux"
ASI_UNIX = 0x756E  # "nu"
UNICODE_PATH = 0x7075  # "up"
AES = 0x9901

_FIELD = Struct("<HH")
_U16, _U32, _U64 = Struct("<H"), Struct("<I"), Struct("<Q")
_TWO16, _TWO32 = Struct("<HH"), Struct("<II")
_NTFS_TIMES = Struct("<QQQ")
_PKWARE_UNIX = Struct("<iiHH")
_OLD_UNIX = Struct("<ii")
_ASI_UNIX = Struct("<IHIHH")  # crc, mode, size of the link's target or device, uid, gid
_AES = Struct("<H2sBH")


def fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields as (tag, bytes)."""
    at, end = 0, len(extra)
    while at + _FIELD.size <= end:
        tag, size = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        if at + size > end:
            return
        yield tag, extra[at : at + size]
        at += size


class Facts:
    """What the extra fields of one header say. None: nothing."""

    __slots__ = (
        "_clock",
        "_width",
        "atime",
        "btime",
        "link",
        "mode",
        "mtime",
        "owner",
        "rdev",
        "stamp",
        "unicode",
        "zip64",
    )

    def __init__(self, extra: bytes, stamp: int = 0) -> None:
        """``stamp``: the header's DOS time."""
        self.stamp = stamp
        self.zip64 = b""
        self.unicode: tuple[int, bytes] | None = None
        """CRC-32 of the name as the header has it, and the name in UTF-8."""
        self.mtime: Time | None = None
        self.atime: Time | None = None
        self.btime: Time | None = None
        self.owner: tuple[int, int] | None = None
        self.mode: int | None = None
        self.link = b""
        """Where a link leads to, symbolic or hard by the mode."""
        self.rdev: int | None = None
        self._clock = self._width = 0  # how good what is known of times and owners is
        for tag, data in fields(extra):
            read = _READERS.get(tag)
            if read is not None:
                read(self, data)

    def _times(
        self, quality: int, mtime: Time | None, atime: Time | None = None, btime: Time | None = None
    ) -> None:
        if quality > self._clock:
            self._clock = quality
            self.mtime, self.atime, self.btime = mtime, atime, btime

    def _owner(self, width: int, uid: int, gid: int) -> None:
        if width > self._width:
            self._width, self.owner = width, (uid, gid)

    def _second(self, value: int) -> Time:
        return Time(unix_seconds(value, self.stamp))

    def _read_zip64(self, data: bytes) -> None:
        self.zip64 = data

    def _read_ntfs(self, data: bytes) -> None:
        for tag, times in fields(data[4:]):
            if tag == 1 and len(times) >= _NTFS_TIMES.size:
                mtime, atime, btime = (
                    Time(*windows_time(value)) if value else None for value in _NTFS_TIMES.unpack_from(times)
                )
                if mtime:
                    self._times(3, mtime, atime, btime)

    def _read_times(self, data: bytes) -> None:
        """In the central directory only mtime is there, whatever the bits say."""
        if not data or not data[0] & 7:
            return
        found: list[Time | None] = [None, None, None]
        at = 1
        for bit in range(3):
            if data[0] & 1 << bit and at + 4 <= len(data):
                found[bit] = self._second(int.from_bytes(data[at : at + 4], "little", signed=True))
                at += 4
        if found[0]:
            self._times(2, *found)

    def _read_pkware_unix(self, data: bytes) -> None:
        if len(data) < _PKWARE_UNIX.size:
            return
        atime, mtime, uid, gid = _PKWARE_UNIX.unpack_from(data)
        self._times(1, self._second(mtime), self._second(atime))
        self._owner(1, uid, gid)
        self.link = data[_PKWARE_UNIX.size :]  # or a device's numbers
        if len(self.link) == _TWO32.size:
            major, minor = _TWO32.unpack(self.link)
            self.rdev = os.makedev(major & 0xFFF, minor & 0xFFFFF)

    def _read_old_unix(self, data: bytes) -> None:
        if len(data) >= _OLD_UNIX.size:
            atime, mtime = _OLD_UNIX.unpack_from(data)
            self._times(1, self._second(mtime), self._second(atime))
        if len(data) >= _OLD_UNIX.size + _TWO16.size:
            self._owner(1, *_TWO16.unpack_from(data, _OLD_UNIX.size))

    def _read_ids(self, data: bytes) -> None:
        if len(data) >= _TWO16.size:
            self._owner(2, *_TWO16.unpack_from(data))

    def _read_new_ids(self, data: bytes) -> None:
        found = unix_ids(data)
        if found is not None:
            self._owner(3, *found)

    def _read_asi_unix(self, data: bytes) -> None:
        if len(data) < _ASI_UNIX.size or zlib.crc32(data[4:]) != _U32.unpack_from(data)[0]:
            return
        _crc, mode, device, uid, gid = _ASI_UNIX.unpack_from(data)
        self.mode = mode
        self._owner(1, uid, gid)
        self.link = data[_ASI_UNIX.size :]
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            self.rdev = os.makedev(device >> 8 & 0xFFF, device & 0xFF)

    def _read_unicode_path(self, data: bytes) -> None:
        if len(data) > 5 and data[0] == 1:
            self.unicode = _U32.unpack_from(data, 1)[0], data[5:]


_READERS = {
    ZIP64: Facts._read_zip64,
    NTFS: Facts._read_ntfs,
    PKWARE_UNIX: Facts._read_pkware_unix,
    TIMES: Facts._read_times,
    OLD_UNIX: Facts._read_old_unix,
    UNIX_IDS: Facts._read_ids,
    NEW_UNIX_IDS: Facts._read_new_ids,
    ASI_UNIX: Facts._read_asi_unix,
    UNICODE_PATH: Facts._read_unicode_path,
}


def unix_ids(data: bytes) -> tuple[int, int] | None:
    """uid and gid of a "ux" field: version 1, and each with its length. None where they are none, or wider than 32 bits
    can hold."""
    if len(data) < 3 or data[0] != 1:
        return None
    width = data[1]
    uid = data[2 : 2 + width]
    rest = data[2 + width :]
    if len(uid) != width or not rest or len(rest) < 1 + rest[0]:
        return None
    found = int.from_bytes(uid, "little"), int.from_bytes(rest[1 : 1 + rest[0]], "little")
    return found if max(found) <= MAX32 else None


def widened(data: bytes, *values: int) -> tuple[int, ...] | None:
    """Sizes and offsets, those that are all ones replaced by the next eight bytes of the zip64 field ``data`` (APPNOTE
    4.5.3). None where the field has too few, or one that no file can have."""
    found, at = [], 0
    for value in values:
        if value == MAX32:
            if at + 8 > len(data):
                return None
            (value,) = _U64.unpack_from(data, at)
            at += 8
            if value >> 62:
                return None
        found.append(value)
    return tuple(found)


def widened_disk(data: bytes, *values: int) -> int:
    """The number of a disk that a zip64 field has behind what it has of ``values``; that of no disk where it lacks
    it."""
    at = 8 * sum(value == MAX32 for value in values)
    return _U32.unpack_from(data, at)[0] if at + 4 <= len(data) else MAX32


def aes(extra: bytes) -> tuple[int, int, int] | None:
    """What the AES field says: version (1: AE-1, 2: AE-2), strength (1 to 3), method of the data within."""
    for tag, data in fields(extra):
        if tag == AES and len(data) >= _AES.size:
            version, vendor, strength, method = _AES.unpack_from(data)
            return (version, strength, method) if vendor == b"AE" else None
    return None
