"""A group on its way through a helper process, as ``decoding`` keeps account of it."""

from __future__ import annotations

from rofuse_formats.archives.libarchive.process import Helper
from rofuse_formats.errors import FormatError


class Pass:
    """``start``, ``position`` and ``end`` are places in the linear stream."""

    def __init__(self, at: int) -> None:
        self.wanted, self.start, self.end, self.position = at, at, at + 1, at
        self.helper: Helper | None = None
        self.is_begun = False  # whether it is known which group it is
        self.is_busy = True  # whether a thread moves it on
        self.is_by_itself = False  # whether that does it for nobody in particular,
        self.is_to_stop = False  # and is to make room for who wants something else
        self.is_over = False
        self.deaths = 0
        self.trouble: FormatError | None = None  # of the run that is missing before the next bytes
        self.parts: list[bytes] = []  # decoded, up to ``position``, and in no spool yet
        self.first = at  # where those begin

    def covers(self, at: int) -> bool:
        return self.start <= at < self.end

    def bytes(self, start: int, end: int) -> memoryview:
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = [data]
        return memoryview(data)[start - self.first : end - self.first]
