"""From block to block, through all streams of a source.

Strategy
What a block is followed by is told by the 48 bits behind it, never by a search: another block, or the end of its
stream. What follows a stream is another one, zeros, or garbage that no bzip2 wrote; garbage is passed over in silence
or with a warning as bzip2 does, unless the start of a stream can still be seen in it.

Rules
- The combined checksum of a stream tells that no block is missing, doubled or moved: each block has been verified by
  its own. It is checked in streams that are entered at their start.
- Damage that can be passed by is yielded, other damage raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rofuse_formats.codecs.bzip2.bits import BLOCK, CHECKSUM, END, HEADER, HEADER_SIZE, MARK, bits
from rofuse_formats.codecs.bzip2.block import Block
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.source import Source

READ = 1 << 20


class CombinedChecksumError(DamagedError):
    """The blocks of a stream are not those, or not in the order, that were compressed."""


class Walk:
    """The blocks from bit ``position`` on: of the first stream where that is 0, else of a block's mark.

    ``decode`` gives the block at a bit offset; the source counts up to byte ``end``.
    """

    def __init__(
        self, source: Source, decode: Callable[[int], Block], end: int, position: int = 0, first: bool = True
    ) -> None:
        self.position = position
        self.end = end
        self.first = first  # whether the block just yielded is the first of its stream
        self.warnings: list[str] = []
        self._inside = bool(position)  # a stream
        self._known = first  # whether all blocks of this stream were seen
        self._combined = 0
        self._source, self._decode = source, decode

    def __iter__(self) -> Iterator[Block | DamagedError]:
        if not self._inside:
            yield from self._enter_stream()
        while self._inside:
            if self._mark() == BLOCK:
                block = self._decode(self.position)
                self._combined = (self._combined << 1 & 0xFFFFFFFF | self._combined >> 31) ^ block.checksum
                self.position = block.end
                yield block
                self.first = False
            else:
                yield from self._leave_stream()
                yield from self._enter_stream()

    def _mark(self) -> int:
        offset = self.position >> 3
        if self.position + MARK > self.end * 8:
            raise TruncatedError(
                f"bzip2 data ends at offset {self.end}, before the end of a stream", self.end
            )
        mark = bits(self._source, self.position, MARK)
        if mark not in (BLOCK, END):
            raise DamagedError(f"no bzip2 block begins and no stream ends at offset {offset}", offset)
        return mark

    def _leave_stream(self) -> Iterator[DamagedError]:
        """Goes to the byte behind the stream that ends here."""
        offset, end = self.position >> 3, self.position + MARK + CHECKSUM
        if end > self.end * 8:
            raise TruncatedError(f"bzip2 data ends within the end of a stream, at offset {offset}", offset)
        intact = bits(self._source, self.position + MARK, CHECKSUM) == self._combined
        self.position = end + 7 & -8
        if self._known and not intact:
            yield CombinedChecksumError(
                f"bzip2 stream that ends at offset {offset} fails its checksum", offset
            )

    def _enter_stream(self) -> Iterator[DamagedError]:
        """Goes to the first mark of the stream that begins here, or to the end where none does."""
        offset = self.position >> 3
        self.first = self._known = self._inside = True
        self._combined = 0
        size = min(HEADER_SIZE + MARK // 8, self.end - offset)
        head = self._source.pread(size, offset)
        self.position += HEADER_SIZE * 8
        if HEADER.match(head):
            return
        if int.from_bytes(head[HEADER_SIZE:], "big") in (BLOCK, END):
            yield DamagedError(f"bzip2 stream header at offset {offset} is damaged", offset)
            return
        self.position = offset * 8
        self._inside = False
        if not offset:
            raise DamagedError("no bzip2 stream begins at offset 0", 0)
        if head and b"BZh".startswith(head):
            raise TruncatedError(f"bzip2 data ends within the stream header at offset {offset}", offset)
        self._pass_over(offset)

    def _pass_over(self, offset: int) -> None:
        """What follows the last stream."""
        for at in range(offset, self.end, READ):
            if self._source.pread(min(READ, self.end - at), at).strip(b"\0"):
                garbage = self.end - offset
                self.warnings.append(
                    f"{garbage} bytes of garbage behind the last bzip2 stream (offset {offset})"
                )
                break
        self.end = offset
