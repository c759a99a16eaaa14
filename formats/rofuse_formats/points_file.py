"""Seek points of members, kept in a file of the cache beside the index: the next server, or the next mount, need not
read a large member from its beginning again.

Layout (little-endian): magic with its version; digest of the index that it belongs to; length of the archive's path,
number of members; a record for each member (its row in the image, bytes, CRC-32), by rows; the path; CRC-32 of all
that. Then what is kept of each member, one behind the other: what its format makes of it (``seek_index``).

Rules
- It is kept after a member was read from its beginning to its end and passed its check, never before.
- What is not of this very index, or contradicts itself, is as good as absent; so is a file that another user could have
  written. The format checks once more what it is given back.
- Canonical. Written whole, to a file without a name that is then given one: whoever reads meets the old or the new.
- Bounded by ``LARGEST`` and a share of the archive: what was kept last stays.
- Written by one thread, which rests after it took long: what comes meanwhile is written together, and hardly more is
  written than was read.
- Nothing that fails here is an error to who reads the archive: it is told to ``tell``, once.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from struct import Struct
from struct import error as StructError
from time import monotonic, sleep

from rofuse_formats import cache
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import StoredSource

MAGIC = b"ROpoints\0\1"
LARGEST, SMALLEST, SHARE = 64 * MIB, MIB, 20
"""Bytes of a file at most, and at least before the archive's size counts, of which it may have that share."""

_HEADER = Struct("<10s32sII")
_RECORD = Struct("<QQI")
_CHECKSUM = Struct("<I")
_LONGEST_PATH = 1 << 16
_LONG, _REST = 0.05, 20  # seconds of writing after which it rests, that many times as long


class PointsFile:
    """The file of one archive with this ``digest`` of its index. Used by any number of threads."""

    def __init__(self, source: StoredSource, digest: bytes, path: str, tell: Callable[[str], None]) -> None:
        self._source, self._digest, self._path, self._tell = source, digest, path, tell
        self.source, self.digest, self.tell = source, digest, tell
        self._most = min(LARGEST, max(SMALLEST, source.size // SHARE))
        self._lock = threading.Lock()  # of what follows
        self._new: dict[int, bytes] = {}  # not yet written, those that came last at the end
        self._thread: threading.Thread | None = None  # that writes
        self._told = False

    def load(self, row: int) -> bytes | None:
        """What is kept of the member in this row of the image."""
        return next((data for found, data in self._members({row}) if found == row), None)

    def keep(self, row: int, data: bytes) -> threading.Thread:
        """Keeps it in place of what was kept of the member, by a thread that has an end."""
        with self._lock:
            self._new.pop(row, None)
            self._new[row] = data
            if self._thread is None or not self._thread.is_alive():  # it lacked memory, or this is a fork
                self._thread = threading.Thread(target=self._keep_all, name="points", daemon=True)
                self._thread.start()
            return self._thread

    def _keep_all(self) -> None:
        while True:
            with self._lock:
                new, self._new = self._new, {}
                if not new:
                    self._thread = None
                    return
            began = monotonic()
            self._keep(new)
            taken = monotonic() - began
            if taken > _LONG:
                sleep(taken * _REST)

    def _keep(self, new: dict[int, bytes]) -> None:
        kept, room = dict[int, bytes](), self._most
        for found, data in chain(reversed(new.items()), self._members()):
            if found not in kept and len(data) <= room:
                kept[found] = data
                room -= len(data)
        try:
            trouble = self._write(kept) if kept.keys() & new.keys() else ""
        except OSError as error:
            trouble = f"{self._path}: {error.strerror}"
        if trouble and not self._told:
            self._told = True
            self._tell(f"seek points are not kept: {trouble}")

    def _write(self, kept: dict[int, bytes]) -> str:
        path = os.path.realpath(os.fsencode(self._source.path))
        rows = sorted(kept)
        records = [_RECORD.pack(row, len(kept[row]), zlib.crc32(kept[row])) for row in rows]
        head = b"".join((_HEADER.pack(MAGIC, self._digest, len(path), len(rows)), *records, path))
        fd = cache.anonymous_file()
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.writelines((head, _CHECKSUM.pack(zlib.crc32(head)), *(kept[row] for row in rows)))
            return cache.store(fd, self._path)
        finally:
            os.close(fd)

    def _members(self, wanted: set[int] | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows and what is kept of them, those that are ``wanted`` or all."""
        fd = cache.open_trusted(self._path, self._source)
        if isinstance(fd, str):
            return
        try:
            digest, _path, records, position = _head(fd)
            for row, size, checksum in records if digest == self._digest else ():
                data = os.pread(fd, size, position) if wanted is None or row in wanted else None
                if data is not None and len(data) == size and zlib.crc32(data) == checksum:
                    yield row, data
                position += size
        except (IndexDamagedError, OSError):
            return
        finally:
            os.close(fd)


def source_of(fd: int) -> bytes:
    """The path of the archive that the points in a file are of. Raises IndexDamagedError, OSError."""
    return _head(fd)[1]


def _head(fd: int) -> tuple[bytes, bytes, list[tuple[int, int, int]], int]:
    """The index's digest, the archive's path, the records, and where what is kept begins. Raises IndexDamagedError."""
    whole = os.fstat(fd).st_size
    try:
        magic, digest, path, count = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
    except StructError as error:
        raise IndexDamagedError("seek points without a header") from error
    size = _HEADER.size + count * _RECORD.size + path
    if magic != MAGIC or path > _LONGEST_PATH or size + _CHECKSUM.size > min(whole, LARGEST):
        raise IndexDamagedError("seek points of another version")
    head = os.pread(fd, size + _CHECKSUM.size, 0)
    if len(head) < size + _CHECKSUM.size or _CHECKSUM.unpack_from(head, size) != (zlib.crc32(head[:size]),):
        raise IndexDamagedError("seek points that fail their checksum")
    records = list(_RECORD.iter_unpack(head[_HEADER.size : size - path]))
    if size + _CHECKSUM.size + sum(record[1] for record in records) != whole or whole > 2 * LARGEST:
        raise IndexDamagedError("seek points that do not end where they should")
    return digest, head[size - path : size], records, size + _CHECKSUM.size
