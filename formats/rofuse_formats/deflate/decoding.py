"""Decoding a deflate stream front to back, with seek points made on the way.

Strategy
zlib decodes as fast as it can into a large buffer. When a point is due it is told to stop at the end of each block,
until one comes; there the point is. Where zlib cannot be loaded, Python's binding decodes, and no points are made.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.libz import BUFFER, InflateError, Inflater
from rofuse_formats.deflate.points import Points
from rofuse_formats.deflate.reader import Reader
from rofuse_formats.errors import DamagedError, TruncatedError


class Decoding:
    """The stream at byte ``offset`` of the feed's source; ``decoded`` is the offset of its output in all that is
    decoded. Iterated once, while nobody else uses ``inflater``; without one no points are made."""

    def __init__(
        self, feed: Feed, offset: int, inflater: Inflater | None, points: Points, decoded: int = 0
    ) -> None:
        self.offset = offset
        """How far the source was read; after iteration the first byte behind the stream."""
        self._feed, self._inflater, self._points = feed, inflater, points
        self._decoded = decoded

    def __iter__(self) -> Iterator[bytes]:
        """Output in pieces of at most a MiB. Raises DamagedError after all output before the damage was given."""
        return self._simply() if self._inflater is None else self._by_blocks(self._inflater)

    def _simply(self) -> Iterator[bytes]:
        reader = Reader(self._feed, 8 * self.offset)
        while not reader.ended:
            data = reader.read(BUFFER)
            self.offset = reader.offset
            if data:
                yield data

    def _by_blocks(self, inflater: Inflater) -> Iterator[bytes]:
        inflater.begin()
        last = b""  # what was yielded last: the window may reach into it
        while not inflater.ended:
            failure = self._run(inflater, last)
            if inflater.filled and (failure or inflater.ended or inflater.filled == BUFFER):
                last = self._take(inflater)
                yield last
            if failure:
                raise failure

    def _take(self, inflater: Inflater) -> bytes:
        data = inflater.take()
        self._decoded += len(data)
        return data

    def _run(self, inflater: Inflater, last: bytes) -> DamagedError | None:
        """Decodes some more; returns what ended it."""
        try:
            if not inflater.left:
                index = self._feed.at(self.offset, 1)
                if index == len(self._feed.data):
                    return TruncatedError(f"deflate data ends at offset {self.offset}", self.offset)
                inflater.give(self._feed.data, index)
            end = self._feed.base + len(self._feed.data)
            wait = self._points.wait(self._decoded + inflater.filled, self.offset)
            inflater.run(wait or BUFFER, to_block=not wait)
            self.offset = end - inflater.left
        except InflateError as error:
            self.offset = end - inflater.left
            return DamagedError(f"deflate data is damaged before offset {self.offset}: {error}", self.offset)
        except DamagedError as damage:  # the source's own
            return damage
        unused = None if wait else inflater.unused_bits()
        if unused is not None:
            bit = 8 * self.offset - unused
            self._points.inside(self._decoded + inflater.filled, bit, inflater.tail(last))
        return None
