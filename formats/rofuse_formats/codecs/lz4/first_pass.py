"""Decoding a whole source front to back.

Strategy
A block that is damaged is a hole. Its size is stored, so the next block is found; its decoded size is that of all
blocks of its frame, unless it is the last one, whose size follows from that of the frame where that is given. Zeros
stand for it. Where its decoded size cannot be told, decoding stops.

Rules
- Suspect is, at the end of a frame with holes: the holes, where blocks are independent, and from the first hole on
  where they are linked; but the whole frame where only its content has a checksum, which cannot be made any more.
- A content checksum, or a content size, that is wrong makes its frame suspect, whatever the checksums of blocks say:
  all may be intact, and one missing. What follows is decoded if the frame's size is beyond doubt.
- A frame that ends early is not suspect for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rofuse_formats.codecs.lz4.blocks import Block, Blocks, Content
from rofuse_formats.codecs.lz4.cursor import write_index
from rofuse_formats.codecs.lz4.frame import Frame, next_frame
from rofuse_formats.codecs.lz4.planner import SHARE, SPACING, Planner
from rofuse_formats.errors import DamagedError, TruncatedError, UnsupportedError
from rofuse_formats.limits import MIB, check_damages
from rofuse_formats.seek_index import Point
from rofuse_formats.source import Source

LEAST_CHUNK, MOST_CHUNK = 256 << 10, 4 * MIB


class _Progress:
    """What happened so far in the frame that is being decoded."""

    def __init__(self, frame: Frame, begin: int) -> None:
        self.frame = frame
        self.begin = begin  # its first byte's offset in the output
        self.content = Content(frame, whole=True)
        self.holes: list[tuple[int, int]] = []
        self.uneven = False  # whether a block was not as large as all are taken to be
        self.failed = False  # a check of the whole frame

    def size_of_hole(self, block: Block, decompressed: int | None) -> int | None:
        """Decoded bytes of a damaged block, None where one cannot tell. ``decompressed``: the size of what the library
        makes of it, if anything."""
        frame = self.frame
        left = None if frame.content is None else frame.content - self.content.size
        size = left if block.last else frame.largest
        if size is None or not 0 < size <= frame.largest or (left is not None and size > left):
            return None
        if decompressed not in (None, size) or (self.uneven and not block.last):
            return None
        return size

    def suspect(self, end: int, *, broken: bool = False) -> list[tuple[int, int]]:
        """What of the frame is, up to offset ``end`` of the output; ``broken``: decoding could not go on."""
        unchecked = self.frame.content_checksum and not self.frame.block_checksums
        if self.failed or (unchecked and (self.holes or broken)):
            return [(self.begin, end)]
        if self.holes and (self.frame.linked or self.uneven):
            return [(self.holes[0][0], end)]
        return self.holes


class FirstPass:
    """The codec contract's FirstPass. ``spacing`` (bytes of output) and ``share`` may be made small by tests."""

    def __init__(self, source: Source, *, spacing: int = SPACING, share: int = SHARE) -> None:
        self.consumed = 0
        self.unseekable = self.slow = False
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.frames = 0
        self.name = b""
        self._source = source
        self._planner = Planner(spacing, share)
        self._decoded = 0
        self._largest = 0  # decoded bytes of a block, of all frames met
        self._pending: list[bytes] = []  # decoded, not yet yielded
        self._pending_size = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            while found := next_frame(self._source, self.consumed, self._source.size):
                self.consumed, frame = found
                yield from self._frame(frame)
        except DamagedError as damage:
            self.damages.append(damage)
        except UnsupportedError:
            yield from self._take()
            raise
        yield from self._take()

    def index(self) -> bytes:
        points = [point for point in self._planner.points if point.decoded < self._decoded] or [Point(0, 0)]
        return write_index(self._source.size, self.consumed, self._decoded, self._largest, points)

    def _frame(self, frame: Frame) -> Iterator[bytes]:
        """Decodes a frame, and goes behind it."""
        self.frames += 1
        self._largest = max(self._largest, frame.largest)
        self._planner.free(self._decoded, self.consumed, 0, needed=self._behind_suspect(self.suspect))
        progress = _Progress(frame, self._decoded)
        blocks = Blocks(self._source, frame, self.consumed + frame.header, self._source.size)
        try:
            for block in blocks:
                check_damages(len(self.damages), self.consumed)
                self._plan(progress, block)
                yield from self._give(self._decode(progress, block))
                self.consumed = blocks.position
            self.consumed = blocks.position
            self._verify(progress, blocks)
        except DamagedError as damage:
            self._suspect(progress.suspect(self._decoded, broken=not isinstance(damage, TruncatedError)))
            raise
        self._suspect(progress.suspect(self._decoded))

    def _plan(self, progress: _Progress, block: Block) -> None:
        frame = progress.frame
        if not frame.linked:
            needed = self._behind_suspect(progress.holes)
            self._planner.free(self._decoded, block.offset, frame.descriptor, needed=needed)
        elif progress.content.window and not progress.holes:
            self._planner.linked(self._decoded, block.offset, frame.descriptor, progress.content.window)

    def _decode(self, progress: _Progress, block: Block) -> bytes:
        content = progress.content
        try:
            data = content.decode(block)
        except DamagedError as damage:
            data = self._zeros(progress, block, damage)
        if len(data) < progress.frame.largest and not block.last:
            progress.uneven = True
            if progress.holes:
                raise DamagedError(
                    f"how much is missing before offset {block.offset} of the LZ4 data cannot be told",
                    block.offset,
                )
        content.add(data)
        return data

    def _zeros(self, progress: _Progress, block: Block, damage: DamagedError) -> bytes:
        """What stands for a damaged block. Raises ``damage`` where it cannot be told how much that is."""
        try:
            decompressed = len(progress.content.decompress(block))
        except DamagedError:
            decompressed = None
        size = progress.size_of_hole(block, decompressed)
        if size is None:
            raise damage
        self.damages.append(damage)
        progress.holes.append((self._decoded, self._decoded + size))
        return bytes(size)

    def _verify(self, progress: _Progress, blocks: Blocks) -> None:
        """Behind the last block. Raises DamagedError where the frame may not have had its true size."""
        content, frame = progress.content, progress.frame
        try:
            content.verify_size(blocks.position)
        except DamagedError:
            progress.failed = True
            raise
        if progress.holes:
            return
        try:
            content.verify_checksum(blocks.checksum, blocks.position)
        except DamagedError as damage:
            progress.failed = True
            if frame.content is None and not frame.block_checksums:
                raise
            self.damages.append(damage)

    def _give(self, data: bytes) -> Iterator[bytes]:
        if data:
            self._decoded += len(data)
            self._pending.append(data)
            self._pending_size += len(data)
        if self._pending_size >= LEAST_CHUNK:
            yield from self._take()

    def _take(self) -> Iterator[bytes]:
        """The chunk that is full, or the last one."""
        chunk = b"".join(self._pending)
        self._pending, self._pending_size = [], 0
        for start in range(0, len(chunk), MOST_CHUNK):
            yield chunk[start : start + MOST_CHUNK]

    def _suspect(self, ranges: Iterable[tuple[int, int]]) -> None:
        for start, end in ranges:
            if self.suspect and self.suspect[-1][1] == start:
                start = self.suspect.pop()[0]
            if start < end:
                self.suspect.append((start, end))

    def _behind_suspect(self, ranges: list[tuple[int, int]]) -> bool:
        return bool(ranges) and ranges[-1][1] == self._decoded
