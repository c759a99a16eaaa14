"""LZ4 (the frame format of lz4_Frame_format.md, version 1.6.4, and its legacy frames): random access to its blocks.

Modules, from below: ``frame`` reads headers, ``blocks`` reads and decodes what is in a frame and verifies it,
``planner`` chooses seek points, ``first_pass`` and ``cursor`` are the two ways in which a source is read. Blocks are
decoded by the library lz4, checksums computed by xxhash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.lz4.frame import recognise
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from rofuse_formats.codecs.lz4.cursor import Stream
    from rofuse_formats.codecs.lz4.first_pass import FirstPass


class Lz4:
    """The codec contract's Codec."""

    name = "lz4"
    magic = True
    needs = ("lz4", "xxhash")
    suffixes: ClassVar = {b".lz4": b"", b".tlz4": b".tar"}

    def recognise(self, head: bytes) -> bool:
        return recognise(head)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        from rofuse_formats.codecs.lz4.first_pass import FirstPass

        return FirstPass(source)

    def open(self, source: Source, index: bytes | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.codecs.lz4.cursor import Stream

        return Stream(source, index)


CODEC = Lz4()
