"""One module per compression; this page is the contract that each of them keeps, and their registry.

Strategy
A compressed stream is read twice in its life. Once from front to back, when it is indexed: the *first pass* yields
all decoded bytes in order and on the way collects *seek points*. Ever after it is read from seek points: a *cursor*
starts at one and decodes forward. What lies between (which cursor to reuse, which decoded blocks to keep, who
waits for whom) is the business of ``rofuse_formats.streams`` and the same for all codecs.

A codec module defines one object, ``CODEC``, with the attributes of the ``Codec`` protocol. A new codec is a new
module in this folder and no edit elsewhere. Codecs never import each other.

Rules
- Input is untrusted: every length and count from it is checked; memory is bounded by ``Limits``.
- The seek index is canonical: the same input gives the same bytes. ``open`` is given it back, perhaps as a view of a
  mapped file, possibly damaged, and raises IndexDamagedError rather than anything else.
- Decoding releases the GIL (it happens in C); Python work is per block, never per byte.
- The library is imported when something is decoded, not with the module. Where it is missing, MissingLibraryError
  names the package.
- What fails its check is never given out as if nothing were: see ``FirstPass.suspect``. A cursor that meets the check
  of a whole unit verifies it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Protocol

from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.registry import modules
from rofuse_formats.source import Source


class FirstPass(Protocol):
    """Front-to-back decoding of a whole source. Iterated once, by one thread."""

    consumed: int
    """Compressed bytes read so far, for progress. Written by the iterating thread, readable by any."""

    unseekable: bool
    """Whether the chunk just yielded lies in a stretch that no seek point divides at a fair price (a window that is
    larger than what lies between, a unit of hundreds of MiB). Such a chunk is kept decoded by who iterates, and
    the stretch is never read through a cursor. Written before the chunk is yielded."""

    slow: bool
    """Whether the chunk just yielded is some tenths of a second from the nearest seek point. Such a chunk is kept
    decoded where there is room for it, and else read through a cursor. Written before the chunk is yielded."""

    damages: list[DamagedError]
    """After iteration: everything that is wrong, in order; each names the compressed offset. Iteration does not raise
    DamagedError: it yields all bytes before the damage. Where the decoded size of the damaged unit is known, it goes
    on behind it, with zeros for what is missing; else it stops."""

    suspect: list[tuple[int, int]]
    """After iteration: ranges [start, end) of decoded bytes, ascending and apart, that were yielded and must not be
    given out: the check of their unit failed, or the unit broke so that its check could not be made, or they are the
    zeros that stand for missing bytes. A source that merely ends early makes nothing suspect that came before."""

    warnings: list[str]
    """After iteration: what its user should know and is no damage (``12 bytes of garbage behind the last member``)."""

    frames: int
    """After iteration: number of frames, members, streams or blocks (the codec's own independent unit)."""

    name: bytes
    """After iteration: what the stream says its one file is called (gzip's FNAME), as it says it; else nothing."""

    def __iter__(self) -> Iterator[bytes]:
        """Decoded bytes in order, in chunks of some 64 KiB to 4 MiB, none empty. Raises LimitError,
        UnsupportedError, MissingLibraryError, OSError."""
        ...

    def index(self) -> bytes:
        """After iteration: the seek index, to be given to ``Codec.open``. It has a point at the end of every suspect
        range and of every unseekable stretch that more follows: both are passed over by who reads."""
        ...


class Cursor(Protocol):
    """A decoder at a place in the decoded stream. Used by one thread at a time."""

    position: int
    """Decoded offset of the next byte that ``read`` gives."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, shorter only at the end of the stream. Raises DamagedError, OSError."""
        ...

    def skip(self, size: int) -> None:
        """As ``read``, but the bytes are thrown away (cheaper: no object is made of them)."""
        ...


class SeekableStream(Protocol):
    """Random access to decoded bytes, given a seek index."""

    size: int
    """Decoded bytes in all, as the first pass counted them."""

    points: list[int]
    """Decoded offsets at which a cursor can start; ascending; the first is 0."""

    cursor_bytes: int
    """Memory that one cursor holds, about."""

    def cursor(self, point: int) -> Cursor:
        """A new cursor at ``points[point]``. May be called from several threads at once."""
        ...


class Codec(Protocol):
    name: str
    """As users say it: ``zstd``. Also the module's name."""

    suffixes: dict[bytes, bytes]
    """Endings of file names and what stands in their place when decoded: ``{b".gz": b"", b".tgz": b".tar"}``."""

    magic: bool
    """Whether its streams can be told by their bytes. Those of a compression without a magic are only looked for in
    sources whose name ends in one of ``suffixes``."""

    def recognise(self, head: bytes, /) -> bool:
        """Whether a source that starts with ``head`` (up to 64 KiB of it) is of this compression. Strict: of a
        thousand files of other kinds it claims none. Imports no library."""
        ...

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        """Raises nothing that iteration would not."""
        ...

    def open(self, source: Source, index: bytes | memoryview, limits: Limits) -> SeekableStream:
        """Raises IndexDamagedError when ``index`` is not one that ``first_pass`` of this version made."""
        ...


@cache
def codecs() -> dict[str, Codec]:
    """All codecs by name: one per module of this folder, in the modules' alphabetical order."""
    found: dict[str, Codec] = {}
    for module in modules(__name__, __path__):
        codec: Codec = module.CODEC
        found[codec.name] = codec
    return found


def named(name: str) -> Codec:
    """The codec that an index names; it is called as its module is. Raises IndexDamagedError where there is none."""
    try:
        if not name.isidentifier():
            raise ImportError(name)
        codec: Codec = importlib.import_module(f"{__name__}.{name}").CODEC
    except ImportError as error:
        raise IndexDamagedError(f"the index names a compression that is not known here: {name!r}") from error
    return codec


def is_installed(package: str) -> bool:
    """Whether a package could be imported; it is not."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def faster_library(name: str) -> str | None:
    """The package that would have decoded a compression faster, and is not installed. A codec that has such a one names
    it: ``faster``."""
    package: str | None = getattr(named(name), "faster", None)
    return None if package is None or is_installed(package) else package
