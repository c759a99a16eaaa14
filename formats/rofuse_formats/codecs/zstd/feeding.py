"""The source, read forward block by block, and the library's decoder, fed from the front with what was read.

Rules
- A frame's blocks are walked by their headers; no block is longer than a block can be, and all of it is there.
- Who feeds a frame once more feeds a few blocks at a time: three bytes of source may become 128 KiB.
"""

from __future__ import annotations

from rofuse_formats.codecs.zstd import frame
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source

READ = 2 * MIB
TOGETHER = 8  # blocks, fed at once where nobody needs to know what comes of each: a chunk's worth at most


class Buffer:
    """The source, read forward in large pieces."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.data = b""
        self.base = 0

    def index(self, offset: int, need: int) -> int:
        """Where in ``data`` the byte at ``offset`` is; ``need`` bytes from there are in it unless the source ends.
        ``offset`` never falls."""
        at = offset - self.base
        if at + need > len(self.data) and self.base + len(self.data) < self.source.size:
            rest = self.data[at:]
            start = offset + len(rest)
            size = min(max(READ, need - len(rest)), self.source.size - start)
            more = self.source.pread(size, start)
            if len(more) < size:
                end = start + len(more)
                raise TruncatedError(f"the file has become shorter: it ends at offset {end}", end)
            self.data = rest + more
            self.base = offset
            at = 0
        return at

    def block(self, position: int) -> tuple[int, int, memoryview]:
        """``(last, type, header and content)`` of the block at ``position``."""
        at = self.index(position, frame.BLOCK_HEADER + frame.LARGEST_BLOCK)
        left = len(self.data) - at
        if left < frame.BLOCK_HEADER:
            raise TruncatedError(f"zstd data ends at a block header, at offset {position}", position)
        last, kind, size = frame.block_header(self.data, at)
        if not frame.may_be_block(kind, size):
            raise DamagedError(f"zstd block at offset {position} has an impossible header", position)
        length = frame.BLOCK_HEADER + (1 if kind == frame.RLE else size)
        if left < length:
            raise TruncatedError(f"zstd data ends within the block at offset {position}", position)
        return last, kind, memoryview(self.data)[at : at + length]

    def blocks(self, position: int, most: int) -> tuple[int, list[tuple[int, int, memoryview]], memoryview]:
        """``(last, [(offset, type, block)], all their bytes)`` of so many blocks from ``position`` on, fewer where they
        are followed by none."""
        self.index(position, most * (frame.BLOCK_HEADER + frame.LARGEST_BLOCK))
        at, last = position, 0
        blocks: list[tuple[int, int, memoryview]] = []
        while not last and len(blocks) < most:
            try:
                last, kind, block = self.block(at)
            except DamagedError:
                if not blocks:
                    raise
                break  # to be met again when all before it was decoded
            blocks.append((at, kind, block))
            at += len(block)
        start = position - self.base
        return last, blocks, memoryview(self.data)[start : start + at - position]


class Decoder:
    """The library's decoder, fed from the front."""

    def __init__(self, limits: Limits, *, across_frames: bool = False) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        window = min(max(limits.max_window, 1 << 10), frame.LARGEST_WINDOW)
        self._decompress = (
            zstandard.ZstdDecompressor(max_window_size=window)
            .decompressobj(write_size=frame.LARGEST_BLOCK, read_across_frames=across_frames)
            .decompress
        )

    def feed(self, data: bytes | memoryview, offset: int) -> bytes:
        """What ``data``, from ``offset`` of the source, decodes to."""
        try:
            return self._decompress(data)
        except self._error as error:
            reason = str(error).rpartition(": ")[2]
            raise DamagedError(f"zstd data is damaged at offset {offset}: {reason}", offset) from error


def decoder_at(
    source: Source, limits: Limits, offset: int, header: frame.Frame, position: int
) -> tuple[Decoder, int]:
    """A decoder that was fed the frame at ``offset`` up to its block at ``position``, and how many bytes that gave."""
    decoder, buffer, at, done = Decoder(limits), Buffer(source), offset + header.header, 0
    start = buffer.index(offset, header.header)
    decoder.feed(buffer.data[start : start + header.header], offset)
    while at < position:
        data = buffer.blocks(at, TOGETHER)[2][: position - at]
        done += len(decoder.feed(data, at))
        at += len(data)
    return decoder, done


def is_sound_but_for_its_size(source: Source, limits: Limits, offset: int, header: frame.Frame) -> bool:
    """Whether all blocks of the frame at ``offset`` can be decoded where it does not say how much comes of them, and
    its checksum, if there is one, is that of what came."""
    decoder, buffer, at, last = Decoder(limits), Buffer(source), offset + header.header, 0
    bare = frame.bare_header(frame.window_descriptor(header.window), checksum=header.checksum)
    try:
        decoder.feed(bare, offset)
        while not last:
            last, _blocks, data = buffer.blocks(at, TOGETHER)
            decoder.feed(data, at)
            at += len(data)
        if header.checksum:
            decoder.feed(source.pread(frame.CHECKSUM, at), at)
    except DamagedError:
        return False
    return True
