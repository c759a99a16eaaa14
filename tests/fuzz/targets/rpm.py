"""rpm: see ``_nested``."""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.archives.rpm import FORMAT, capabilities
from rofuse_formats.errors import FormatError
from tests.fuzz.targets import _nested
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 16


def seeds() -> Iterator[bytes]:
    for path in paths(".rpm", MAX_LEN):
        yield path.read_bytes()


def fuzz(data: bytes) -> None:
    _nested.fuzz(FORMAT, data)
    try:
        found = FORMAT.seals(MemorySource(data), lambda path: None)
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert all(0 <= one.start <= one.start + one.size <= len(data) for one in found.stretches)
    capabilities.attribute(data[:100])
