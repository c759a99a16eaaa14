"""Decoding all units of a source.

Strategy
Units of ordinary size are decoded whole by two threads, ahead of who reads. What is larger than ``WHOLE``, or of
unknown size, is decoded as it is read. Many small units in a row are one task, and come out together.

A unit that fails is filled up with zeros to the size that it should have, and the next one follows as if nothing had
been. Where the size is not known, nothing can follow.

Rules
- Memory: at most ``AHEAD`` bytes of output wait, beside the two decoders' own.
- A chunk is all of one kind: a unit that is not to be sought in is decoded as it is read.
- Nothing depends on which thread was faster: what a unit has to say is taken in at its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from rofuse_formats.errors import DamagedError, FormatError, TruncatedError
from rofuse_formats.limits import MIB, Limits, check_damages
from rofuse_formats.source import Source
from rofuse_formats.units import FAIR, SLOW, Findings, Kind, LostError, Unit
from rofuse_formats.units.index import SPACING, Points

PIECE = MIB
"""Decoded bytes asked for at once, and of a chunk."""
TOGETHER = MIB
"""Decoded bytes of small units that are one task, at least."""
MANY = 1024
"""Units of one task, at most."""
WHOLE = 32 * MIB
"""Decoded size up to which a unit is decoded ahead of its turn."""
AHEAD = 56 * MIB
THREADS = 2
UNIT_BYTES = 16 << 10
"""What a unit counts beside its output, so that not too many of them wait."""

_ZEROS = bytes(PIECE)


def _is_alone(unit: Unit) -> bool:
    """Whether it is decoded as it is read."""
    return unit.size > WHOLE or not unit.exact


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of ``PIECE`` at least, but for the last."""
    small: list[bytes] = []
    size = 0
    for data in pieces:
        small.append(data)
        size += len(data)
        if size >= PIECE:
            yield b"".join(small)
            small.clear()
            size = 0
    if small:
        yield b"".join(small)


class _UnitPass:
    """Decodes one unit, whatever happens; when it is iterated to its end it knows what did."""

    __slots__ = "damage findings kind limits position size source suspect unit window".split()

    def __init__(self, kind: Kind, source: Source, limits: Limits, unit: Unit) -> None:
        self.kind, self.source, self.limits, self.unit = kind, source, limits, unit
        self.position = unit.place.offset
        self.size = self.window = 0
        self.findings: Findings | None = None
        self.damage: DamagedError | None = None
        self.suspect = (0, 0)  # of its bytes

    def __iter__(self) -> Iterator[bytes]:
        unit = self.unit
        try:
            yield from self._intact()
        except DamagedError as damage:
            self.damage = damage
            doubtful = unit.checked and not isinstance(damage, TruncatedError)
            start = 0 if doubtful else self.size
            while not self.lost and self.size < unit.size:
                zeros = _ZEROS[: unit.size - self.size]
                self.size += len(zeros)
                yield zeros
            self.suspect = (start, self.size)

    @property
    def lost(self) -> bool:
        """Whether it failed, and nothing can follow."""
        return bool(self.damage) and (not self.unit.exact or isinstance(self.damage, LostError))

    def _intact(self) -> Iterator[bytes]:
        unit, expected = self.unit, self.unit.size if self.unit.exact else None
        decoder = self.kind.decoder(self.source, unit.place, expected, self.limits)
        self.findings = decoder.findings
        while data := decoder.read(PIECE):
            if expected is not None and self.size + len(data) > expected:
                raise self._of_other_size(f"more than the {expected}")
            self.position = decoder.position
            self.size += len(data)
            self.window = min(decoder.window, self.size)
            yield data
        if expected is not None and self.size < expected:
            raise self._of_other_size(f"{self.size} of the {expected}")

    def _of_other_size(self, what: str) -> LostError:
        offset = self.unit.place.offset
        return LostError(f"what is compressed at offset {offset} is {what} bytes it should be", offset)


class _Task:
    """Units that are decoded in one go, by a thread."""

    def __init__(self, pool: ThreadPoolExecutor, passes: list[_UnitPass], cost: int) -> None:
        self.passes = passes
        self.cost = cost  # bytes of memory that it may still take
        self.stopped = False
        self.slow = any(unit_pass.unit.size > SLOW for unit_pass in passes)
        self.lost: DamagedError | None = None
        self._future: Future[deque[bytes]] = pool.submit(self._decode)

    def _decode(self) -> deque[bytes]:
        return deque(_joined(self._pieces()))

    def _pieces(self) -> Iterator[bytes]:
        for number, unit_pass in enumerate(self.passes):
            for data in unit_pass:
                if self.stopped:
                    return
                yield data
            if unit_pass.lost:
                self.lost = unit_pass.damage
                del self.passes[number + 1 :]

    def chunks(self) -> deque[bytes]:
        """All that it decoded, once it has."""
        return self._future.result()


