"""The two libraries, imported when something is decoded."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from rofuse_formats.errors import MissingLibraryError


class _Block(Protocol):
    """The module ``lz4.block``, which has no types of its own."""

    LZ4BlockError: type[Exception]

    def decompress(
        self, source: bytes | memoryview, uncompressed_size: int, *, dict: bytes | memoryview
    ) -> bytes: ...


class Hash(Protocol):
    """A running xxHash-32."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def intdigest(self) -> int: ...


@cache
def lz4_block() -> _Block:
    """Raises MissingLibraryError."""
    try:
        import lz4.block
    except ImportError as error:
        raise _missing("lz4") from error
    library: _Block = lz4.block
    return library


def running_xxh32() -> Hash:
    """Raises MissingLibraryError."""
    try:
        from xxhash import xxh32 as running
    except ImportError as error:
        raise _missing("xxhash") from error
    return running()


def xxh32(data: bytes | memoryview) -> int:
    """xxHash-32 with seed 0. Raises MissingLibraryError."""
    try:
        from xxhash import xxh32_intdigest
    except ImportError as error:
        raise _missing("xxhash") from error
    return xxh32_intdigest(data)


def _missing(package: str) -> MissingLibraryError:
    return MissingLibraryError(f"the Python package {package} is needed to read LZ4: pip install {package}")
