"""xz (the .xz file format, version 1.2.0, tukaani.org): random access by block.

Modules, from below: ``layout`` reads headers, footers and indexes, ``blocks`` finds all blocks of a source,
``decoding`` runs the library's decoder over them. What can be sought in is a block: ``xz -T`` and pixz make many,
``xz -T1`` makes one.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.codecs.xz.layout import MAGIC
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec


class Xz(UnitCodec):
    """The codec contract's Codec."""

    name = "xz"
    magic = True
    suffixes: ClassVar = {b".xz": b"", b".txz": b".tar"}

    def recognise(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def kind(self) -> Kind:
        from rofuse_formats.codecs.xz.decoding import KIND

        return KIND


CODEC = Xz()
