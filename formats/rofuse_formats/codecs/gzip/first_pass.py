"""Decoding a whole source front to back.

Strategy
Members are decoded one after the other: bgzip's small ones at one stroke each, all others by zlib from block to block,
with seek points inside them. Python's work is per member and per MiB of output.

Rules
- Every member is held against its trailer. One that fails is suspect as a whole; decoding goes on behind it if its
  size is certain, which it is when the trailer agrees in one of its two words.
- Data that cannot be decoded ends the pass: how much is missing is not known. (bgzip's blocks know: see ``blocks``.)
- Where zlib cannot be loaded, nothing divides a member: a long one is unseekable.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice

from rofuse_formats import seek_index
from rofuse_formats.codecs.gzip import blocks, member
from rofuse_formats.codecs.gzip.cursor import MAGIC
from rofuse_formats.deflate import libz, points
from rofuse_formats.deflate.decoding import Decoding
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.limits import MIB, check_damages
from rofuse_formats.source import Source

CHUNK = 1 * MIB
MANY = 4096  # pieces of a chunk that are joined before it is full
LONG = 8 * MIB  # output of a member that is not read again from its start
TRIAL = 4096  # output that tells a member from bytes that only look like one
SEARCHED = 64 * MIB  # of what is no member, for members behind it,
TRIALS = 1000  # and how many places in it are tried


class FirstPass:
    """The codec contract's FirstPass. Spacings (bytes of output) may be made small by tests."""

    def __init__(
        self, source: Source, *, spacing: int = points.SPACING, free_spacing: int = points.FREE_SPACING
    ) -> None:
        self.consumed = 0
        self.unseekable = self.slow = False
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.frames = 0
        self.name = b""
        self._source = source
        self._feed = Feed(source)
        self._points = points.Points(source, spacing, free_spacing)
        self._kept: list[seek_index.Point] = []
        self._inflater: libz.Inflater | None = None
        self._apart = False  # the next member must not be reached through what is before it
        self._decoded = 0
        self._pending: list[bytes] = []  # decoded, not yet yielded
        self._pending_size = 0

    def __iter__(self) -> Iterator[bytes]:
        self._inflater = libz.inflater()
        try:
            try:
                yield from self._members()
            except DamagedError as damage:
                self.damages.append(damage)
            if self._pending:
                yield self._take()
            self._kept = self._points.finish(self._decoded)
        finally:
            self._points.close()
            self._inflater = None

    def index(self) -> bytes:
        sound = not self.damages
        kept = seek_index.SeekIndex(self._source.size, self.consumed, self._decoded, sound, self._kept)
        return seek_index.write(MAGIC, kept)

    def _keep(self, data: bytes) -> bool:
        """Takes in decoded bytes; tells whether a chunk is full."""
        if data:
            self._pending.append(data)
        self._pending_size += len(data)
        self._decoded += len(data)
        if len(self._pending) >= MANY:
            self._pending = [b"".join(self._pending)]
        return self._pending_size >= CHUNK

    def _take(self) -> bytes:
        """The chunk that is full, or the last one."""
        chunk = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending = []
        self._pending_size = 0
        return chunk

    def _turn(self, unseekable: bool) -> Iterator[bytes]:
        """What comes is ``unseekable`` or not; a chunk is all of one kind."""
        if self.unseekable != unseekable:
            if self._pending:
                yield self._take()
            self.unseekable = unseekable

    def _doubt(self, begin: int) -> None:
        """All that was decoded since ``begin`` is suspect."""
        self._apart = True
        if self.suspect and self.suspect[-1][1] == begin:
            begin = self.suspect.pop()[0]
        if self._decoded > begin:
            self.suspect.append((begin, self._decoded))

    def _members(self) -> Iterator[bytes]:
        offset, feed = 0, self._feed
        while offset < feed.end:
            check_damages(len(self.damages), offset)
            if offset:
                offset = member.after_padding(feed, offset)
                if offset == feed.end:
                    return
                if not member.could_start(feed.bytes(offset, len(member.MAGIC))):
                    self._no_member(offset)
                    return
            header = member.header(feed, offset)
            self.frames += 1
            self.name = header.name if self.frames == 1 else b""
            if self.unseekable:
                yield from self._turn(False)
            self._points.start(self._decoded, offset, needed=self._apart)
            self._apart = False
            block = blocks.block(feed, offset, header) if header.size else None
            if block:
                offset += header.size
                if self._block(block):
                    yield self._take()
            else:
                offset = yield from self._member(offset + header.length)
            self.consumed = offset

    def _block(self, block: blocks.Block) -> bool:
        """Takes in a block; tells whether a chunk is full."""
        begin, full = self._decoded, self._keep(block.data)
        if block.damage:
            self.damages.append(block.damage)
            self._doubt(begin)
        return full

    def _member(self, offset: int) -> Generator[bytes, None, int]:
        """Decodes the member whose deflate data is at ``offset``; returns where it ends."""
        begin, check = self._decoded, member.Check()
        decoding = Decoding(self._feed, offset, self._inflater, self._points, begin)
        pieces = iter(decoding)
        if self._inflater is None:
            held = _Held(pieces)
            pieces = iter(held)
            if held.is_long:
                yield from self._long()
        try:
            for piece in pieces:
                check.add(piece)
                self.consumed = decoding.offset
                if self._keep(piece):
                    yield self._take()
        except DamagedError as damage:
            if not isinstance(damage, TruncatedError):
                self._doubt(begin)
            raise
        finally:
            self.consumed = decoding.offset
        self._hold_against(check, decoding.offset, begin)
        return decoding.offset + member.TRAILER.size

    def _hold_against(self, check: member.Check, trailer: int, begin: int) -> None:
        """Compares what was decoded since ``begin`` with the trailer there."""
        agrees = check.agrees(self._feed, trailer)
        if all(agrees):
            return
        self._doubt(begin)
        if not any(agrees):
            raise member.failed_check(trailer)
        self.damages.append(member.failed_check(trailer))

    def _long(self) -> Iterator[bytes]:
        """A long member comes, and no points will be in it."""
        yield from self._turn(True)
        self._apart = True
        warning = "zlib (libz.so.1) cannot be loaded: nothing can be sought in long gzip members"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _no_member(self, offset: int) -> None:
        """What is at ``offset`` is something else: garbage, unless members were lost."""
        size, head = self._feed.end - offset, self._feed.bytes(offset, member.FIXED)
        if self.damages or member.resembles(head) or self._has_members(offset):
            raise DamagedError(f"{size} bytes at offset {offset} are no gzip member", offset)
        self.warnings.append(f"{size} bytes of garbage behind the last gzip member (offset {offset})")

    def _has_members(self, offset: int) -> bool:
        feed = Feed(self._source, offset + SEARCHED)
        for found in islice(member.offsets_of_magic(feed, offset), TRIALS):
            try:
                header = member.header(feed, found)
                Reader(feed, 8 * (found + header.length)).read(TRIAL)
            except DamagedError:
                continue
            return True
        return False


class _Held:
    """A member's output, held back until it is known whether it is long."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.is_long = False
        self._held: list[bytes] = []
        self._rest = pieces
        self._damage: DamagedError | None = None
        size = 0
        try:
            for piece in pieces:
                self._held.append(piece)
                size += len(piece)
                if size > LONG:
                    self.is_long = True
                    break
        except DamagedError as damage:
            self._damage = damage

    def __iter__(self) -> Iterator[bytes]:
        held, self._held = self._held, []
        yield from held
        if self._damage:
            raise self._damage
        yield from self._rest
