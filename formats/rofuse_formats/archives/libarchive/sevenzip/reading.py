"""Numbers and bits of a 7z header, front to back (7-Zip's 7zFormat.txt)."""

from __future__ import annotations

_MOST = 1 << 25
_DIGITS = [f"{byte:08b}" for byte in range(256)]


class MisunderstoodError(Exception):
    """The header has what is not known here, or cannot be."""


class Bytes:
    """A header, read front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) < size:
            raise MisunderstoodError
        self._at += size
        return data

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        at = self._at
        if at >= len(self._data):
            raise MisunderstoodError
        self._at = at + 1
        return self._data[at]

    def number(self) -> int:
        """The leading ones of the first byte count the bytes that follow."""
        first = self.byte()
        if first < 0x80:
            return first
        more = 8 - (first ^ 0xFF).bit_length()
        return int.from_bytes(self.take(more), "little") | (first & 0x7F >> more) << 8 * more

    def count(self, each: int = 0) -> int:
        """A number of things, each of which takes so many of the bytes that are left."""
        count = self.number()
        if count * each > len(self._data) - self._at or count > _MOST:
            raise MisunderstoodError
        return count

    def length(self) -> int:
        """A number of bytes that are left."""
        length = self.number()
        if length > self.left:
            raise MisunderstoodError
        return length

    def vector(self, count: int) -> list[bool]:
        """A bit for each, the highest of a byte first."""
        data = self.take((count + 7) // 8)
        return [bit == "1" for byte in data for bit in _DIGITS[byte]][:count]

    def bits(self, count: int) -> list[bool]:
        """Which are defined: all, or those whose bit is set."""
        if self.byte():
            return [True] * count
        return self.vector(count)

    def expect(self, tag: int) -> None:
        if self.byte() != tag:
            raise MisunderstoodError
