"""Checksums.

CRC-32 by the fastest library there is: over a million entries' index zlib takes longer than all else of a mount.
SHA-256 by the interpreter's own: hashlib's comes from OpenSSL, which takes longer to load than it could save, since
little is given to it here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Protocol


class Crc32(Protocol):
    def __call__(self, data: bytes | memoryview, value: int = 0, /) -> int: ...


def fastest() -> Crc32:
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return crc32


crc32 = fastest()


class Digest(Protocol):
    """The part of a hash of hashlib's that is asked for here."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


class Sha256(Protocol):
    def __call__(self, data: bytes | memoryview = b"", /) -> Digest: ...


def soonest() -> Sha256:
    try:
        found: Sha256 = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:  # an interpreter that was built without, or is another one
        from hashlib import sha256 as found
    return found


sha256 = soonest()
