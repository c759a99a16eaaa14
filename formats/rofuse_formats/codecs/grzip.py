"""GRZip II (.grz): block sorting, of the year 2004. Its own program decodes it (``rofuse_formats.programs``)."""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.programs import Program, ProgramCodec

MAGIC = b"GRZipII\0\x02\x04:)"


class Grzip(ProgramCodec):
    """The codec contract's Codec."""

    name = "grzip"
    magic = True
    suffixes: ClassVar = {b".grz": b"", b".tgrz": b".tar"}
    program = Program("grzip", ("-d",), "grzip")

    def recognise(self, head: bytes) -> bool:
        return head.startswith(MAGIC)


CODEC = Grzip()
