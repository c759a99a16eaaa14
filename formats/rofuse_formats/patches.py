"""A compressed stream of which some stretches are not decoded but taken from elsewhere.

Strategy
Two kinds of stretches are: those that nothing can be sought in, whose bytes lie in a spool, and those that failed their
check, which nobody is given and for which zeros stand. Around them the codec's own cursors are used; behind one a new
cursor starts, for the codec has a point there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Protocol

from rofuse_formats.codecs import Cursor, SeekableStream
from rofuse_formats.errors import DamagedError

_SCRATCH = 1 << 20


class Patch(Protocol):
    """A stretch [start, end) of decoded bytes."""

    start: int
    end: int

    @property
    def points(self) -> Sequence[int]:
        """Where reading may begin at no cost; ascending; the first is ``start``."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from ``offset``: at least one, at most ``size``. Raises DamagedError, OSError."""
        ...


class Zeros:
    """Stands for bytes that must not be given out."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end, self.points = start, end, [start]

    def read(self, offset: int, size: int) -> bytes:
        return bytes(min(size, self.end - offset, _SCRATCH))


def patched(stream: SeekableStream, patches: Sequence[Patch]) -> SeekableStream:
    """``stream`` with its stretches replaced. Of patches that overlap, the later ones of the list win."""
    kept: list[Patch] = []  # ascending, none over another
    ends: list[int] = []
    for patch in patches:
        if patch.start >= min(patch.end, stream.size):
            continue
        first = last = bisect_right(ends, patch.start)
        while last < len(kept) and kept[last].start < patch.end:
            last += 1
        parts = [part for other in kept[first:last] for part in _without(other, patch)]
        kept[first:last] = sorted([*parts, patch], key=lambda part: part.start)
        ends[first:last] = [part.end for part in kept[first : first + len(parts) + 1]]
    return Patched(stream, kept) if kept else stream


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges, none of which touches another, that cover what these do."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


class _Part:
    """What is left of a patch beside another."""

    def __init__(self, whole: Patch, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.points = [start, *(point for point in whole.points if start < point < end)]
        self._whole = whole

    def read(self, offset: int, size: int) -> bytes:
        return self._whole.read(offset, min(size, self.end - offset))


def _without(patch: Patch, other: Patch) -> list[Patch]:
    if other.end <= patch.start or patch.end <= other.start:
        return [patch]
    sides = ((patch.start, other.start), (other.end, patch.end))
    return [_Part(patch, start, end) for start, end in sides if start < end]


class Patched:
    """The codec contract's SeekableStream."""

    def __init__(self, stream: SeekableStream, patches: Sequence[Patch]) -> None:
        self.size = stream.size
        self.stream, self.patches = stream, patches
        decoded = self.size - sum(min(patch.end, self.size) - patch.start for patch in patches)
        # where nothing is decoded, none is held
        self.cursor_bytes = stream.cursor_bytes if decoded else _SCRATCH
        self.starts = [patch.start for patch in patches]
        own = [point for point in stream.points if self.patch_at(point) is None]
        self.points = sorted({*own, *(point for patch in patches for point in patch.points)})

    def patch_at(self, position: int) -> Patch | None:
        number = bisect_right(self.starts, position) - 1
        return self.patches[number] if number >= 0 and position < self.patches[number].end else None

    def patch_after(self, position: int) -> int:
        """Where the next stretch begins that is not decoded."""
        number = bisect_right(self.starts, position)
        return self.starts[number] if number < len(self.starts) else self.size

    def cursor(self, point: int) -> Cursor:
        return _Cursor(self, self.points[point])

    def decoding(self, position: int) -> Cursor:
        """A cursor of the codec at any position."""
        cursor = self.stream.cursor(bisect_right(self.stream.points, position) - 1)
        cursor.skip(position - cursor.position)
        if cursor.position != position:
            raise DamagedError(f"the compressed data ends before byte {position} of what it holds")
        return cursor


class _Cursor:
    """The codec contract's Cursor."""

    def __init__(self, stream: Patched, position: int) -> None:
        self.position = position
        self._stream = stream
        self._cursor: Cursor | None = None  # the codec's, where it was last

    def read(self, size: int) -> bytes:
        parts = []
        size = min(size, self._stream.size - self.position)
        while size > 0:
            data = self._some(size)
            if not data:
                break
            parts.append(data)
            self.position += len(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        end = min(self.position + size, self._stream.size)
        while self.position < end:
            patch = self._stream.patch_at(self.position)
            if patch is not None:
                self.position = min(end, patch.end)
                continue
            stop = min(end, self._stream.patch_after(self.position))
            cursor = self._decoder()
            cursor.skip(stop - self.position)
            self.position = cursor.position
            if self.position < stop:
                break

    def _some(self, size: int) -> bytes:
        patch = self._stream.patch_at(self.position)
        if patch is not None:
            return patch.read(self.position, size)
        return self._decoder().read(min(size, self._stream.patch_after(self.position) - self.position))

    def _decoder(self) -> Cursor:
        if self._cursor is None or self._cursor.position != self.position:
            self._cursor = None  # its memory first
            self._cursor = self._stream.decoding(self.position)
        return self._cursor
