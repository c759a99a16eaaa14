"""An archive's decoded bytes, front to back: the ``Reader`` that scanners are given (``rofuse_formats.entry``).

Strategy
An uncompressed archive is read with ``pread`` where the scanner looks, in pieces that grow while it looks further on
and shrink when it jumps: headers between large files cost one small read each, small files are read in long runs.
A compressed one is decoded by a thread of its own, a few chunks ahead of the scanner (decoding releases the GIL),
and what the scanner jumps over is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from rofuse_formats.source import Source

if TYPE_CHECKING:
    from queue import Queue

AHEAD = 4  # decoded chunks that may wait for the scanner
SMALL_READ, LARGE_READ = 4096, 1 << 20
KEPT_BEHIND = 1 << 17  # bytes that are still there when a stream was drained


class SourceReader:
    """A Reader over a Source. ``position`` is how far it got, for progress."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer, self._base = b"", 0
        self._read_size = 1 << 16
        self.position = 0
        self.end: int | None = source.size

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        buffer, base = self._buffer, self._base
        past = position - base - len(buffer)
        if past + need > 0:
            self._read_size = min(self._read_size * 4, LARGE_READ) if past <= self._read_size else SMALL_READ
            size = max(self._read_size, need)
            self._buffer, self._base = self._source.pread(size, position), position
            self.position = position
            if len(self._buffer) < need:  # the end, or a file that shrank
                self.end = min(self._source.size, position + len(self._buffer))
        return self._buffer, self._base


class Watched:
    """A Reader that tells how far it got whenever it had to fetch: ``tell`` is given its ``position``."""

    def __init__(self, reader: SourceReader | DecodedReader, tell: Callable[[int], None]) -> None:
        self._reader, self._tell, self._told = reader, tell, -1

    @property
    def end(self) -> int | None:
        return self._reader.end

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        found = self._reader.window(position, need)
        done = self._reader.position
        if done != self._told:
            self._told = done
            self._tell(done)
        return found


class Chunks(Protocol):
    """The part of a codec's FirstPass that is asked for here."""

    @property
    def consumed(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class DecodedReader:
    """A Reader over a codec's first pass. To be closed: it has a thread."""

    def __init__(self, first_pass: Chunks) -> None:
        self.end: int | None = None
        self._buffer, self._base = b"", 0
        self._pass = first_pass
        from queue import Empty, Queue  # not for what is not compressed

        self._empty = Empty
        self._chunks: Queue[bytes | BaseException | None] = Queue(AHEAD)
        self._stopped = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._decode, name="first-pass", daemon=True)
        self._thread.start()

    @property
    def position(self) -> int:
        """Compressed bytes consumed, for progress."""
        return self._pass.consumed

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        while self._base + len(self._buffer) < position + need:
            chunk = self._next()
            if chunk is None:
                break
            passed = position - self._base
            if passed >= len(self._buffer):
                self._base += len(self._buffer)
                self._buffer = chunk
            else:
                self._base += passed
                self._buffer = self._buffer[passed:] + chunk
        return self._buffer, self._base

    def drain(self, tell: Callable[[], None]) -> int:
        """Decodes to the end and returns the stream's size; ``tell`` is called for each chunk."""
        while self.end is None:
            chunk = self._next()
            tell()
            if chunk is not None:
                passed = max(0, len(self._buffer) - KEPT_BEHIND)
                self._base += passed
                self._buffer = self._buffer[passed:] + chunk
        return self.end

    def tail(self, size: int) -> bytes:
        """The last bytes of a stream that was drained, at most ``KEPT_BEHIND`` of them."""
        return self._buffer[max(0, len(self._buffer) - size) :]

    def close(self) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._chunks.get(timeout=0.05)
            except self._empty:
                pass
        self._thread.join()

    def _next(self) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        if self.end is not None:
            return None
        chunk = self._chunks.get()
        if chunk is None:
            self.end = self._base + len(self._buffer)
            return None
        if isinstance(chunk, BaseException):
            self._failure = chunk  # nothing follows it, however often it is asked for
            raise chunk
        return chunk

    def _decode(self) -> None:
        last: BaseException | None = None
        try:
            for chunk in self._pass:
                self._chunks.put(chunk)
                if self._stopped:
                    return
        except BaseException as error:
            last = error
        self._chunks.put(last)
