"""Reading units from seek points.

Strategy
A run is decoded as its codec does it, and ends where the next one begins. What is decoded of a run to its last byte has
had all its checks made before that byte is given out.

Rules
- Never a byte more than the first pass counted.
- A cut run gives the bytes before its damage. Any other whose checks fail raises DamagedError at its end, at the
  latest.
"""

from __future__ import annotations

from rofuse_formats.errors import DamagedError, LimitError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Decoder, Kind
from rofuse_formats.units import index as unit_index
from rofuse_formats.units.index import Run

PIECE = 256 << 10
"""Decoded bytes asked for at once."""
INPUT = MIB
"""What a decoder takes beside its window, at most."""


class Stream:
    """The codec contract's SeekableStream."""

    def __init__(
        self, kind: Kind, source: Source, index: bytes | bytearray | memoryview, limits: Limits
    ) -> None:
        self._kind, self._source, self._limits = kind, source, limits
        self._runs, window = unit_index.read(kind.magic, index, source)
        if window > limits.max_window:
            raise LimitError(
                f"decoding needs a window of {window / MIB:,.0f} MiB, the limit is "
                f"{limits.max_window / MIB:,.0f} MiB; --max-window raises it"
            )
        self.size = self._runs[-1].end
        self.points = [run.start for run in self._runs]
        self.cursor_bytes = window + INPUT + 2 * PIECE

    def cursor(self, point: int) -> Cursor:
        return Cursor(self, point)

    def _start(self, point: int) -> tuple[Run, Decoder]:
        run = self._runs[point]
        return run, self._kind.decoder(self._source, run.place, None, self._limits)


class Cursor:
    """The codec contract's Cursor."""

    def __init__(self, stream: Stream, point: int) -> None:
        self.position = stream.points[point]
        self._stream = stream
        self._point = point
        self._decoder: Decoder | None = None
        self._run: Run
        self._rest = b""  # decoded, not yet given out

    def read(self, size: int) -> bytes:
        pieces = []
        end = min(self.position + size, self._stream.size)
        while self.position < end:
            data = self._next(end - self.position)
            self.position += len(data)
            pieces.append(data)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        end = min(self.position + size, self._stream.size)
        while self.position < end:
            self.position += len(self._next(end - self.position))

    def _next(self, most: int) -> bytes:
        """Some of the next bytes; at least one, at most ``most``."""
        if not self._rest:
            self._rest = self._decode(most)
        data, self._rest = self._rest[:most], self._rest[most:]
        return data

    def _decode(self, most: int) -> bytes:
        if self._decoder is None:
            self._run, self._decoder = self._stream._start(self._point)
        run, decoder = self._run, self._decoder
        left = run.end - self.position
        data = decoder.read(min(most, left, PIECE))[:left]
        if not data or (len(data) == left and not run.cut and decoder.read(1)):
            raise DamagedError(
                f"what is compressed at offset {run.place.offset} is not what it was", run.place.offset
            )
        if len(data) == left:
            self._decoder, self._point = None, self._point + 1
        return data
