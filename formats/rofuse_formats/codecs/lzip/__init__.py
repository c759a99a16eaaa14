"""lzip (lzip manual, "File format"; draft-diaz-lzip): random access by member.

Modules: ``members`` finds the members of a source, ``decoding`` runs the library's LZMA decoder over them. What can be
sought in is a member: plzip and ``lzip -b`` make many, lzip one.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.codecs.lzip.members import could_start
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec


class Lzip(UnitCodec):
    """The codec contract's Codec."""

    name = "lzip"
    magic = True
    suffixes: ClassVar = {b".lz": b"", b".tlz": b".tar"}

    def recognise(self, head: bytes) -> bool:
        return could_start(head)

    def kind(self) -> Kind:
        from rofuse_formats.codecs.lzip.decoding import KIND

        return KIND


CODEC = Lzip()
