"""Decoded bytes kept on disk, for stretches of a stream that nothing can be sought in.

Strategy
While such a stretch is decoded for the first time, what comes out is cut at multiples of 128 KiB, each piece compressed
by itself with fast zstd (or left as it is where that saves nothing), and appended to one file. Ever after any place in
it is one small read and one small decompression away.

Layout (little-endian): magic; the pieces; the table, a record a piece (number of the stream and offset in it; place and
size in the file; decoded size; CRC-32 of what is stored), ascending; a footer (place and number of the records, CRC-32
of them, magic). A spool is named by its table: the index that goes with it knows the digest.

Rules
- Written once, by one process, to a file that has no name yet; never changed afterwards.
- A stretch of a few MiB is not worth it: it is held in memory until that is known.
- What it may take is asked of a ``Room`` while it grows: it never fills a disk.
- Every piece is checked when it is read; one that is damaged is an error for its reader, never other bytes.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rofuse_formats.checksum import crc32, sha256
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.patches import Patch

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PIECE = 128 << 10
LEAST = 8 << 20  # what a shorter stretch holds is decoded as fast as it is wanted
LEVEL = -1  # 1 takes half as long again for a twelfth less; the first mount waits for it
MAGIC = b"ROspool\1"
RECORD = Struct("<IQQIII")
FOOTER = Struct("<QQI8s")
_WAITING = 3  # chunks on their way to the writing thread
_ASK_EVERY = 16 << 20  # bytes written between two questions for room


class Room(Protocol):
    """Where a spool goes, and who says how large it may become."""

    def open(self) -> int:
        """The descriptor of the file, empty at first, the same every time. Raises LimitError."""
        ...

    def ask(self, written: int, /) -> None:
        """``written`` bytes lie in the spool and more is to come. Raises LimitError where there is no room."""
        ...


class Writer:
    """A spool in the making. Without ``room`` nothing is kept, but it is still counted what would have been:
    ``refused`` bytes in all, ``refused_needed`` of them such as cannot be had otherwise. What is not needed is given up
    where there is no room for it; ``why`` says then what was lacking.

    What is added is compressed and written by a thread, so that decoding goes on meanwhile; what goes wrong there is
    raised by the next call. To be closed.
    """

    def __init__(self, room: Room | None) -> None:
        self.refused = self.refused_needed = 0
        self.why = ""
        self._thread: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[None]] = deque()
        self._room = room
        self._table: list[bytes] = []
        self._at = len(MAGIC)
        self._asked = 0
        self._stream, self._offset = -1, 0  # of what is pending
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._needed = True  # whether what is pending is
        self._worthwhile = False  # whether this stretch has become long enough to be kept

    def add(self, stream: int, offset: int, data: bytes, *, needed: bool = True) -> None:
        """Keeps bytes of a stream, after all that were kept of it before. Raises OSError, and LimitError if they are
        ``needed``."""
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, "spool")
        if len(self._jobs) >= _WAITING:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(self._add, stream, offset, data, needed))

    def close(self) -> None:
        """Ends the thread; what was not finished is lost."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _add(self, stream: int, offset: int, data: bytes, needed: bool) -> None:
        if stream != self._stream or offset != self._offset + self._pending_size or needed != self._needed:
            self._end_stretch()
            self._stream, self._offset, self._needed = stream, offset, needed
        self._pending.append(data)
        self._pending_size += len(data)
        if self._worthwhile or self._pending_size >= LEAST:
            self._worthwhile = True
            self._write_pending(whole=False)

    def finish(self) -> dict[str, Any] | None:
        """Writes the table. Returns what the index must know to find its spool again; None where nothing was kept.
        More may be added afterwards, and takes the table's place; then it is to be finished again."""
        while self._jobs:
            self._jobs.popleft().result()
        self._end_stretch()
        if not self._table or self._room is None:
            return None
        table = b"".join(self._table)
        footer = FOOTER.pack(self._at, len(self._table), crc32(table), MAGIC)
        _write(self._room.open(), MAGIC, 0)
        _write(self._room.open(), table + footer, self._at)
        return {"digest": sha256(table).hexdigest(), "size": self._at + len(table) + len(footer)}

    def _end_stretch(self) -> None:
        if self._worthwhile:
            self._write_pending(whole=True)
        self._worthwhile = False
        self._pending, self._pending_size = [], 0

    def _write_pending(self, *, whole: bool) -> None:
        """Writes what is pending, but for a last piece that is not full yet unless ``whole``."""
        data = b"".join(self._pending)
        end = self._offset + len(data)
        stop = len(data) if whole else len(data) - end % PIECE
        cuts = [0, *range(PIECE - self._offset % PIECE, stop, PIECE), stop]
        pieces = [data[start:cut] for start, cut in pairwise(cuts) if start < cut]
        if not pieces:
            return
        if self._room is None or (self.why and not self._needed) or not self._has_room(self._room):
            self.refused += stop
            self.refused_needed += stop if self._needed else 0
        else:
            self._write_pieces(self._room, pieces)
        self._offset += stop
        self._pending, self._pending_size = [data[stop:]], len(data) - stop

    def _has_room(self, room: Room) -> bool:
        """Raises LimitError where there is none for what is needed."""
        if not self._table or self._at - self._asked >= _ASK_EVERY:
            try:
                room.ask(self._at)
            except LimitError as error:
                if self._needed:
                    raise
                self.why = str(error)
                return False
            self._asked = self._at
        return True

    def _write_pieces(self, room: Room, pieces: list[bytes]) -> None:
        offset, records, stored = self._offset, [], []
        for data, packed in zip(pieces, self._compressed(pieces), strict=True):
            kept = packed if len(packed) < len(data) else data
            records.append(RECORD.pack(self._stream, offset, self._at, len(kept), len(data), crc32(kept)))
            stored.append(kept)
            self._at, offset = self._at + len(kept), offset + len(data)
        together = b"".join(stored)
        _write(room.open(), together, self._at - len(together))
        self._table += records

    def _compressed(self, pieces: list[bytes]) -> list[bytes]:
        """All pieces in one call: whoever scans what was decoded has the interpreter for itself meanwhile."""
        import zstandard

        compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        found = compressor.multi_compress_to_buffer([*pieces], threads=1)
        return [found[number].tobytes() for number in range(len(found))]


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count


