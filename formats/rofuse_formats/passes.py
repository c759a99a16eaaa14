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
    """All first passes of one indexing. ``writer``: takes what cannot be sought in. ``stored``: bytes of the archive,
    which bound those of every stream in it, however often it is compressed."""

    def __init__(self, limits: Limits, writer: Writer, stored: int) -> None:
        self.limits, self.writer, self.stored = limits, writer, stored
        self.codecs: list[str] = []
        self._finished: dict[int, FirstPass] = {}
        self._seeks: dict[int, bytes] = {}
        self.frames: list[int] = []
        self.suspect: list[list[tuple[int, int]]] = []

    def begin(self, codec: Codec, source: Source) -> Pass:
        """Starts to decode ``source``."""
        self.codecs.append(codec.name)
        self.frames.append(0)
        self.suspect.append([])
        return Pass(self, len(self.codecs) - 1, codec.first_pass(source, self.limits))

    def finished(self, number: int, known: FirstPass) -> None:
        """Takes note of what the pass of this number has to say."""
        self.suspect[number] = known.suspect
        self.frames[number] = known.frames
        self._finished[number] = known

    def seek(self, number: int) -> bytes:
        """The seek index of a stream; nothing where its pass was not finished. Best asked for late: the last points may
        still be in the making."""
        if number in self._finished:
            self._seeks[number] = self._finished.pop(number).index()
        return self._seeks.get(number, b"")

    @property
    def seeks(self) -> list[bytes]:
        """Those of all."""
        return [self.seek(number) for number in range(len(self.codecs))]


class Pass:
    """One of them. A context: at its end decoding stops. Of a pass that was not finished nothing can be read later."""

    def __init__(self, passes: Passes, number: int, first_pass: FirstPass) -> None:
        self.number = number
        self.known = first_pass
        """What it has to say, after ``finish``."""
        self.reader = DecodedReader(_Kept(first_pass, passes, number))
        self._passes = passes

    def __enter__(self) -> Pass:
        return self

    def __exit__(self, *exception: object) -> None:
        self.reader.close()

    def finish(self, tell: Callable[[int], None]) -> int:
        """Decodes what is left; returns the stream's size. ``tell`` is given the reader's position now and then."""
        size = self.reader.drain(lambda: tell(self.reader.position))
        self._passes.finished(self.number, self.known)
        return size


class _Kept:
    """A first pass whose unseekable chunks are kept on their way, and that ends where it becomes too much."""

    def __init__(self, first_pass: FirstPass, passes: Passes, stream: int) -> None:
        self._pass, self._passes, self._stream = first_pass, passes, stream

    @property
    def consumed(self) -> int:
        return self._pass.consumed

    def __iter__(self) -> Iterator[bytes]:
        offset, writer = 0, self._passes.writer
        limits, stored = self._passes.limits, self._passes.stored
        most = limits.most_of(stored)
        for chunk in self._pass:
            if offset + len(chunk) > most:
                raise limits.too_much(stored)
            if self._pass.unseekable or self._pass.slow:
                writer.add(self._stream, offset, chunk, needed=self._pass.unseekable)
            offset += len(chunk)
            yield chunk
