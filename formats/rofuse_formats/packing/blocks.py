"""Chunks of files put into blocks, each once.

Strategy
What all files hold is one stream, cut into blocks. A chunk goes to the end of the stream, into the block that is being
filled or, where it does not fit there, into the next one: it never lies in two. So files that are smaller than a block
share it with their neighbours, the whole blocks of a large one are alone, and what follows its end begins with its
rest. A chunk that was there before (``known``) leads to the earlier one: with that, a file that is another's copy takes
nothing, and one that is so in part takes the other part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rofuse_formats.entry import Extent
from rofuse_formats.packing.known import Known


class Blocks:
    """``submit`` takes a block that is full, in pieces. ``position``: bytes of the stream so far."""

    def __init__(self, block_size: int, submit: Callable[[list[bytes]], None], known: Known) -> None:
        self.position = 0
        self._block_size, self._submit = block_size, submit
        self._pieces: list[bytes] = []
        self._filled = 0
        self._known = known

    def place(self, node: int, chunks: Iterable[bytes | None], size: int) -> list[Extent]:
        """Stores a file of ``size`` bytes, inode ``node`` of the source; returns where its bytes are. ``chunks``: None
        for a hole."""
        runs: list[Extent] = []
        logical = 0
        for chunk in chunks:
            length = min(self._block_size, size - logical)
            if chunk is not None:
                offset = self._chunk(chunk, node, logical)
                last = runs[-1] if runs else None
                if last and (logical, offset) == (last.logical + last.length, last.offset + last.length):
                    runs[-1] = Extent(last.logical, last.length + length, last.offset)
                else:
                    runs.append(Extent(logical, length, offset))
            logical += length
        return runs

    def finish(self) -> None:
        if self._pieces:
            self._submit(self._pieces)
            self._pieces, self._filled = [], 0

    def _chunk(self, data: bytes, node: int, logical: int) -> int:
        """Where in the stream it is."""
        size = len(data)
        if (known := self._known.find(data)) is not None:
            return known
        if self._filled + size > self._block_size:
            self.finish()
        offset = self.position
        self._known.add(offset, node, logical)
        self._pieces.append(data)
        self._filled += size
        self.position += size
        if self._filled == self._block_size:
            self.finish()
        return offset
