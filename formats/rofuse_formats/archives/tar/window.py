"""The archive's bytes for everyone but the hot loop, and the searches over many blocks at once."""

from __future__ import annotations

from rofuse_formats.archives.tar.header import BLOCK, MAGIC, MAGIC_AT, plausible
from rofuse_formats.entry import Reader


class Cut(Exception):
    """The stream ends inside what was asked for."""


class Window:
    """The reader's current buffer. Positions asked for never decrease."""

    __slots__ = ("base", "buffer", "reader")

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.buffer = b""
        self.base = 0

    def peek(self, position: int, size: int) -> bytes:
        """Bytes [position, position+size), fewer only where the stream ends."""
        at = position - self.base
        if at + size > len(self.buffer):
            self.buffer, self.base = self.reader.window(position, size)
            at = position - self.base
        return self.buffer[at : at + size]

    def take(self, position: int, size: int) -> bytes:
        """As ``peek``, but raises Cut rather than give fewer."""
        data = self.peek(position, size)
        if len(data) < size:
            raise Cut
        return data

    def end(self) -> int:
        """Where the stream ends; to be asked only after something fell short."""
        end = self.reader.end
        return self.base + len(self.buffer) if end is None else end

    def _blocks(self, position: int) -> tuple[int, int]:
        """``(start, stop)`` in the buffer of the whole blocks that are at hand from ``position`` on."""
        self.peek(position, BLOCK)
        start = position - self.base
        return start, start + max(len(self.buffer) - start, 0) // BLOCK * BLOCK

    def zeros_end(self, position: int, most: int) -> int:
        """Position of the first block from ``position`` on that is not all zeros; the last position looked at
        when there is none before the stream's end or within ``most`` bytes."""
        limit = position + most
        while position < limit:
            start, stop = self._blocks(position)
            if start >= stop:
                break
            blocks = self.buffer[start:stop]
            zeros = len(blocks) - len(blocks.lstrip(b"\0"))
            position += zeros // BLOCK * BLOCK
            if zeros < len(blocks):
                break
        return position

    def find_header(self, position: int) -> int:
        """Position of the first plausible header with a magic, of those a whole number of blocks after
        ``position``; -1 when there is none."""
        while True:
            start, stop = self._blocks(position)
            if start >= stop:
                return -1
            buffer = self.buffer
            block = start
            while (magic := buffer.find(MAGIC, block + MAGIC_AT, stop)) >= 0:
                # One candidate a block at most, however many magics are strewn between.
                block = start + (magic - MAGIC_AT - start) // BLOCK * BLOCK
                if magic == block + MAGIC_AT and plausible(buffer[block : block + BLOCK]):
                    return self.base + block
                block += BLOCK
            position += stop - start
