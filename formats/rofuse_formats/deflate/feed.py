"""The source, read forward in pieces that grow: a jump costs a small read, a long run few large ones."""

from __future__ import annotations

from rofuse_formats.errors import TruncatedError
from rofuse_formats.source import Source

FIRST_READ = 16 << 10
LARGEST_READ = 1 << 20


class Feed:
    """``data`` is what was read last, ``base`` its offset in the source. ``end``: where the source ends for us."""

    def __init__(self, source: Source, end: int | None = None, *, largest: int = LARGEST_READ) -> None:
        self.data = b""
        self.base = 0
        self.end = source.size if end is None else min(end, source.size)
        self._source = source
        self._size = FIRST_READ
        self._largest = largest

    def at(self, offset: int, need: int) -> int:
        """Where in ``data`` the byte at ``offset`` is; ``need`` bytes from there are in it unless the end comes first.
        Cheap where ``offset`` hardly ever falls."""
        index = offset - self.base
        if index < 0 or index > len(self.data):
            self.data, self.base, index = b"", offset, 0
        missing = min(need, self.end - offset) - (len(self.data) - index)
        if missing <= 0:
            return index
        rest = self.data[index:]
        start = offset + len(rest)
        more = self._source.pread(min(max(self._size, missing), self.end - start), start)
        if len(more) < missing:
            shrunk = start + len(more)
            raise TruncatedError(f"the file has become shorter: it ends at offset {shrunk}", shrunk)
        self._size = min(2 * self._size, self._largest)
        self.data, self.base = rest + more, offset
        return 0

    def bytes(self, offset: int, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        index = self.at(offset, size)
        return self.data[index : min(index + size, len(self.data))]

    def view(self, offset: int, most: int) -> memoryview:
        """Some bytes, at most ``most``, none only at the end."""
        index = self.at(offset, 1)
        return memoryview(self.data)[index : index + most]
