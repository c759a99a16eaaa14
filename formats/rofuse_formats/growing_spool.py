"""Decoded bytes kept on disk while they are decoded, to be read at once: a spool that grows.

Strategy
Bytes come in runs, anywhere in the stream, in any order. A run is cut into pieces, each compressed by itself, and
appended as one *batch*: a header that says what it holds, a record for each piece, the pieces. Who opens the file
goes from header to header and knows it all; what a killed writer left unfinished at the end is cut off by the next
one.

Layout (little-endian): magic; digest of the index that it belongs to; length of the archive's path; the path; CRC-32
of all that. Then batches: tag, pieces, offset of the run in the stream, bytes of the run, bytes that follow the
records, CRC-32 of header and records; a record for each piece (bytes stored, bytes, CRC-32 of what is stored); the
pieces. A batch without pieces says that its run is bad, and why.

Rules
- One process writes, and holds a lock on the first byte; any number of others read, and take in now and then what has
  come.
- What is appended is never changed. A run that is there already is not appended again.
- Every piece is checked when it is read; one that is damaged is an error for its reader, never other bytes.
- The file is private to its user: it has what is in the archive.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from bisect import bisect_right, insort
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.spool import LEVEL, PIECE, unpacked

MAGIC = b"ROgrow\0\1"
_HEAD = Struct("<8s32sI")
_CHECKSUM = Struct("<I")
_BATCH = Struct("<4sIQQII")
_TAG = b"RUN\0"
_RECORD = Struct("<III")
_LONGEST_PATH = 1 << 16
MOST_PIECES = 256
"""In a batch."""
_LONGEST_REASON = 1 << 10


class Piece(NamedTuple):
    """``offset`` and ``size`` in the stream, ``at`` and ``packed`` in the file."""

    offset: int
    size: int
    at: int
    packed: int
    checksum: int


class GrowingSpool:
    """A spool in ``fd``, which it owns. ``digest``, ``path``: of the index and the archive that it is to belong to.
    Made anew where it is empty. Not for several threads at once, but for ``load``. Raises IndexDamagedError where it
    belongs to another one, OSError; the descriptor is then still the caller's."""

    fd = -1

    def __init__(self, fd: int, digest: bytes, path: bytes) -> None:
        self.bad: list[tuple[int, int, str]] = []
        """Runs [start, end) that cannot be had, and why."""
        self.is_writer = False
        self._pieces: list[Piece] = []
        self._starts: list[int] = []  # of runs without a gap,
        self._ends: list[int] = []  # and where those end
        self._at = 0  # what was taken in so far
        self._head = _HEAD.pack(MAGIC, digest, len(path)) + path
        self._head += _CHECKSUM.pack(zlib.crc32(self._head))
        if os.fstat(fd).st_size and os.pread(fd, len(self._head), 0) != self._head:
            raise IndexDamagedError("the spool is another archive's")
        self.fd = fd
        try:
            self.take_over()
            self.refresh()
        except BaseException:
            self.fd = -1
            raise

    def take_over(self) -> bool:
        """Becomes the one who writes, if there is no other."""
        if not self.is_writer:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            try:
                fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, lock)
            except BlockingIOError:
                return False
            self.is_writer = True
            self.refresh()
            if not self._at:
                os.ftruncate(self.fd, 0)
                self._write([self._head])
            os.ftruncate(self.fd, self._at)  # what a killed writer began
        return True

    def refresh(self) -> None:
        """Takes in what was appended since."""
        size = os.fstat(self.fd).st_size
        if not self._at and size >= len(self._head) and os.pread(self.fd, len(self._head), 0) == self._head:
            self._at = len(self._head)
        while self._at and self._at + _BATCH.size + _CHECKSUM.size <= size:
            if not self._take_in(size):
                break

    def _take_in(self, size: int) -> bool:
        """Whether there was a whole batch."""
        head = os.pread(self.fd, _BATCH.size + MOST_PIECES * _RECORD.size, self._at)
        tag, count, offset, length, follow, checksum = _BATCH.unpack_from(head)
        end = _BATCH.size + count * _RECORD.size
        if tag != _TAG or count > MOST_PIECES or len(head) < end or self._at + end + follow > size:
            return False
        if zlib.crc32(head[_BATCH.size : end], zlib.crc32(head[: _BATCH.size - 4])) != checksum:
            return False
        at = self._at + end
        self._at = at + follow
        if not count:
            reason = os.pread(self.fd, min(follow, _LONGEST_REASON), at).decode("utf-8", "replace")
            self.bad.append((offset, offset + length, reason))
            return True
        for packed, piece_size, piece_sum in _RECORD.iter_unpack(head[_BATCH.size : end]):
            if not 0 < packed <= piece_size <= PIECE or at + packed > self._at:
                break
            self._add(Piece(offset, piece_size, at, packed, piece_sum))
            at, offset = at + packed, offset + piece_size
        return True

    def _add(self, piece: Piece) -> None:
        if self._pieces and piece.offset < self._pieces[-1].offset:
            insort(self._pieces, piece)
        else:
            self._pieces.append(piece)
        start, end = piece.offset, piece.offset + piece.size
        number = bisect_right(self._starts, start) - 1
        if number >= 0 and self._ends[number] >= start:
            self._ends[number] = max(self._ends[number], end)
        else:
            number += 1
            self._starts.insert(number, start)
            self._ends.insert(number, end)
        while number + 1 < len(self._starts) and self._starts[number + 1] <= self._ends[number]:
            self._ends[number] = max(self._ends[number], self._ends[number + 1])
            del self._starts[number + 1], self._ends[number + 1]

    # -- reading

    def end_of(self, offset: int) -> int:
        """Up to where the stream is kept from ``offset`` on; that itself where it is not."""
        number = bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[number]) if number >= 0 else offset

    def find(self, offset: int) -> Piece:
        """The piece with a byte that is kept."""
        number = bisect_right(self._pieces, offset, key=lambda piece: piece.offset) - 1
        while number > 0 and self._pieces[number].offset + self._pieces[number].size <= offset:
            number -= 1  # one that lies within another, which a writer knows nothing of
        return self._pieces[number]

    def load(self, piece: Piece) -> bytes:
        """The bytes of a piece. By any number of threads. Raises DamagedError, OSError."""
        return unpacked(os.pread(self.fd, piece.packed, piece.at), piece.packed, piece.size, piece.checksum)

    # -- writing

    def prepared(self, offset: int, data: bytes) -> tuple[bytes, list[Piece]]:
        """A run of ``MOST_PIECES`` pieces at most as a batch, for ``append``; nothing is changed. By any thread."""
        import zstandard

        view = memoryview(data)
        pieces = [view[at : at + PIECE] for at in range(0, len(data), PIECE)]
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        packed = compressor.multi_compress_to_buffer([*pieces], threads=1)  # without the interpreter's lock
        stored: list[bytes | memoryview] = []
        records = []
        for number, piece in enumerate(pieces):
            small = packed[number].tobytes()
            stored.append(small if len(small) < len(piece) else piece)
            records.append(Piece(0, len(piece), 0, len(stored[-1]), zlib.crc32(stored[-1])))
        table = b"".join(_RECORD.pack(one.packed, one.size, one.checksum) for one in records)
        body = b"".join(stored)
        head = _BATCH.pack(_TAG, len(pieces), offset, len(data), len(body), 0)[:-4]
        checksum = _CHECKSUM.pack(zlib.crc32(table, zlib.crc32(head)))
        return head + checksum + table + body, records

    def append(self, offset: int, batch: bytes, pieces: list[Piece]) -> None:
        """Appends what was ``prepared``. Raises OSError; what was there stays."""
        at = self._at + _BATCH.size + len(pieces) * _RECORD.size
        self._write([batch])
        for piece in pieces:
            self._add(piece._replace(offset=offset, at=at))
            at, offset = at + piece.packed, offset + piece.size

    def append_bad(self, start: int, end: int, reason: str) -> None:
        text = reason.encode()[:_LONGEST_REASON]
        head = _BATCH.pack(_TAG, 0, start, end - start, len(text), 0)[:-4]
        self._write([head, _CHECKSUM.pack(zlib.crc32(head)), text])
        self.bad.append((start, end, reason))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._at

    def _write(self, parts: list[bytes]) -> None:
        view, at = memoryview(b"".join(parts)), self._at
        while view:
            count = os.pwrite(self.fd, view, at)
            view, at = view[count:], at + count
        self._at = at

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self.fd >= 0:
            close(self.fd)


def source_of(fd: int) -> bytes:
    """The path of the archive whose members are kept in a file. Raises IndexDamagedError, OSError."""
    head = os.pread(fd, _HEAD.size, 0)
    if len(head) == _HEAD.size:
        magic, _digest, length = _HEAD.unpack(head)
        path = os.pread(fd, length + _CHECKSUM.size, _HEAD.size) if length <= _LONGEST_PATH else b""
        if magic == MAGIC and path[length:] == _CHECKSUM.pack(zlib.crc32(head + path[:length])):
            return path[:length]
    raise IndexDamagedError("a spool without a header")
