"""First passes over compressed streams, and what is known of each stream after it.

The lists are by the number of the stream, as the index, the block cache and the spool count them: the archive's own
compressions, outermost first, then those of archives within it, in the order they are read in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rofuse_formats.codecs import Codec, FirstPass
from rofuse_formats.limits import Limits
from rofuse_formats.readers import DecodedReader
from rofuse_formats.source import Source
from rofuse_formats.spool import Writer


class Passes:
    """All first passes of one indexing. ``writer``: takes what cannot be sought in."""

    def __init__(self, limits: Limits, writer: Writer) -> None:
        self.limits, self.writer = limits, writer
        self.codecs: list[str] = []
        self.seeks: list[bytes] = []
        self.frames: list[int] = []
        self.suspect: list[list[tuple[int, int]]] = []

    def begin(self, codec: Codec, source: Source) -> Pass:
        """Starts to decode ``source``."""
        self.codecs.append(codec.name)
        self.seeks.append(b"")
        self.frames.append(0)
        self.suspect.append([])
        return Pass(self, len(self.codecs) - 1, codec.first_pass(source, self.limits))


class Pass:
    """One of them. A context: at its end decoding stops. Of a pass that was not finished nothing can be read later."""

    def __init__(self, passes: Passes, number: int, first_pass: FirstPass) -> None:
        self.number = number
        self.known = first_pass
        """What it has to say, after ``finish``."""
        self.reader = DecodedReader(_Kept(first_pass, passes.writer, number))
        self._passes = passes

    def __enter__(self) -> Pass:
        return self

    def __exit__(self, *exception: object) -> None:
        self.reader.close()

    def finish(self, tell: Callable[[int], None]) -> int:
        """Decodes what is left; returns the stream's size. ``tell`` is given the reader's position now and then."""
        size = self.reader.drain(lambda: tell(self.reader.position))
        self._passes.suspect[self.number] = self.known.suspect
        self._passes.seeks[self.number] = self.known.index()
        self._passes.frames[self.number] = self.known.frames
        return size


class _Kept:
    """A first pass whose unseekable chunks are kept on their way."""

    def __init__(self, first_pass: FirstPass, writer: Writer, stream: int) -> None:
        self._pass, self._writer, self._stream = first_pass, writer, stream

    @property
    def consumed(self) -> int:
        return self._pass.consumed

    def __iter__(self) -> Iterator[bytes]:
        offset = 0
        for chunk in self._pass:
            if self._pass.unseekable or self._pass.slow:
                self._writer.add(self._stream, offset, chunk, needed=self._pass.unseekable)
            offset += len(chunk)
            yield chunk
