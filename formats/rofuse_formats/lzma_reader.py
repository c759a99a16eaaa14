"""The library's LZMA decoder, reading from a source.

Rules
- Input goes in by pieces of ``PIECE`` bytes, output comes out by as many as were asked for.
- The library's errors leave here as DamagedError, TruncatedError or LimitError. What it had decoded in the call in
  which it met one is lost: whom that would help asks for ``LITTLE`` at a time.
- The decoder allocates its window at once, but touches no more of it than it has output.
"""

from __future__ import annotations

import lzma

from rofuse_formats.errors import DamagedError, LimitError, TruncatedError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source

PIECE = 256 << 10
LITTLE = 64 << 10
BESIDE_WINDOW = 4 * MIB
"""What the decoder may need beside its window."""


def check_window(window: int, what: str, limits: Limits) -> None:
    """Raises LimitError if ``what`` (``an xz block``) may not have its window."""
    if window > limits.max_window:
        raise LimitError(
            f"{what} needs a window of {window / MIB:,.0f} MiB, the limit is "
            f"{limits.max_window / MIB:,.0f} MiB; --max-window raises it"
        )


class LzmaReader:
    """Decodes ``before``, the source from ``position`` to ``end``, and ``after``, as one stream of ``format``. What is
    said of ``what`` is that it begins at ``start``, if that is not ``position``.

    ``is_beyond``: whether the decoder has been given ``after``. All that was in the source has been read by then, and
    what comes now is of ``after`` alone: the decoder asks for more only when it has no more to give out.
    """

    def __init__(
        self,
        what: str,
        source: Source,
        position: int,
        end: int,
        limits: Limits,
        *,
        format: int,
        start: int = -1,
        before: bytes = b"",
        after: bytes = b"",
    ) -> None:
        self._decoder = lzma.LZMADecompressor(format, memlimit=limits.max_window + BESIDE_WINDOW)
        self._what, self._source, self._limits = what, source, limits
        self._start, self.position, self._end = position if start < 0 else start, position, end
        self._before, self._after = before, after
        self.is_beyond = False

    @property
    def ended(self) -> bool:
        """Whether the stream has come to its own end."""
        return self._decoder.eof

    @property
    def unused(self) -> int:
        """Bytes before ``position`` that were read and do not belong to the stream, once it has ended."""
        return len(self._decoder.unused_data)

    def read(self, most: int) -> bytes:
        """Up to ``most`` bytes, none only if the stream or the input has ended."""
        decoder = self._decoder
        while not decoder.eof:
            data = b""
            if decoder.needs_input and not (data := self._input()):
                break
            try:
                output = decoder.decompress(data, most)
            except lzma.LZMAError as error:
                raise self._failure(error) from error
            if output:
                return output
        return b""

    def truncated(self) -> TruncatedError:
        """What to say where the input has ended and the stream has not."""
        return TruncatedError(
            f"{self._what} at offset {self._start} ends too early, at offset {self.position}", self.position
        )

    def _input(self) -> bytes:
        if self._before:
            data, self._before = self._before, b""
        elif self.position < self._end:
            data = self._source.pread(min(PIECE, self._end - self.position), self.position)
            self.position += len(data)
            if not data:
                raise self.truncated()
        else:
            data, self._after = self._after, b""
            self.is_beyond = bool(data) or self.is_beyond
        return data

    def _failure(self, error: lzma.LZMAError) -> Exception:
        if "limit" in str(error):
            return LimitError(
                f"{self._what} at offset {self._start} needs a window of more than "
                f"{self._limits.max_window / MIB:,.0f} MiB; --max-window raises the limit"
            )
        return DamagedError(
            f"{self._what} at offset {self._start} is damaged before offset {self.position}", self._start
        )
