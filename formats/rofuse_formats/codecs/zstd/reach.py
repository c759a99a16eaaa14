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
- Of a block only a few bytes are read, unless the sequences are.
"""

from __future__ import annotations

from typing import NamedTuple

from rofuse_formats.codecs.zstd import entropy, frame
from rofuse_formats.codecs.zstd.entropy import Layout
from rofuse_formats.codecs.zstd.points import Block, Blocks, Tables
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

HEAD = frame.BLOCK_HEADER + entropy.LITERALS_HEAD  # bytes read where a block begins
SECTION = 128  # and of its sequences: more than it takes to describe the first two tables
MOST_WORK = 1 << 21  # sequences read of one run of blocks: about a second
_WORK = (12, 12, 384, 80)
"""What it takes besides to read those of a block, in sequences: of each table, by its mode. So blocks of a single one
are not cheap."""


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
        self._left = MOST_WORK
        sender = abs(run.tables.offsets)
        self._is_bounded = False
        """Whether no offset is too large that is written with the table in force."""
        if sender:
            blocks = Blocks(source)
            self._note_bound(blocks.read(sender)[1].modes[1], blocks.descriptions(sender)[0][1], 0)

    def reaches_behind(self) -> bool:
        at, kind = self._run.start, frame.RAW
        while at < self._run.end:
            head = self._source.pread(HEAD, at)
            if len(head) < frame.BLOCK_HEADER:
                raise DamagedError("zstd data has become shorter", at)
            _, kind, size = frame.block_header(head, 0)
            if kind == frame.COMPRESSED and self._does(at, size, head[frame.BLOCK_HEADER :]):
                return True
            at += frame.BLOCK_HEADER + (1 if kind == frame.RLE else size)
        # Of a block before another one the end is there.
        return kind == frame.COMPRESSED and not self._source.pread(1, at - 1)

    def _does(self, offset: int, size: int, head: bytes) -> bool:
        """Whether a match in the compressed block at ``offset`` does, whose content has ``size`` bytes and begins with
        ``head``."""
        literals = entropy.literals_section(head)
        if literals.size >= size:
            return True
        section = self._source.pread(SECTION, offset + frame.BLOCK_HEADER + literals.size)
        section = section[: size - literals.size]
        sequences, modes, at = entropy.sequences_section(section, 0)
        before = self._tables
        self._tables = before.after(
            offset, Layout(literals.huffman, literals.huffman_size, sequences, modes, at)
        )
        if not sequences:
            return False
        if modes[1] != entropy.REPEAT:
            if modes[0] == entropy.RLE_MODE:
                at += 1
            elif modes[0] == entropy.FSE:
                at += entropy.extent(section, at, entropy.LITERAL_LENGTHS)[0]
            self._note_bound(modes[1], section, at)
        if self._is_bounded:
            return False
        self._left -= sequences + sum(_WORK[mode] for mode in modes)
        if self._left < 0:
            return True
        block = Block(offset, sequences, before)
        return Blocks(self._source).largest_offset(block) > self._run.window

    def _note_bound(self, mode: int, content: bytes, at: int) -> None:
        """Takes note of the offsets table that is described at ``content[at]``."""
        self._is_bounded = False
        if mode == entropy.RLE_MODE:
            code = content[at] if at < len(content) else 32
        elif mode == entropy.FSE:
            code = entropy.extent(content, at, entropy.OFFSETS)[1]
        else:
            return
        self._is_bounded = (2 << code) - 4 <= self._run.window  # it stands for offsets of so much at most
