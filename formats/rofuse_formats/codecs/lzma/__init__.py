"""The .lzma format of LZMA Utils ("LZMA_Alone"; described in xz's doc/lzma-file-format.txt): one stream, which has no
index and no check, and is read from its start."""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.codecs.lzma.header import recognise
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec


class Lzma(UnitCodec):
    """The codec contract's Codec."""

    name = "lzma"
    magic = True
    random_access = False
    suffixes: ClassVar = {b".lzma": b""}

    def recognise(self, head: bytes) -> bool:
        return recognise(head)

    def kind(self) -> Kind:
        from rofuse_formats.codecs.lzma.decoding import KIND

        return KIND


CODEC = Lzma()
