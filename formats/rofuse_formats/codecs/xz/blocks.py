"""Finding all blocks of a source.

Strategy
Every stream ends with an index of its blocks, so a source is first gone through from its end: footer, index, and by the
sizes in that the header, before which another stream may end. This finds all blocks of a sound source without a look at
them.

Where that fails at some place (the file is cut, an index is damaged, something follows), all before it is *walked*
from the front: a block is a chain of LZMA2 chunks, whose headers say how long each is and what it decodes to. So the
sizes of a block are told without decoding it, and compared with the index that follows. The walk ends where it meets
the streams that were found from the end. If it fails before, the block that it is in is one of unknown size, and none
follows.

Rules
- Memory: 16 bytes a stream, for ``MOST_STREAMS`` at most; a source of more is walked.
- Streams found from the end have a sound index and footer. A damaged header is no loss: the footer says the same.
- ``detail`` of a place: the check, 16 times the bytes of padding, and ``CUT`` for a block of unknown size.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Generator, Iterator

from rofuse_formats.codecs.xz import layout
from rofuse_formats.codecs.xz.layout import FOOTER, HEADER, Index, Record
from rofuse_formats.errors import DamagedError, TruncatedError, UnsupportedError
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

CUT = 64
MOST_STREAMS = 1 << 20
WIDEST_GAP = 64 << 10
"""Bytes between blocks of two streams that a decoder goes through to reach the second."""
_PIECE = 64 << 10


def units(source: Source, findings: Findings) -> Iterator[Unit]:
    """All blocks; see ``Kind.units``."""
    streams = array("Q")
    walk = _Walk(source, _from_the_end(source, streams), findings)
    yield from walk
    previous = walk.previous
    for at in range(len(streams) - 2, -1, -2):
        start, end = streams[at : at + 2]
        previous = yield from _indexed(source, start, end, previous, findings)


def _from_the_end(source: Source, streams: array[int]) -> int:
    """Collects start and end of every stream that can be found from the end, last first; returns where the first of
    them starts."""
    position = source.size
    while position and len(streams) < 2 * MOST_STREAMS:
        end = _before_zeros(source, position)
        try:
            start = _start(source, end)
        except (DamagedError, UnsupportedError):
            break  # the walk comes there and says what it is
        if (position - end) % 4:
            break
        streams.extend((start, end))
        position = start
    return position


def _start(source: Source, end: int) -> int:
    """Where the stream starts that ends at ``end``. Raises DamagedError, UnsupportedError."""
    index, _check = _index(source, end)
    start = index.offset - index.verify() - HEADER
    if start < 0:
        raise DamagedError(f"the xz index at offset {index.offset} has blocks before the start", index.offset)
    return start


def _index(source: Source, end: int) -> tuple[Index, int]:
    """Index and check of the stream that ends at ``end``. Raises DamagedError, UnsupportedError."""
    if end < HEADER + layout.LEAST_INDEX + FOOTER:
        raise DamagedError(f"no xz stream ends at offset {end}", end)
    footer = layout.footer(source.pread(FOOTER, end - FOOTER), end - FOOTER)
    offset = end - FOOTER - footer.index_length
    if offset < HEADER:
        raise DamagedError(f"the xz index before offset {end} has no room", end)
    return Index(source, offset, footer.index_length), footer.check


def _indexed(
    source: Source, start: int, end: int, previous: int, findings: Findings
) -> Generator[Unit, None, int]:
    """The blocks of the stream from ``start`` to ``end``, by its index; returns where the last one ends."""
    index, check = _index(source, end)
    try:
        if layout.check_of_header(source.pread(HEADER, start), start) != check:
            raise DamagedError(f"the xz stream at offset {start} has two different checks", start)
    except (DamagedError, UnsupportedError) as error:
        findings.damaged(DamagedError(str(error), start))
        previous = -1
    offset, first = start + HEADER, True
    for record in index.records():
        unit = _unit(offset, record, check, previous, first)
        yield unit
        offset = previous = unit.place.end
        first = False
    return previous


def _unit(offset: int, record: Record, check: int, previous: int, first: bool) -> Unit:
    """The block at ``offset``. ``previous``: where the block before it ends, -1 where that cannot be gone on from."""
    if record.size > record.unpadded * layout.MOST_RATIO:
        raise DamagedError(
            f"the xz block at offset {offset} cannot hold the {record.size} bytes that the index says", offset
        )
    length = layout.padded(record.unpadded)
    detail = check | length - record.unpadded << 4
    joined = 0 <= offset - previous <= WIDEST_GAP and previous >= 0
    return Unit(Place(offset, length, detail), record.size, checked=bool(check), joined=joined, first=first)


def _before_zeros(source: Source, end: int) -> int:
    """Where the zeros start that end at ``end``."""
    while end:
        start = max(0, end - _PIECE)
        left = len(source.pread(end - start, start).rstrip(b"\0"))
        if left:
            return start + left
        end = start
    return 0


def after_zeros(source: Source, start: int, end: int) -> int:
    """Where the zeros end that start at ``start``; ``end`` at most."""
    while start < end:
        data = source.pread(min(_PIECE, end - start), start)
        left = len(data.lstrip(b"\0"))
        start += len(data) - left
        if left or not data:
            break
    return start


class _Walk:
    """The blocks before ``end``, by their own headers."""

    def __init__(self, source: Source, end: int, findings: Findings) -> None:
        self.previous = -1  # where the last block ends
        self._source, self._end, self._findings = source, end, findings
        self._data, self._base = b"", 0

    def __iter__(self) -> Iterator[Unit]:
        position = 0
        while position < self._end:
            check = self._header(position)
            position = yield from self._stream(position, check)
            behind = after_zeros(self._source, position, self._end)
            if (behind - position) % 4:
                self._findings.warnings.append(
                    f"xz stream padding of {behind - position} bytes at offset {position}, which is no multiple of 4"
                )
                self.previous = -1
            position = behind

    def _header(self, position: int) -> int:
        data = self._bytes(position, HEADER)
        if position and not data.startswith(layout.MAGIC[: len(data)]):
            left = self._end - position
            raise DamagedError(
                f"{left} bytes after the last xz stream are no xz stream (offset {position})", position
            )
        return layout.check_of_header(data, position)

    def _stream(self, start: int, check: int) -> Generator[Unit, None, int]:
        """The blocks of the stream at ``start``; returns where it ends."""
        position, first = start + HEADER, True
        count = length = checksum = 0  # of the index that these blocks make
        while self._bytes(position, 1) != b"\0":
            walked = _Walked(self, position)
            try:
                record = Record(walked.unpadded() + layout.CHECK_SIZES[check], walked.size)
                if position + layout.padded(record.unpadded) > self._end:
                    raise TruncatedError("xz data ends within a block", self._end)
            except DamagedError as damage:
                place = Place(position, self._end - position, check | CUT)
                yield Unit(place, walked.size, exact=False, checked=bool(check), first=first)
                raise damage
            unit = _unit(position, record, check, self.previous, first)
            yield unit
            entry = layout.encoded(record.unpadded) + layout.encoded(record.size)
            count, length, checksum = count + 1, length + len(entry), zlib.crc32(entry, checksum)
            position = self.previous = unit.place.end
            first = False
        size = layout.padded(1 + len(layout.encoded(count)) + length) + 4
        self._verify(Index(self._source, position, size), check, checksum)
        return position + size + FOOTER

    def _verify(self, index: Index, check: int, checksum: int) -> None:
        """Compares index and footer with the blocks that were walked, the checksum of whose records is given."""
        end = index.offset + index.length
        if end + FOOTER > self._end:
            raise TruncatedError(f"xz data ends within the index at offset {index.offset}", index.offset)
        found = 0
        try:
            index.verify()
            for record in index.records():
                found = zlib.crc32(layout.encoded(record.unpadded) + layout.encoded(record.size), found)
            if found != checksum:
                raise DamagedError(f"the xz index at offset {index.offset} is of other blocks", index.offset)
            if layout.footer(self._bytes(end, FOOTER), end) != (check, index.length):
                raise DamagedError(f"the xz stream footer at offset {end} is of another stream", end)
        except DamagedError as damage:
            self._findings.damaged(damage)
            self.previous = -1

    def _bytes(self, position: int, size: int) -> bytes:
        """``size`` bytes, fewer at the end."""
        at = position - self._base
        if at < 0 or at + size > len(self._data):
            wanted = max(0, min(_PIECE, self._end - position))
            self._data, self._base, at = self._source.pread(wanted, min(position, self._end)), position, 0
        return self._data[at : at + size]

    def some(self, position: int, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises TruncatedError."""
        data = self._bytes(position, size)
        if len(data) < size:
            raise TruncatedError("xz data ends within a block", position)
        return data

    def block_header(self, position: int) -> layout.BlockHeader:
        return layout.block_header(self._bytes(position, layout.LARGEST_BLOCK_HEADER), position)


class _Walked:
    """The block at ``offset``, by the headers of its LZMA2 chunks (section 5.3.1; the format of the chunks is the
    library's own, described in its sources)."""

    def __init__(self, walk: _Walk, offset: int) -> None:
        self.size = 0
        """Decoded bytes of the chunks seen so far."""
        self._walk, self._offset = walk, offset

    def unpadded(self) -> int:
        """Walks; returns the bytes of the block without its padding and check. Raises DamagedError."""
        position = self._offset + self._walk.block_header(self._offset).length
        while control := self._walk.some(position, 1)[0]:
            if control >= 0x80:
                high, low, packed_high, packed_low = self._walk.some(position + 1, 4)
                self.size += ((control & 0x1F) << 16 | high << 8 | low) + 1
                position += 5 + (control >= 0xC0) + (packed_high << 8 | packed_low) + 1
            elif control <= 2:
                high, low = self._walk.some(position + 1, 2)
                stored = (high << 8 | low) + 1
                self.size += stored
                position += 3 + stored
            else:
                raise DamagedError(f"the xz block at offset {self._offset} breaks at {position}", position)
        return position + 1 - self._offset
