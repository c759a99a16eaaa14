"""Headers of zstd frames and blocks (RFC 8878 §3.1), read from untrusted bytes.

Rules
- Functions take a buffer and a position in it and never look at more than they are given; what does not fit is
  told apart from what is wrong, because a short buffer may only need to be read on.
- Nothing here decodes. A frame is known by its headers alone: block headers give the size of each block, so a
  walk over a frame touches three bytes a block.
"""

from __future__ import annotations

from typing import NamedTuple

from rofuse_formats.errors import DamagedError, LimitError, UnsupportedError
from rofuse_formats.limits import MIB, Limits

MAGIC = 0xFD2FB528
LEGACY_MAGICS = frozenset((0x1EB52FFD, *range(0xFD2FB522, 0xFD2FB528)))  # v0.1, then v0.2 to v0.7
SKIPPABLE_HEADER = 8
LONGEST_HEADER = 18

RAW, RLE, COMPRESSED, RESERVED = range(4)
BLOCK_HEADER = 3
LARGEST_BLOCK = 128 << 10
LARGEST_WINDOW = 1 << 31  # that the library can be told to allow
CHECKSUM = 4
SMALL_FRAME = 256 << 10  # decoded bytes of a frame that is best decoded together with its neighbours
_START = MAGIC.to_bytes(4, "little")


def is_skippable(magic: int) -> bool:
    return magic & 0xFFFFFFF0 == 0x184D2A50


class Frame(NamedTuple):
    """What a frame header says."""

    header: int
    """Bytes of the header, magic included."""
    window: int
    """Bytes of earlier output that a block may refer to; for a single-segment frame the content size."""
    content: int | None
    """Decoded bytes, where the header says."""
    checksum: bool
    """Whether four bytes of checksum follow the last block."""
    dictionary: int
    """ID of the dictionary it was made with, 0 where it names none."""

    @property
    def largest_block(self) -> int:
        """Decoded bytes of a block at most."""
        return min(self.window, LARGEST_BLOCK)


def frame_header(data: bytes, offset: int) -> Frame | None:
    """The header of the frame whose magic ``data`` starts with, at ``offset`` of the source; None if ``data`` ends
    before the header does. Raises DamagedError (reserved bit set)."""
    if len(data) < 5:
        return None
    descriptor = data[4]
    if descriptor & 0x08:
        raise DamagedError(f"zstd frame at offset {offset} has a reserved bit set", offset)
    single_segment = descriptor >> 5 & 1
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    content_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    header = 6 - single_segment + dictionary_bytes + content_bytes
    if len(data) < header:
        return None
    content = None
    if content_bytes:
        content = int.from_bytes(data[header - content_bytes : header], "little")
        if content_bytes == 2:
            content += 256
    window = content or 0 if single_segment else window_size(data[5])
    start = 6 - single_segment
    dictionary = int.from_bytes(data[start : start + dictionary_bytes], "little")
    return Frame(header, window, content, bool(descriptor & 4), dictionary)


def check_supported(frame: Frame, limits: Limits) -> None:
    """Raises UnsupportedError for a frame that needs a dictionary, LimitError for one that needs more memory."""
    if frame.dictionary:
        raise UnsupportedError(
            f"zstd dictionary {frame.dictionary} is needed to decode this, and is not supported"
        )
    if frame.window > limits.max_window:
        raise LimitError(
            f"a zstd frame needs a window of {frame.window / MIB:,.0f} MiB, the limit is "
            f"{limits.max_window / MIB:,.0f} MiB; --max-window raises it"
        )


def window_size(descriptor: int) -> int:
    """Window_Size of a Window_Descriptor (RFC 8878 §3.1.1.1.2)."""
    base = 1 << (10 + (descriptor >> 3))
    return base + (base >> 3) * (descriptor & 7)


def window_descriptor(size: int) -> int:
    """The least Window_Descriptor whose window is ``size`` bytes or more."""
    log = max(10, size.bit_length() - 1)
    eighths = -(-(size - (1 << log)) // (1 << log - 3))
    return min(0xFF, (log - 10 << 3) + max(0, eighths))


def bare_header(descriptor: int, *, checksum: bool = False) -> bytes:
    """A frame header that says nothing but the window, and whether there is a checksum: no content size or dictionary
    ID."""
    return MAGIC.to_bytes(4, "little") + bytes((4 if checksum else 0, descriptor))


def block(kind: int, content: bytes) -> bytes:
    """A block that is not the last one, with its header."""
    return (kind << 1 | len(content) << 3).to_bytes(BLOCK_HEADER, "little") + content


def could_start(data: bytes) -> bool:
    """Whether a frame of any kind may start with ``data``, at most a few bytes."""
    if len(data) >= 4:
        return data.startswith(_START) or is_skippable(int.from_bytes(data[:4], "little"))
    return _START.startswith(data) or (data[0] & 0xF0 == 0x50 and b"\x2a\x4d\x18".startswith(data[1:]))


def block_header(data: bytes | memoryview, at: int) -> tuple[int, int, int]:
    """``(last, type, size)`` of the block header at ``data[at]``; three bytes must be there. Size is that of the
    header's field: decoded bytes of a raw or RLE block, bytes that follow for a compressed one."""
    field = data[at] | data[at + 1] << 8 | data[at + 2] << 16
    return field & 1, field >> 1 & 3, field >> 3


def may_be_block(kind: int, size: int) -> bool:
    """Whether a block can have such a header. The library passes over a compressed block of no bytes, but where it sees
    the whole frame at once."""
    return kind != RESERVED and size <= LARGEST_BLOCK and (kind != COMPRESSED or size > 0)


def small_frame(data: bytes, at: int, max_window: int) -> tuple[int, int, int] | None:
    """``(length, decoded, window)`` of the frame at ``data[at]``, ``decoded`` being a bound, if the frame is wholly in
    ``data`` and nothing about it needs a closer look; else None."""
    if data[at : at + 4] != _START or data[at + 4 : at + 5] > b"\xff":
        return None
    header = frame_header(data[at : at + LONGEST_HEADER], 0)
    if not header or header.dictionary or header.window > max_window:
        return None
    position, decoded, last = at + header.header, 0, 0
    kind = size = 0
    while not last:
        if position + BLOCK_HEADER > len(data):
            return None
        last, kind, size = block_header(data, position)
        if not may_be_block(kind, size):
            return None
        position += BLOCK_HEADER + (1 if kind == RLE else size)
        decoded += header.largest_block if kind == COMPRESSED else size
        if decoded > SMALL_FRAME:
            return None
    if header.content is not None:
        # What of a frame the library asks only where it sees all of it at once: whether nothing is missing although the
        # last block is empty. And only where it does not: that no match begins before the window.
        is_empty = kind == RAW and not size
        if (is_empty and (header.content or decoded)) or header.window < header.content:
            return None
    position += CHECKSUM if header.checksum else 0
    return (position - at, decoded, header.window) if position <= len(data) else None


def recognise(head: bytes) -> bool:
    """Whether a source that starts with ``head`` is zstd: a frame (of today's format or a legacy one), possibly
    after skippable frames. LZ4 has the same skippable frames; they alone are taken for zstd's."""
    at = 0
    while at + 4 <= len(head):
        magic = int.from_bytes(head[at : at + 4], "little")
        if not is_skippable(magic):
            plausible = len(head) < at + 5 or not head[at + 4] & 0x08
            return magic in LEGACY_MAGICS or (magic == MAGIC and plausible)
        if at + SKIPPABLE_HEADER > len(head):
            break
        at += SKIPPABLE_HEADER + int.from_bytes(head[at + 4 : at + 8], "little")
    return at > 0
