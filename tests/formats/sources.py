"""Sources that tests read from."""

from __future__ import annotations


class BytesSource:
    """Bytes as a Source."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def pread(self, size: int, offset: int, /) -> bytes:
        assert size >= 0 and 0 <= offset <= self.size
        return self.data[offset : offset + size]