class FirstPass:
    """The codec contract's FirstPass. ``spacing``: see ``index.Points``."""

    def __init__(self, kind: Kind, source: Source, limits: Limits, spacing: int = SPACING) -> None:
        self.consumed = 0
        self.unseekable = self.slow = False
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.frames = 0
        self.name = b""
        self._kind, self._source, self._limits = kind, source, limits
        self._findings = Findings()
        self._points = Points(spacing)
        self._size = 0
        self._waiting: deque[_Task] = deque()
        self._last: FormatError | None = None

    def __iter__(self) -> Iterator[bytes]:
        pool = ThreadPoolExecutor(THREADS, "decoder")
        try:
            yield from self._all(pool)
            self.consumed = self._source.size
        except DamagedError as damage:
            self._findings.damages.append(damage)
        finally:
            for task in self._waiting:
                task.stopped = True
            pool.shutdown(cancel_futures=True)
        self.damages = sorted(self._findings.damages, key=lambda damage: damage.offset or 0)
        self.warnings = self._findings.warnings

    def index(self) -> bytes:
        return self._points.written(self._kind.magic, self._source.size, self.consumed)

    def _all(self, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        """Raises the error behind which nothing can be found."""
        for units in self._portions():
            passes = [_UnitPass(self._kind, self._source, self._limits, unit) for unit in units]
            if _is_alone(units[0]):
                yield from self._give(0)
                yield from self._stream(passes[0])
            else:
                cost = sum(unit.size + UNIT_BYTES for unit in units)
                yield from self._give(AHEAD - cost)
                self._waiting.append(_Task(pool, passes, cost))
        yield from self._give(0)
        if self._last:
            raise self._last

    def _portions(self) -> Iterator[list[Unit]]:
        """The units, by what is decoded in one go."""
        portion: list[Unit] = []
        size = 0
        for unit in self._units():
            if portion and (_is_alone(unit) or size >= TOGETHER or len(portion) >= MANY):
                yield portion
                portion, size = [], 0
            if _is_alone(unit):
                yield [unit]
            else:
                portion.append(unit)
                size += unit.size
        if portion:
            yield portion

    def _units(self) -> Iterator[Unit]:
        """The units, as long as it makes sense to go on."""
        try:
            for unit in self._kind.units(self._source, self._findings):
                yield unit
                check_damages(len(self._findings.damages), unit.place.end)
        except FormatError as error:  # raised when all before it is given out
            self._last = error

    def _give(self, room: int) -> Iterator[bytes]:
        """Yields what waits, until no more than ``room`` bytes do."""
        held = sum(task.cost for task in self._waiting)
        while self._waiting and held > room:
            task = self._waiting[0]
            chunks = task.chunks()
            self.unseekable = False
            self.slow = task.slow
            self.consumed = task.passes[-1].position if task.passes else self.consumed
            for unit_pass in task.passes:
                self._take_in(unit_pass)
            task.passes.clear()
            if chunks:
                chunk = chunks.popleft()
                task.cost -= len(chunk)
                held -= len(chunk)
                yield chunk
                del chunk
            if not chunks:
                held -= task.cost
                self._waiting.popleft()
                if task.lost:
                    raise task.lost

    def _stream(self, unit_pass: _UnitPass) -> Iterator[bytes]:
        """Decodes one unit as it is read."""
        self.unseekable = unit_pass.unit.size > FAIR
        self.slow = unit_pass.unit.size > SLOW
        for chunk in _joined(unit_pass):
            self.consumed = unit_pass.position
            yield chunk
        self._take_in(unit_pass)
        if unit_pass.damage and unit_pass.lost:
            raise unit_pass.damage

    def _take_in(self, unit_pass: _UnitPass) -> None:
        """Takes note of a unit at its turn."""
        self.frames += 1
        start, end = unit_pass.suspect
        sound, cut = not unit_pass.damage, bool(unit_pass.damage) and start > 0
        self._points.add(unit_pass.unit, unit_pass.size, sound, cut)
        self._points.window = max(self._points.window, unit_pass.window)
        if unit_pass.findings:
            self._findings.warnings += unit_pass.findings.warnings
            self._findings.damages += unit_pass.findings.damages
        if start < end:
            self._suspect(self._size + start, self._size + end)
        self._size += unit_pass.size
        if unit_pass.damage and not unit_pass.lost:
            self._findings.damages.append(unit_pass.damage)

    def _suspect(self, start: int, end: int) -> None:
        if self.suspect and self.suspect[-1][1] == start:
            start = self.suspect.pop()[0]
        self.suspect.append((start, end))
