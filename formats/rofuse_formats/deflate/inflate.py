"""The library that decodes from seek points: ISA-L where python-isal is installed, two to three times as fast as zlib;
else zlib.

They agree on what is intact. Of data that is damaged or ends early ISA-L gives some bytes less, so there zlib alone
decides: what a first pass finds does not depend on which library is there.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Protocol, cast

LARGEST_WINDOW = 1 << 15
RAW = -15
"""zlib's name for a deflate stream without header and trailer, with the largest window."""


_EMPTY = b"\3\0"  # a stream of nothing


class Decompressor(Protocol):
    """What ``zlib.decompressobj`` returns."""

    @property
    def eof(self) -> bool: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int = ..., /) -> bytes: ...


class Library:
    """zlib, as Python has it. ``error`` is what its decompressors raise."""

    error: type[Exception] = zlib.error

    def decompressor(self, window: bytes = b"") -> Decompressor:
        return zlib.decompressobj(RAW, zdict=window) if window else zlib.decompressobj(RAW)


class _Isal(Library):
    """Raises ImportError where there is none, or one of before 1.9: it loses what is behind the end of a stream."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self.error = cast("type[Exception]", isal_zlib.error)  # its stubs say it is an instance
        self._decompressor = isal_zlib.decompressobj
        trial, behind = self.decompressor(), b"behind"
        trial.decompress(_EMPTY + behind)
        if trial.unused_data != behind:
            raise ImportError("isal is too old")

    def decompressor(self, window: bytes = b"") -> Decompressor:
        return self._decompressor(RAW, zdict=window) if window else self._decompressor(RAW)


ZLIB = Library()


@cache
def fastest() -> Library:
    try:
        return _Isal()
    except ImportError:
        return ZLIB
