"""deb: see ``_nested``."""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.archives.deb import FORMAT, sums
from tests.fuzz.targets import _nested
from tests.fuzz.targets._archives import paths

MAX_LEN = 1 << 16


def seeds() -> Iterator[bytes]:
    for path in paths(".deb", MAX_LEN):
        yield path.read_bytes()


def fuzz(data: bytes) -> None:
    _nested.fuzz(FORMAT, data)
    assert all(len(digest.value) == 16 for digest in sums.of_files(data).values())
