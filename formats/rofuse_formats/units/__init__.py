"""Compressed streams made of units: pieces that can each be decoded alone (blocks, members), one after the other.

Strategy
A codec says where its units are and how they are decoded (``Kind``); the rest is the same for all: ``first_pass``
decodes all of them, ``index`` keeps where decoding can start, ``cursor`` reads from there. A stream that cannot be
divided is one unit of unknown size.

Rules
- No size is believed that the unit's bytes cannot hold: the codec looks to that.
- A unit is decoded in bounded memory, a piece at a time, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import MIB, MOST_DAMAGES, Limits
from rofuse_formats.source import Source

FAIR = 48 * MIB
"""Decoded size of a unit above which it is not to be sought in."""
SLOW = 8 * MIB
"""Decoded size of a unit above which it takes long to get to its end: codecs made of units decode some 100 MB/s."""


class Place(NamedTuple):
    """Bytes of the source that decode to something by themselves."""

    offset: int
    length: int
    detail: int = 0
    """What else the codec must know there; less than 128."""

    @property
    def end(self) -> int:
        return self.offset + self.length


class Unit(NamedTuple):
    place: Place
    size: int
    """Decoded bytes; an estimate if not ``exact``."""
    exact: bool = True
    checked: bool = True
    """Whether the format has a check of what it decodes to."""
    joined: bool = False
    """Whether a decoder that comes from the unit before can go on into this one."""
    first: bool = True
    """Whether a decoder that starts here can go on into every joined unit; else only into those that are not
    ``first`` themselves."""


class LostError(DamagedError):
    """Damage that leaves it open how much was compressed. What follows has no place in the decoded stream."""


class Decoder(Protocol):
    """Decodes a place, forward only."""

    findings: Findings
    """At the end: what is wrong behind what was decoded, and casts no doubt on it."""

    @property
    def position(self) -> int:
        """Where in the source it reads."""
        ...

    @property
    def window(self) -> int:
        """Bytes of its output that it keeps for itself."""
        ...

    def read(self, most: int, /) -> bytes:
        """Up to about ``most`` bytes; none at the end, and only when all checks have been made. Raises DamagedError
        (TruncatedError where the source ends), LimitError, UnsupportedError, MissingLibraryError, OSError."""
        ...


class Findings:
    """What is wrong with a source, as it is found."""

    def __init__(self) -> None:
        self.damages: list[DamagedError] = []
        self.warnings: list[str] = []

    def damaged(self, damage: DamagedError) -> None:
        """Takes note of it. Raises it where it is one too many."""
        if len(self.damages) >= MOST_DAMAGES:
            raise damage
        self.damages.append(damage)


class Kind(Protocol):
    """What a codec knows of its units."""

    magic: bytes
    """Of the seek index: eight bytes, the codec's name and the version of what it keeps."""

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        """All units in their order. Damage beside them goes to ``findings``; a DamagedError says that no more can be
        found. After a unit of unknown size more are asked for only if it was sound."""
        ...

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> Decoder:
        """For exactly one whole unit of ``size``, which it proves to be that; or, where ``size`` is None, for whatever
        there is in ``place``. Raises what ``Decoder.read`` does."""
        ...


def undivided(source: Source, size: int = -1) -> Unit:
    """The only unit of a stream that has no index and no check, and may say that it decodes to ``size`` bytes."""
    return Unit(Place(0, source.size), size if size >= 0 else FAIR + 1, exact=False, checked=False)
