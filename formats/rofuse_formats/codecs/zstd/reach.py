"""Matches that reach behind the window.

Strategy
The format forbids them, but the library lets one pass where its buffer, which is larger than the window, happens to
hold what it refers to, or what has overwritten that: so it is in a frame whose header was damaged and names a smaller
window. A decoder that began at a point has another buffer, and gives other bytes. So blocks behind a point are looked
at. An offsets table bounds the offsets that are written with it, and nearly always that will do; else the sequences are
read.

Rules
- Blocks read here have been decoded without error. What cannot be read, or not in a bounded time, is taken for a match
  that reaches behind: it costs the frame its points, and is never an error.
- One block is held at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from rofuse_formats.codecs.zstd import entropy, frame
from rofuse_formats.codecs.zstd.points import Block, Blocks, Tables
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

READ = 1 << 20
MOST_SEQUENCES = 1 << 20  # read of one run of blocks: about half a second


class Run(NamedTuple):
    """Blocks of a frame, one after the other."""

    start: int
    """Offset of the first one's header in the source."""
    end: int
    """Where the last one ends."""
    window: int
    """Window_Size of the frame."""
    tables: Tables
    """In force before them."""


def reaches_behind(source: Source, run: Run) -> bool:
    """Whether a match in ``run`` begins before the window. Raises OSError only."""
    try:
        return _Reader(source, run).reaches_behind()
    except DamagedError:
        return True


class _Reader:
    def __init__(self, source: Source, run: Run) -> None:
        self._source = source
        self._run = run
        self._tables = run.tables
        self._data = b""
        self._base = run.start
        self._left = MOST_SEQUENCES
        sender = abs(run.tables.offsets)
        self._is_bounded = False
        """Whether no offset is too large that is written with the table in force."""
        if sender:
            blocks = Blocks(source)
            self._note_bound(blocks.read(sender)[1].modes[1], blocks.descriptions(sender)[0][1])

    def reaches_behind(self) -> bool:
        at = self._run.start
        while at < self._run.end:
            start = self._index(at, frame.BLOCK_HEADER)
            _, kind, size = frame.block_header(self._data, start)
            length = frame.BLOCK_HEADER + (1 if kind == frame.RLE else size)
            if kind == frame.COMPRESSED:
                start = self._index(at, length)
                if self._does(at, self._data[start + frame.BLOCK_HEADER : start + length]):
                    return True
            at += length
        return False

    def _index(self, offset: int, need: int) -> int:
        """Where in the data read the byte at ``offset`` is, with as many as ``need`` from there."""
        at = offset - self._base
        if at + need > len(self._data):
            self._data, self._base, at = self._source.pread(max(READ, need), offset), offset, 0
            if need > len(self._data):
                raise DamagedError("zstd data has become shorter", offset)
        return at

    def _does(self, offset: int, content: bytes) -> bool:
        """Whether a match in the compressed block at ``offset`` does."""
        layout, before = entropy.block_layout(content), self._tables
        self._tables = before.after(offset, layout)
        if not layout.sequences:
            return False
        if layout.modes[1] != entropy.REPEAT:
            at = layout.tables
            if layout.modes[0] == entropy.RLE_MODE:
                at += 1
            elif layout.modes[0] == entropy.FSE:
                at += entropy.read_distribution(content, at, entropy.LITERAL_LENGTHS).size
            self._note_bound(layout.modes[1], content[at : at + 128])
        if self._is_bounded:
            return False
        self._left -= layout.sequences
        if self._left < 0:
            return True
        block = Block(offset, layout.sequences, before)
        return Blocks(self._source).largest_offset(block) > self._run.window

    def _note_bound(self, mode: int, description: bytes) -> None:
        self._is_bounded = False
        if mode == entropy.RLE_MODE:
            code = description[0] if description else 32
        elif mode == entropy.FSE:
            code = len(entropy.read_distribution(description, 0, entropy.OFFSETS).counts) - 1
        else:
            return
        self._is_bounded = (2 << code) - 4 <= self._run.window  # it stands for offsets of so much at most
