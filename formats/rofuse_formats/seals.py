"""Digests that archives say of themselves, beside the checksums that ``Members`` and codecs know of: a package's list
of those of its files, say. They are compared where all is verified (``rofuse_formats.verify``), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from rofuse_formats.source import Source


class Digest(NamedTuple):
    """A digest that something must have."""

    algorithm: str
    """As ``hashlib`` calls it: ``sha256``."""
    value: bytes


class Sealed(NamedTuple):
    """A stretch of an archive of which the archive says the digest."""

    what: str
    """What it is called in messages."""
    start: int
    size: int
    digest: Digest


class Seals(NamedTuple):
    """The digests that an archive says."""

    stretches: list[Sealed]
    files: dict[bytes, Digest]
    """Of regular files, by their paths in the tree; they should all be there. Where the archive is shown as it is, and
    not as what it holds (``NestedFormat``), they count for nothing."""
    by: str
    """Who says those of the files, as messages have it: ``the header``."""


@runtime_checkable
class SealedFormat(Protocol):
    """What a format has besides whose archives say digests beside those that ``Members`` know of."""

    def seals(self, source: Source, read: Callable[[bytes], bytes | None], /) -> Seals:
        """All that the archive in ``source`` says. ``read``: what the archive's tree has under a path, where that is a
        regular file of ordinary size. Raises DamagedError where what should say them is damaged, OSError."""
        ...
