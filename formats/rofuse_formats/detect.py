"""What some bytes are: an archive, a compressed stream, or neither. Told by the bytes, and not by a name unless a
compression has no mark of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar, runtime_checkable

from rofuse_formats.archives import formats
from rofuse_formats.codecs import Codec, codecs
from rofuse_formats.entry import AnyFormat, RandomFormat

HEAD = 1 << 16
"""Bytes of the beginning that are looked at."""
TAIL = 66 << 10
"""Bytes of the end that are looked at where the beginning says nothing."""
PROGRAM = 2 << 20
"""Bytes of a program that are looked at where its end says nothing either: those that unpack themselves have up to
about one MiB before their archive."""
_PROGRAMS = (b"MZ", b"\x7fELF")


@runtime_checkable
class HiddenFormat(RandomFormat, Protocol):
    """An archive format whose archives may lie behind a program that unpacks them, and are not told by their end."""

    def recognise_within(self, start: bytes, /) -> bool:
        """Whether such an archive begins in ``start``, up to 2 MiB of what begins as a program does. Strict: a program
        may well know the magic of what it unpacks. Asked where no format recognises head or end."""
        ...


class _Recognising(Protocol):
    def recognise(self, head: bytes, /) -> bool: ...


_Candidate = TypeVar("_Candidate", bound=_Recognising)


def first(candidates: Iterable[_Candidate], head: bytes) -> _Candidate | None:
    """The first that takes ``head`` for its own."""
    return next((candidate for candidate in candidates if candidate.recognise(head)), None)


def archive_of(head: bytes) -> AnyFormat | None:
    """The format of an archive that begins with ``head``."""
    return first(formats().values(), head)


def archive_ending(tail: bytes) -> RandomFormat | None:
    """The format of an archive that ends with ``tail`` and has something else before it."""
    candidates = (archive for archive in formats().values() if isinstance(archive, RandomFormat))
    return next((archive for archive in candidates if archive.recognise_end(tail)), None)


def is_program(head: bytes) -> bool:
    """Whether what begins with ``head`` is a program for Windows, DOS or Unix."""
    return head.startswith(_PROGRAMS)


def archive_within(start: bytes) -> RandomFormat | None:
    """The format of an archive that begins in ``start``, the first ``PROGRAM`` bytes of a program."""
    candidates = (archive for archive in formats().values() if isinstance(archive, HiddenFormat))
    return next((archive for archive in candidates if archive.recognise_within(start)), None)


def codec_of(head: bytes, name: bytes) -> Codec | None:
    """The compression of what is called ``name`` and starts with ``head``."""
    name = name.lower()
    asked = (codec for codec in codecs().values() if codec.magic or name.endswith(tuple(codec.suffixes)))
    return first(asked, head)
