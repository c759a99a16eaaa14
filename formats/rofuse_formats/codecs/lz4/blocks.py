"""The blocks of a frame: read in order, decoded one after the other, verified.

Rules
- A block's size is checked before it is read; what it decodes to is bounded by the header.
- Every block is read with one ``pread``, the size of the next one along with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rofuse_formats.codecs.lz4.frame import Frame
from rofuse_formats.codecs.lz4.libraries import lz4_block, running_xxh32, xxh32
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.source import Source

WINDOW = 64 << 10
WORD = 4
_STORED = 1 << 31


class Block(NamedTuple):
    """A block as it lies in the source."""

    offset: int
    data: memoryview
    plain: bool
    """Whether it is not compressed."""
    checksum: int | None
    last: bool
    """Whether nothing follows it in its frame, as far as one can see."""


class Blocks:
    """The blocks of ``frame`` from the one at ``offset`` on; the source counts up to ``end``. Iterating raises
    DamagedError, TruncatedError."""

    def __init__(self, source: Source, frame: Frame, offset: int, end: int) -> None:
        self.position = offset
        self.checksum: int | None = None  # of the content, behind the last block
        self._source, self._frame, self._end = source, frame, end

    def __iter__(self) -> Iterator[Block]:
        word = self._source.pread(min(WORD, self._end - self.position), self.position)
        while not self._is_end(word):
            block, word = self._block(word)
            yield block
        if not self._frame.legacy:
            self._leave()

    def _is_end(self, word: bytes) -> bool:
        if self._frame.legacy:  # has no end mark: the source ends, or the magic of another frame follows
            return not word or int.from_bytes(word, "little") > self._frame.largest_stored
        return word == bytes(WORD)

    def _block(self, word: bytes) -> tuple[Block, bytes]:
        """The block whose size is in ``word``, and the word behind it."""
        offset = self.position
        if len(word) < WORD:
            raise TruncatedError(f"LZ4 data ends at offset {self._end}, before the end of a frame", self._end)
        size = int.from_bytes(word, "little")
        plain = bool(size & _STORED)
        size &= ~_STORED
        if size > self._frame.largest_stored:
            raise DamagedError(f"LZ4 block at offset {offset} has an impossible size", offset)
        length = size + WORD * self._frame.block_checksums
        start = offset + WORD
        data = memoryview(self._source.pread(min(length + WORD, self._end - start), start))
        if len(data) < length:
            raise TruncatedError(f"LZ4 data ends within the block at offset {offset}", offset)
        self.position = start + length
        checksum = int.from_bytes(data[size:length], "little") if self._frame.block_checksums else None
        word = bytes(data[length:])
        return Block(offset, data[:size], plain, checksum, not word or self._is_end(word)), word

    def _leave(self) -> None:
        """Goes behind the end mark and what follows it."""
        self.position += WORD
        if not self._frame.content_checksum:
            return
        data = self._source.pread(min(WORD, self._end - self.position), self.position)
        if len(data) < WORD:
            raise TruncatedError(
                f"LZ4 data ends within the checksum at offset {self.position}", self.position
            )
        self.checksum = int.from_bytes(data, "little")
        self.position += WORD


class Content:
    """What the blocks of a frame decode to. ``whole``: whether from its first block on; else ``window`` is the output
    before them."""

    def __init__(self, frame: Frame, *, whole: bool, window: bytes = b"") -> None:
        self.size = 0
        self.window = window
        self._frame = frame
        self._whole = whole
        self._hash = running_xxh32() if whole and frame.content_checksum else None

    def decode(self, block: Block) -> bytes:
        """Raises DamagedError."""
        if block.checksum is not None and xxh32(block.data) != block.checksum:
            raise DamagedError(f"LZ4 block at offset {block.offset} fails its checksum", block.offset)
        return self.decompress(block)

    def decompress(self, block: Block) -> bytes:
        """As ``decode``, its checksum aside."""
        if block.plain:
            if len(block.data) > self._frame.largest:
                raise _damaged(block)
            return bytes(block.data)
        library = lz4_block()
        try:
            return library.decompress(block.data, self._frame.largest, dict=self.window)
        except library.LZ4BlockError as error:
            raise _damaged(block) from error

    def add(self, data: bytes) -> None:
        """Takes in what the next block decoded to, or what stands for it."""
        self.size += len(data)
        if self._hash:
            self._hash.update(data)
        if self._frame.linked:
            self.window = data[-WINDOW:] if len(data) >= WINDOW else (self.window + data)[-WINDOW:]

    def verify_checksum(self, checksum: int | None, offset: int) -> None:
        """After the last block, of a frame that ends at ``offset``. Raises DamagedError."""
        if self._hash and self._hash.intdigest() != checksum:
            raise DamagedError(f"LZ4 frame that ends at offset {offset} fails its checksum", offset)

    def verify_size(self, offset: int) -> None:
        """As ``verify_checksum``, by the size that the frame's header gives."""
        if self._whole and self._frame.content not in (None, self.size):
            raise DamagedError(f"LZ4 frame that ends at offset {offset} is not as long as it says", offset)


def _damaged(block: Block) -> DamagedError:
    return DamagedError(f"LZ4 block at offset {block.offset} is damaged", block.offset)