class _Piece(NamedTuple):
    stream: int
    offset: int
    """Decoded, in its stream."""
    at: int
    """In the file."""
    packed: int
    size: int
    checksum: int


class Spool:
    """A finished spool. Owns ``fd``; any number of threads may read."""

    fd = -1

    def __init__(self, fd: int, known: dict[str, Any]) -> None:
        """``known``: what ``Writer.finish`` gave. Raises IndexDamagedError, OSError; the descriptor is then still the
        caller's."""
        self.size = os.fstat(fd).st_size
        if self.size != known.get("size") or self.size < len(MAGIC) + FOOTER.size:
            raise IndexDamagedError("the spool is of another size")
        at, count, checksum, magic = FOOTER.unpack(os.pread(fd, FOOTER.size, self.size - FOOTER.size))
        if magic != MAGIC or at + count * RECORD.size + FOOTER.size != self.size:
            raise IndexDamagedError("the spool does not end as it should")
        table = os.pread(fd, count * RECORD.size, at)
        if crc32(table) != checksum or sha256(table).hexdigest() != known.get("digest"):
            raise IndexDamagedError("the spool is another one than the index knows")
        self._pieces = [_Piece(*fields) for fields in RECORD.iter_unpack(table)]
        self._keys = [(piece.stream, piece.offset) for piece in self._pieces]
        self._check(at)
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # kept: modules may be gone by then
        if self.fd >= 0:
            close(self.fd)

    def _check(self, end: int) -> None:
        for piece in self._pieces:
            if not (0 < piece.packed <= piece.size <= PIECE and piece.at + piece.packed <= end):
                raise IndexDamagedError("the spool has a piece that cannot be")
        for (stream, offset), (next_stream, next_offset) in pairwise(self._keys):
            if (stream, offset) >= (next_stream, next_offset):
                raise IndexDamagedError("the spool has its pieces in disorder")
        if any(a.stream == b.stream and a.offset + a.size > b.offset for a, b in pairwise(self._pieces)):
            raise IndexDamagedError("the spool has pieces that overlap")

    def runs(self, stream: int) -> list[Patch]:
        """The stretches of a stream that are kept here."""
        found: list[tuple[int, int]] = []
        for piece in self._pieces:
            if piece.stream != stream:
                continue
            if found and found[-1][1] == piece.offset:
                found[-1] = (found[-1][0], piece.offset + piece.size)
            else:
                found.append((piece.offset, piece.offset + piece.size))
        return [_Run(self, stream, start, end) for start, end in found]

    def read(self, stream: int, offset: int, size: int) -> bytes:
        """Bytes of a stretch that is kept here, as many as its piece has from ``offset`` on, ``size`` at most.
        Raises DamagedError, OSError."""
        piece = self._pieces[bisect_right(self._keys, (stream, offset)) - 1]
        data = self._piece(piece)
        start = offset - piece.offset
        return data if not start and size >= len(data) else data[start : start + size]

    def _piece(self, piece: _Piece) -> bytes:
        return unpacked(os.pread(self.fd, piece.packed, piece.at), piece.packed, piece.size, piece.checksum)


def unpacked(data: bytes, packed: int, size: int, checksum: int) -> bytes:
    """The ``size`` bytes of a piece, given the ``packed`` ones that are stored. Raises DamagedError."""
    import zstandard

    if len(data) == packed and crc32(data) == checksum:
        if packed == size:
            return data
        try:
            if zstandard.get_frame_parameters(data).content_size == size:
                return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError:
            pass  # told as any other damage
    raise DamagedError("the spool is damaged; 'rofuse-mount cache clear' and mounting again make a new one")


class _Run:
    """One stretch of a stream, as ``patches.Patch``."""

    def __init__(self, spool: Spool, stream: int, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.points: Sequence[int] = [start, *range(start + PIECE - start % PIECE, end, PIECE)]
        self._spool, self._stream = spool, stream

    def read(self, offset: int, size: int) -> bytes:
        return self._spool.read(self._stream, offset, min(size, self.end - offset))
