"""uuencode and its base64 (POSIX, ``uuencode``): bytes as lines of text, for mails of old. Random access by lines.

Modules: ``lines`` finds the data in the text and divides it, ``decoding`` decodes the lines of a unit. That is done by
the standard library, many lines at a time where they are full, and needs neither libarchive nor a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.uu import lines
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec

if TYPE_CHECKING:
    from rofuse_formats.units.first_pass import FirstPass


class Uu(UnitCodec):
    """The codec contract's Codec."""

    name = "uu"
    magic = True
    suffixes: ClassVar = {b".uu": b"", b".uue": b""}

    def recognise(self, head: bytes) -> bool:
        return lines.is_encoded(head)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        found = super().first_pass(source, limits)
        start = lines.beginning(source.pread(lines.HEAD, 0))
        found.name = start.name if start is not None else b""
        return found

    def kind(self) -> Kind:
        from rofuse_formats.codecs.uu.decoding import KIND

        return KIND


CODEC = Uu()
