"""Headers of LZ4 frames (lz4_Frame_format.md, "Frame Descriptor" and "Legacy frame"), read from untrusted bytes.

A frame's *descriptor* is a number that says how its blocks are to be read: its bytes FLG and BD, or ``LEGACY``. It is
what a seek point inside a frame keeps of the header.
"""

from __future__ import annotations

from typing import NamedTuple

from rofuse_formats.codecs.lz4.libraries import xxh32
from rofuse_formats.errors import DamagedError, TruncatedError, UnsupportedError
from rofuse_formats.limits import MIB
from rofuse_formats.source import Source

MAGIC = b"\x04\x22\x4d\x18"
LEGACY_MAGIC = b"\x02\x21\x4c\x18"
LEGACY = 1 << 16
SKIPPABLE_HEADER = 8
LONGEST_HEADER = 19
LARGEST_BLOCK = 8 * MIB
_VERSION, _INDEPENDENT, _BLOCK_CHECKSUM, _CONTENT_SIZE, _CONTENT_CHECKSUM, _RESERVED, _DICTIONARY = (
    0xC0, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01,
)  # fmt: skip
_BLOCK_SIZES = {0x40: 64 << 10, 0x50: 256 << 10, 0x60: 1 * MIB, 0x70: 4 * MIB}  # by BD


class Frame(NamedTuple):
    """What a frame header says."""

    descriptor: int
    header: int
    """Bytes of the header, magic included."""
    content: int | None = None
    """Decoded bytes, where the header says."""

    @property
    def legacy(self) -> bool:
        return self.descriptor == LEGACY

    @property
    def largest(self) -> int:
        """Decoded bytes of a block at most; all but a frame's last usually have as many."""
        return LARGEST_BLOCK if self.legacy else _BLOCK_SIZES[self.descriptor >> 8]

    @property
    def largest_stored(self) -> int:
        """Bytes that a block is stored in at most."""
        return self.largest + (self.largest // 255 + 16 if self.legacy else 0)

    @property
    def linked(self) -> bool:
        """Whether a block may refer to the output before it."""
        return not self.legacy and not self.descriptor & _INDEPENDENT

    @property
    def block_checksums(self) -> bool:
        return bool(self.descriptor & _BLOCK_CHECKSUM)

    @property
    def content_checksum(self) -> bool:
        return bool(self.descriptor & _CONTENT_CHECKSUM)


def _plausible(flags: int, block_descriptor: int) -> bool:
    return flags & (_VERSION | _RESERVED) == 0x40 and block_descriptor in _BLOCK_SIZES


def described(descriptor: int) -> Frame | None:
    """The frame with this descriptor, or None where there can be none."""
    if descriptor != LEGACY and not _plausible(descriptor & 0xFF, descriptor >> 8):
        return None
    return Frame(descriptor, 0)


def is_skippable(head: bytes) -> bool:
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def recognise(head: bytes) -> bool:
    """Whether a source that starts with ``head`` is LZ4: a frame, possibly after skippable frames. Those alone are
    zstd's, which has the same."""
    at = 0
    while is_skippable(head[at : at + 4]):
        at += SKIPPABLE_HEADER + int.from_bytes(head[at + 4 : at + 8], "little")
    start, rest = head[at : at + 4], head[at + 4 : at + 8]
    if start == LEGACY_MAGIC:
        return (
            len(head) == at + len(start)
            or 0 < int.from_bytes(rest, "little") <= Frame(LEGACY, 0).largest_stored
        )
    return start == MAGIC and len(rest) > 2 and _plausible(rest[0], rest[1])


def next_frame(source: Source, offset: int, end: int) -> tuple[int, Frame] | None:
    """The first frame that is not to be skipped, from ``offset`` on, and its offset; None where there is none before
    ``end``, or nothing but zeros behind another one. Raises DamagedError, TruncatedError, UnsupportedError."""
    while offset < end:
        head = source.pread(min(LONGEST_HEADER, end - offset), offset)
        if offset and not head.strip(b"\0") and _only_zeros(source, offset, end):
            return None
        if not is_skippable(head):
            return offset, _frame(head, offset)
        if len(head) < SKIPPABLE_HEADER:
            raise _ends_within_header(offset)
        start, offset = offset, offset + SKIPPABLE_HEADER + int.from_bytes(head[4:8], "little")
        if offset > end:
            raise TruncatedError(f"LZ4 data ends within the skippable frame at offset {start}", start)
    return None


def _only_zeros(source: Source, offset: int, end: int) -> bool:
    pieces = (source.pread(min(MIB, end - at), at) for at in range(offset, end, MIB))
    return not any(piece.strip(b"\0") for piece in pieces)


def _frame(head: bytes, offset: int) -> Frame:
    if head.startswith(LEGACY_MAGIC):
        return Frame(LEGACY, len(LEGACY_MAGIC))
    if not head.startswith(MAGIC):
        if len(head) < 4 and any(magic.startswith(head) for magic in (MAGIC, LEGACY_MAGIC)):
            raise _ends_within_header(offset)
        raise DamagedError(f"no LZ4 frame begins at offset {offset}", offset)
    if len(head) < 7:
        raise _ends_within_header(offset)
    flags, block_descriptor = head[4], head[5]
    content_size, dictionary = bool(flags & _CONTENT_SIZE) * 8, bool(flags & _DICTIONARY) * 4
    size = 7 + content_size + dictionary
    if len(head) < size:
        raise _ends_within_header(offset)
    if xxh32(head[4 : size - 1]) >> 8 & 0xFF != head[size - 1]:
        raise DamagedError(f"LZ4 frame header at offset {offset} fails its checksum", offset)
    if not _plausible(flags, block_descriptor):
        raise UnsupportedError(f"the LZ4 frame at offset {offset} is of a version that is not supported")
    if dictionary:
        number = int.from_bytes(head[size - 5 : size - 1], "little")
        raise UnsupportedError(f"LZ4 dictionary {number} is needed to decode this, and is not supported")
    content = int.from_bytes(head[6:14], "little") if content_size else None
    return Frame(block_descriptor << 8 | flags, size, content)


def _ends_within_header(offset: int) -> TruncatedError:
    return TruncatedError(f"LZ4 data ends within the frame header at offset {offset}", offset)
