"""compress (.Z, the LZW of Unix' compress): one stream, which has no index and no check, and is read from its start.

Decoded by libarchive through libarchive-c, and not by ncompress, which cannot stop between two bytes of output and
holds the GIL all the way.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec

MAGIC = b"\x1f\x9d"
_BITS, _RESERVED = 0x1F, 0x60
_SIZES = range(9, 17)  # bits of the longest code


class Compress(UnitCodec):
    """The codec contract's Codec."""

    name = "compress"
    magic = True
    needs = ("libarchive-c",)
    random_access = False
    suffixes: ClassVar = {b".Z": b"", b".taZ": b".tar", b".tz": b".tar", b".tZ": b".tar"}

    def recognise(self, head: bytes) -> bool:
        """The first code, of nine bits, is a literal byte; an empty stream has none."""
        if not head.startswith(MAGIC) or len(head) < 3:
            return False
        plausible = head[2] & _BITS in _SIZES and not head[2] & _RESERVED
        return plausible and (len(head) == 3 or (len(head) > 4 and not head[4] & 1))

    def kind(self) -> Kind:
        from rofuse_formats.codecs.compress.decoding import KIND

        return KIND

    def library(self) -> str:
        from rofuse_formats.libarchive_ffi import load_recent, version

        return version(load_recent("reading .Z").version_number())


CODEC = Compress()
