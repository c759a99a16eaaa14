"""Decoding forward from the first bit of any block.

Strategy
A block may begin at any bit of a byte, and a decompressor is fed whole bytes. So it is first fed *filler*: blocks
without content, as many as it takes for the last of them to end at that bit. The bits of the source's own first byte
follow in the same byte. The window goes in as the dictionary. What the decompressor then sees is an ordinary stream.

Rules
- Memory is bounded by what is asked for and ``LARGEST_PIECE``.
- What a library complains of leaves here as DamagedError.
"""

from __future__ import annotations

from functools import cache

from rofuse_formats.deflate import inflate
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.errors import DamagedError, TruncatedError

FIRST_PIECE, LARGEST_PIECE = 4 << 10, 128 << 10  # of input: what a short stream leaves of it is copied

_EMPTY_FIXED = (0b010, 10)  # not the last, fixed codes (1), end of block (seven zeros): value and bits


def _empty_dynamic() -> tuple[int, int]:
    """A block of an odd number of bits without content: value and bits. RFC 1951 §3.2.7."""
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    lengths = {0: 1, 1: 2, 18: 2}  # of the codes for code lengths
    zero, one, zeros = (0b0, 1), (0b01, 2), (0b11, 2)  # these codes, their first bit lowest
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (len(order) - 4, 4)]  # 257 literal codes, 1 distance code
    fields += [(lengths.get(symbol, 0), 3) for symbol in order]
    fields += [
        zeros,
        (138 - 11, 7),
        zeros,
        (256 - 138 - 11, 7),
        one,
    ]  # a code for the end of the block alone,
    fields += [zero, (0, 1)]  # none for distances; that end
    value = bits = 0
    for field, width in fields:
        value |= field << bits
        bits += width
    return value, bits


@cache
def filler(shift: int) -> tuple[int, int]:
    """Blocks without content that end ``shift`` bits (0 to 7) into a byte, as few as can be: value and bits."""
    value, bits = _empty_dynamic() if shift & 1 else (0, 0)
    while bits % 8 != shift:
        value |= _EMPTY_FIXED[0] << bits
        bits += _EMPTY_FIXED[1]
    return value, bits


class Reader:
    """Decodes one stream from the block that begins at ``bit`` of the feed's source. ``window``: output before it, up
    to 32 KiB."""

    def __init__(
        self, feed: Feed, bit: int, window: bytes = b"", library: inflate.Library = inflate.ZLIB
    ) -> None:
        self.ended = False
        """Whether the stream was decoded to its end; ``offset`` is then the first byte behind it."""
        self.offset, shift = divmod(bit, 8)
        self._feed = feed
        self._library = library
        self._decompressor = self._library.decompressor(window)
        self._piece = FIRST_PIECE
        self._before = self._filled_up(shift) if shift else b""

    def _filled_up(self, shift: int) -> bytes:
        """Filler, with what of the first byte belongs to the block."""
        value, bits = filler(shift)
        first = self._feed.bytes(self.offset, 1)
        if not first:
            raise TruncatedError(f"deflate data ends at offset {self.offset}", self.offset)
        self.offset += 1
        return (value | first[0] >> shift << bits).to_bytes(bits // 8 + 1, "little")

    def read(self, size: int) -> bytes:
        """Some of the bytes that come next, at most ``size`` (not 0); none only at the stream's end. Raises
        DamagedError; TruncatedError where the source ends and nothing more comes of it."""
        while not self.ended:
            piece = self._before or self._feed.view(self.offset, self._piece)
            data = self._decompress(piece, size)
            if data:
                return data
            if not piece and not self.ended:
                raise TruncatedError(f"deflate data ends at offset {self.offset}", self.offset)
        return b""

    def _decompress(self, piece: bytes | memoryview, size: int) -> bytes:
        decompressor = self._decompressor
        try:
            data = decompressor.decompress(piece, size)
        except self._library.error as error:
            reason = str(error).rpartition(": ")[2]
            raise DamagedError(
                f"deflate data is damaged at offset {self.offset} or soon after: {reason}", self.offset
            ) from error
        self.ended = decompressor.eof
        if self._before:
            self._before = decompressor.unconsumed_tail
        else:  # at the end zlib may say of what is unused that it is unconsumed as well
            rest = decompressor.unused_data if self.ended else decompressor.unconsumed_tail
            self.offset += len(piece) - len(rest)
            self._piece = min(2 * self._piece, LARGEST_PIECE)
        return data
