"""The file that a pack is written to, front to back, its head last."""

from __future__ import annotations

import os
from hashlib import sha256

_BATCH = 1 << 20


class Output:
    """Writes to ``fd``, from ``start`` on. ``position``: where the next byte goes."""

    def __init__(self, fd: int, start: int) -> None:
        self.position = start
        self._fd, self._written = fd, start
        self._digest = sha256()
        self._batch: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._batch.append(data)
        self.position += len(data)
        if self.position - self._written >= _BATCH:
            self._flush()

    def digest(self) -> bytes:
        """SHA-256 of all that was written."""
        self._flush()
        return self._digest.digest()

    def write_head(self, data: bytes) -> None:
        """What comes before ``start``."""
        _write_at(self._fd, data, 0)

    def _flush(self) -> None:
        data, self._batch = b"".join(self._batch), []
        self._digest.update(data)
        _write_at(self._fd, data, self._written)
        self._written += len(data)


def _write_at(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written
