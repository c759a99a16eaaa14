"""Decoding a whole source front to back.

Strategy
Frames and blocks are walked by their headers in a buffer of some MiB, and the decoder is fed several whole blocks at a
time: each time it takes the interpreter's lock once, for which it may have to wait. Where a seek point may come, it
is one block at a time: after each the decoded offset of the boundary is known. So it is from the frame's beginning on
once more where a block is damaged: damage costs no more than the block it is in.
Small frames are fed together, many at a time, so that a source of a hundred thousand frames costs little Python.
The planner is told of everything, and collects seek points.

Rules
- Every byte that came out before damage is yielded.
- A frame that says how much it holds and holds less or more is damaged, whether or not the library notices: a reader's
  decoder would notice in another place. Where the checksum does not tell which of the two is wrong, all behind it may
  be at another place.
- Nothing is buffered for longer than it takes to fill a chunk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from rofuse_formats.codecs.zstd import apart, frame, planner
from rofuse_formats.codecs.zstd.feeding import (
    TOGETHER,
    Buffer,
    Decoder,
    decoder_at,
    is_sound_but_for_its_size,
)
from rofuse_formats.codecs.zstd.index import Index, write_index
from rofuse_formats.errors import DamagedError, LimitError, TruncatedError, UnsupportedError
from rofuse_formats.limits import MIB, Limits, check_damages
from rofuse_formats.source import Source

CHUNK = 1 * MIB
MANY = 4096  # pieces of a chunk that are joined before it is full
LOOKAHEAD = 1 * MIB
_NO_LIMIT = 1 << 64


class FirstPass:
    """The codec contract's FirstPass. Spacings (bytes of output) may be made small by tests."""

    def __init__(
        self,
        source: Source,
        limits: Limits,
        *,
        spacing: int = planner.SPACING,
        free_spacing: int = planner.FREE_SPACING,
        windows_apart: float = planner.WINDOWS_APART,
    ) -> None:
        self.consumed = 0
        self.unseekable = self.slow = False
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.frames = 0
        self.name = b""
        self._source = source
        self._limits = limits
        self._buffer = Buffer(source)
        self._apart = apart.start(source, limits, planner.LARGEST_WINDOW)
        workshop = self._apart or planner.Here(source)
        self._planner = planner.Planner(workshop, spacing, free_spacing, windows_apart)
        self._window = 0  # the largest one met
        self._decoded = 0
        self._pending: list[bytes] = []  # decoded, not yet yielded
        self._pending_size = 0
        self._doubt: int | None = None  # from where on it is not certain that bytes are where they belong

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._decoded_whole()
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        """Waits for the last seed."""
        try:
            self._planner.join()
        finally:
            if self._apart:
                self._apart.close()

    def _decoded_whole(self) -> Iterator[bytes]:
        try:
            yield from self._frames()
        except DamagedError as damage:
            self.damages.append(damage)
        except (LimitError, UnsupportedError):
            if self._pending:
                yield self._take()
            raise
        if self._pending:
            yield self._take()
        if self._doubt is not None and self._doubt < self._decoded:
            self.suspect = [part for part in self.suspect if part[1] <= self._doubt]
            self.suspect.append((self._doubt, self._decoded))

    def index(self) -> bytes:
        self._end()
        first, *others = self._planner.points
        points = [first, *(p for p in others if (p.seed or not p.end) and p.decoded < self._decoded)]
        return write_index(self._source.size, Index(self.consumed, self._decoded, self._window, points))

    def _keep(self, data: bytes) -> bool:
        """Takes in decoded bytes; tells whether a chunk is full."""
        self._pending.append(data)
        self._pending_size += len(data)
        self._decoded += len(data)
        if len(self._pending) >= MANY:
            self._pending = [b"".join(self._pending)]
        return self._pending_size >= CHUNK

    def _take(self) -> bytes:
        """The chunk that is full, or the last one."""
        chunk = b"".join(self._pending)
        self._pending = []
        self._pending_size = 0
        self._planner.chunk(chunk, self._decoded)
        return chunk

    def _frames(self) -> Iterator[bytes]:
        offset, buffer = 0, self._buffer
        while offset < self._source.size:
            at = buffer.index(offset, frame.LONGEST_HEADER)
            head = buffer.data[at : at + frame.LONGEST_HEADER]
            magic = int.from_bytes(head[:4], "little") if len(head) >= 4 else 0
            if magic == frame.MAGIC:
                end, count = self._small_frames(offset)
                if count:
                    yield from self._together(offset, end, count)
                    offset = end
                else:
                    offset = yield from self._frame(offset)
            elif frame.is_skippable(magic):
                offset = self._after_skippable(head, offset)
            elif magic in frame.LEGACY_MAGICS:
                raise UnsupportedError("zstd data of a version before 0.8 is not supported")
            else:
                raise self._no_frame(head, offset)
            self.consumed = offset

    def _no_frame(self, head: bytes, offset: int) -> DamagedError:
        if frame.could_start(head):
            return TruncatedError(f"zstd data ends within the frame header at offset {offset}", offset)
        left = self._source.size - offset
        return DamagedError(f"{left} bytes after the last frame are no zstd frame (offset {offset})", offset)

    def _after_skippable(self, head: bytes, offset: int) -> int:
        end = offset + frame.SKIPPABLE_HEADER + int.from_bytes(head[4:8], "little")
        if len(head) < frame.SKIPPABLE_HEADER or end > self._source.size:
            raise TruncatedError(f"zstd data ends within the skippable frame at offset {offset}", offset)
        return end

    def _small_frames(self, offset: int) -> tuple[int, int]:
        """Where whole small frames from ``offset`` end, and how many they are; a chunk's worth at most."""
        at = start = self._buffer.index(offset, frame.SMALL_FRAME)
        count = size = 0
        while size < CHUNK:
            extent = frame.small_frame(self._buffer.data, at, self._limits.max_window)
            if not extent:
                break
            at += extent[0]
            size += extent[1]
            self._window = max(self._window, extent[2])
            count += 1
        return offset + at - start, count

    def _together(self, offset: int, end: int, count: int) -> Iterator[bytes]:
        """Decodes ``count`` whole frames at once."""
        at = self._buffer.index(offset, end - offset)
        frames = memoryview(self._buffer.data)[at : at + end - offset]
        try:
            data = Decoder(self._limits, across_frames=True).feed(frames, offset)
        except DamagedError:  # going slowly finds which of them it is, and what of it is intact
            while offset < end:
                offset = yield from self._frame(offset)
            return
        yield from self._turn(False)
        self.frames += count
        self._planner.free_point(self._decoded, offset)
        if data and self._keep(data):
            yield self._take()

    def _frame(self, offset: int) -> Generator[bytes, None, int]:
        """Decodes one frame, block by block; returns where it ends."""
        check_damages(len(self.damages), offset)
        buffer, plan = self._buffer, self._planner
        at = buffer.index(offset, frame.LONGEST_HEADER)
        header = frame.frame_header(buffer.data[at : at + frame.LONGEST_HEADER], offset)
        if not header:
            raise TruncatedError(f"zstd data ends within the frame header at offset {offset}", offset)
        frame.check_supported(header, self._limits)
        self._window = max(self._window, header.window)
        decoder = Decoder(self._limits)
        decoder.feed(buffer.data[at : at + header.header], offset)
        self.frames += 1
        plan.begin(header, self._decoded, offset)
        yield from self._turn(plan.unseekable)
        position, last, begin = offset + header.header, 0, self._decoded
        sound = begin  # where the last blocks begin that gave something
        limit = begin + (_NO_LIMIT if header.content is None else header.content)
        together = TOGETHER
        try:
            while not last:
                self.consumed = position
                last, blocks, data = buffer.blocks(position, min(together, plan.together(self._decoded)))
                try:
                    output = decoder.feed(data, position)
                    if self._decoded + len(output) > limit:
                        raise _holds("more", header, offset)
                except DamagedError:
                    if len(blocks) == 1:
                        raise
                    decoder, together = self._decoder_at(position, offset, header, begin), 1
                    last = 0
                    continue
                sound = self._decoded if output else sound
                for place, kind, block in blocks:
                    plan.block(place, kind, block)
                position += len(data)
                if output and self._keep(output):
                    yield self._take()
                if not last and plan.active:
                    ahead = buffer.index(position, LOOKAHEAD) if plan.choosing(self._decoded) else 0
                    plan.boundary(position, memoryview(buffer.data)[ahead:], self._decoded, self._pending)
            self.consumed = position
            end = self._check(decoder, position, begin, header, offset)
        except DamagedError as damage:
            plan.end(position, position, self._decoded, self._pending)
            if isinstance(damage, TruncatedError):
                raise
            # A decoder that gives out the end of a block may look at the next one before it says so.
            sound = begin if header.checksum else sound
            missing = (header.content or 0) - (self._decoded - begin)
            following = self._behind(position, header, missing)
            if following:
                self.damages.append(damage)
                yield from self._zeros(missing)
                plan.broken()
                if is_sound_but_for_its_size(self._source, self._limits, offset, header):
                    self._begin_doubt(begin)
            self._suspect(sound)
            if not following:
                raise
            return following
        plan.end(position, end, self._decoded, self._pending)
        return end

    def _decoder_at(self, position: int, offset: int, header: frame.Frame, begin: int) -> Decoder:
        """A decoder that was fed the frame at ``offset`` up to its block at ``position``."""
        decoder, done = decoder_at(self._source, self._limits, offset, header, position)
        if done != self._decoded - begin:
            raise DamagedError(f"zstd data at offset {offset} has changed while it was read", offset)
        return decoder

    def _check(self, decoder: Decoder, position: int, begin: int, header: frame.Frame, offset: int) -> int:
        """Compares what came out since ``begin``, of the frame at ``offset`` whose blocks end at ``position``, with its
        size and its checksum as it tells them. Returns where it ends. The next frame does not depend on either; but
        where nothing vouches for how much this one holds, all that follows may be at another place."""
        size, is_known, end = self._decoded - begin, header.content is not None, position
        damage = None
        if header.checksum:
            end += frame.CHECKSUM
            damage = self._checksum_failure(decoder, position)
        if header.content is not None and size < header.content:
            is_known = header.checksum and not damage
            damage = _holds(f"{size}", header, offset)
        if damage:
            self.damages.append(damage)
            self._suspect(begin)
            self._planner.broken()
            if not is_known:
                self._begin_doubt(begin)
        return end

    def _checksum_failure(self, decoder: Decoder, position: int) -> DamagedError | None:
        """Has the checksum at ``position`` verified."""
        at = self._buffer.index(position, frame.CHECKSUM)
        checksum = self._buffer.data[at : at + frame.CHECKSUM]
        if len(checksum) < frame.CHECKSUM:
            raise TruncatedError(f"zstd data ends within the checksum at offset {position}", position)
        try:
            decoder.feed(checksum, position)
        except DamagedError as damage:
            return damage
        return None

    def _begin_doubt(self, begin: int) -> None:
        if self._doubt is None:
            self._doubt = begin

    def _suspect(self, begin: int) -> None:
        if self._decoded > begin:
            self.suspect.append((begin, self._decoded))

    def _behind(self, position: int, header: frame.Frame, missing: int) -> int:
        """Where the frame ends whose block at ``position`` is damaged, going by its blocks' headers; 0 where that, or
        how much is ``missing`` of what it decodes to, cannot be told."""
        last = capacity = 0
        if header.content is None or missing < 0:
            return 0
        try:
            while not last:
                last, kind, block = self._buffer.block(position)
                position += len(block)
                size = frame.block_header(block, 0)[2]
                capacity += frame.LARGEST_BLOCK if kind == frame.COMPRESSED else size
        except DamagedError:
            return 0
        position += frame.CHECKSUM if header.checksum else 0
        return position if missing <= capacity and position <= self._source.size else 0

    def _zeros(self, size: int) -> Iterator[bytes]:
        """Stand for what is missing."""
        while size > 0:
            count = min(size, CHUNK)
            size -= count
            if self._keep(bytes(count)):
                yield self._take()

    def _turn(self, unseekable: bool) -> Iterator[bytes]:
        """A frame begins that is ``unseekable`` or not; a chunk is all of one kind."""
        if self.unseekable != unseekable:
            if self._pending:
                yield self._take()
            self.unseekable = unseekable


def _holds(what: str, header: frame.Frame, offset: int) -> DamagedError:
    return DamagedError(
        f"zstd frame at offset {offset} claims {header.content} bytes and holds {what}", offset
    )
