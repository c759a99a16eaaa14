"""What some bytes are: an archive, a compressed stream, or neither. Told by the bytes, and not by a name unless a
compression has no mark of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from rofuse_formats.archives import formats
from rofuse_formats.codecs import Codec, codecs
from rofuse_formats.entry import AnyFormat, RandomFormat

HEAD = 1 << 16
"""Bytes of the beginning that are looked at."""
TAIL = 66 << 10
"""Bytes of the end that are looked at where the beginning says nothing."""


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


def codec_of(head: bytes, name: bytes) -> Codec | None:
    """The compression of what is called ``name`` and starts with ``head``."""
    name = name.lower()
    asked = (codec for codec in codecs().values() if codec.magic or name.endswith(tuple(codec.suffixes)))
    return first(asked, head)
