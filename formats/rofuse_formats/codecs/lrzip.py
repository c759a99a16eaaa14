"""lrzip (.lrz, versions 0.6 and later): repetitions taken out over any distance, then one of several compressions. Its
own program decodes it (``rofuse_formats.programs``), which is told to keep within a few hundred MiB.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.programs import Program, ProgramCodec

MAGIC = b"LRZI\0"
_VERSIONS = range(6, 12)
"""Minor numbers of the format; the major one is 0."""


class Lrzip(ProgramCodec):
    """The codec contract's Codec."""

    name = "lrzip"
    magic = True
    suffixes: ClassVar = {b".lrz": b"", b".tlrz": b".tar"}
    program = Program("lrzip", ("-d", "-q", "-m", "2", "-p", "2"), "lrzip", writes=True)

    def recognise(self, head: bytes) -> bool:
        return head.startswith(MAGIC) and len(head) > len(MAGIC) and head[len(MAGIC)] in _VERSIONS


CODEC = Lrzip()
