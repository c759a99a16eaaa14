"""lzop (.lzo): blocks of LZO1X with their lengths and checksums before them. Random access by block.

Modules: ``blocks`` finds them, ``decoding`` has ``library``, the system's liblzo2, decode them. lzop's own program is
not needed: it comes with the same library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.lzop.blocks import MAGIC, named_in
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec

if TYPE_CHECKING:
    from rofuse_formats.units.first_pass import FirstPass


class Lzop(UnitCodec):
    """The codec contract's Codec."""

    name = "lzop"
    magic = True
    suffixes: ClassVar = {b".lzo": b"", b".tzo": b".tar"}

    def recognise(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        found = super().first_pass(source, limits)
        found.name = named_in(source)
        return found

    def kind(self) -> Kind:
        from rofuse_formats.codecs.lzop.decoding import KIND

        return KIND

    def library(self) -> str:
        from rofuse_formats.codecs.lzop.library import version

        return version()


CODEC = Lzop()
