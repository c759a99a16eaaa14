"""How the helper process tells what it decoded, and what went wrong."""

from __future__ import annotations

import time

from rofuse_formats.archives.libarchive import protocol
from rofuse_formats.archives.libarchive.protocol import QueuedLine
from rofuse_formats.errors import FormatError

_CHUNK = 1 << 18
_HOLD = 0.005  # seconds that small files may wait for company on their way


class Sender:
    """Tells decoded bytes in large messages. What was added last stays here until its entry has been checked.
    ``is_careful``: each is told before anything else is done."""

    def __init__(self, line: QueuedLine, *, is_careful: bool = False) -> None:
        self._line, self._hold = line, -1 if is_careful else _HOLD
        self._parts: list[bytes] = []
        self._start = self._size = 0
        self._sent = time.monotonic()

    def add(self, at: int, data: bytes) -> None:
        size = self._size
        if size and (at != self._start + size or size + len(data) > _CHUNK):
            self.flush()
            size = 0
        if not size:
            self._start = at
        self._parts.append(data)
        self._size = size + len(data)

    def zeros(self, at: int, size: int) -> None:
        while size > 0:
            step = min(size, _CHUNK)
            self.add(at, bytes(step))
            at, size = at + step, size - step

    def end_of_entry(self) -> None:
        if self._size >= _CHUNK // 2 or time.monotonic() - self._sent > self._hold:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            parts = self._parts if len(self._parts) <= protocol.MOST_PARTS else [b"".join(self._parts)]
            self._line.send(protocol.BYTES, self._start, 0, *parts)
            if self._hold < 0:
                self._line.wait()
        self._parts, self._size, self._sent = [], 0, time.monotonic()


def trouble_of(error: FormatError) -> protocol.Trouble:
    return type(error).__name__, str(error)
