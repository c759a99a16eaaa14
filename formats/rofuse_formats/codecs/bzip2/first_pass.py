"""Decoding a whole source front to back.

Rules
- A block is a seek point, unless one lies less than ``SPACING`` before it.
- Every block that is yielded was intact, so damage makes nothing suspect that came before it; behind a damaged block
  nothing is yielded, for how much is missing cannot be told. A combined checksum that fails makes its whole stream
  suspect: all blocks are intact, but not all are where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rofuse_formats.codecs.bzip2 import apart
from rofuse_formats.codecs.bzip2.ahead import Ahead
from rofuse_formats.codecs.bzip2.bits import MARK
from rofuse_formats.codecs.bzip2.block import Block
from rofuse_formats.codecs.bzip2.cursor import write_index
from rofuse_formats.codecs.bzip2.walk import CombinedChecksumError, Walk
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits, check_damages
from rofuse_formats.seek_index import Point
from rofuse_formats.source import Source

SPACING = 256 << 10
CHUNK = 256 << 10
"""Decoded bytes that are yielded together at least; most blocks are larger."""


class FirstPass:
    """The codec contract's FirstPass. ``spacing`` (bytes of output) may be made small by tests."""

    def __init__(self, source: Source, limits: Limits, *, spacing: int = SPACING) -> None:
        self.consumed = 0
        self.unseekable = self.slow = False
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.frames = 0
        self.name = b""
        self._source = source
        self._spacing = spacing
        self._decoded = 0
        self._stream = 0  # decoded offset at which this stream begins
        self._points: list[Point] = []
        self._pending: list[bytes] = []  # decoded, not yet yielded
        self._pending_size = 0
        self._apart = apart.start(source, limits)

    def __iter__(self) -> Iterator[bytes]:
        with Ahead(self._source) as ahead:
            try:
                yield from self._walked(Walk(self._source, partial(self._block, ahead), self._source.size))
            finally:
                if self._apart:
                    self._apart.close()
        if self._pending:
            yield self._take()

    def _walked(self, walk: Walk) -> Iterator[bytes]:
        try:
            for found in walk:
                if isinstance(found, Block):
                    self._begin(found, walk.first)
                    yield from self._joined(found.pieces())
                else:
                    self._note(found)
                self.consumed = walk.position >> 3
                check_damages(len(self.damages), self.consumed)
        except DamagedError as damage:
            self.damages.append(damage)
        # The mark that ends the last block counts.
        self.consumed = min(walk.position + MARK + 7 >> 3, walk.end)
        self.warnings = walk.warnings

    def _block(self, ahead: Ahead, start: int) -> Block:
        block = self._apart.block(start) if self._apart else None
        return block or ahead.block(start)

    def index(self) -> bytes:
        points = [point for point in self._points if point.decoded < self._decoded] or [Point(0, 0, 1)]
        return write_index(self._source.size, self.consumed, self._decoded, points)

    def _begin(self, block: Block, first: bool) -> None:
        self.frames += 1
        if first:
            self._stream = self._decoded
        last = self._points[-1].decoded if self._points else -self._spacing
        behind_suspect = bool(self.suspect) and self.suspect[-1][1] == self._decoded
        if behind_suspect or self._decoded - last >= self._spacing:
            self._points.append(Point(self._decoded, block.start, int(first)))

    def _joined(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._decoded += len(piece)
            self._pending.append(piece)
            self._pending_size += len(piece)
            if self._pending_size >= CHUNK:
                yield self._take()

    def _take(self) -> bytes:
        chunk = b"".join(self._pending)
        self._pending, self._pending_size = [], 0
        return chunk

    def _note(self, damage: DamagedError) -> None:
        """Damage that is passed by."""
        self.damages.append(damage)
        if isinstance(damage, CombinedChecksumError) and self._stream < self._decoded:
            self.suspect.append((self._stream, self._decoded))
