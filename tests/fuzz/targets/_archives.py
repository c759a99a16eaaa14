"""The archives of ``testdata`` as seeds, and memory as a Source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import rofuse_formats
from rofuse_formats import Archive

TESTDATA = Path(__file__).parents[3] / "testdata"


class MemorySource:
    """Bytes as a ``rofuse_formats.source.Source``."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def pread(self, size: int, offset: int, /) -> bytes:
        return self.data[offset : offset + size]


def paths(suffix: str, largest: int) -> list[Path]:
    """Archives whose name ends with ``suffix`` and that are not larger than ``largest`` bytes."""
    found = (path for path in TESTDATA.iterdir() if path.name.endswith(suffix) and path.is_file())
    return sorted(path for path in found if 0 < path.stat().st_size <= largest)


def opened(suffix: str, largest: int) -> Iterator[Archive]:
    """Those of them that can be opened, indexed in memory."""
    for path in paths(suffix, largest):
        try:
            yield rofuse_formats.open(path, keep=False)
        except rofuse_formats.errors.FormatError:
            continue
