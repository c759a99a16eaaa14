"""zstd (RFC 8878): random access inside ordinary frames.

Modules, from below: ``frame`` reads headers, ``entropy`` reads what blocks say of their tables, ``decoding`` runs the
library's decoder over a stretch of the source, ``points`` makes a seek point inside a frame, ``reach`` finds matches
that reach behind the window, ``apart`` has both done in a process beside, ``index`` is the form in which points are
kept, ``planner`` chooses them, ``feeding`` goes through a source block by block, ``first_pass`` and ``cursor`` are the
two ways in which a source is read. All decoding is done by the library; only what tables and repeated offsets a block
leaves behind is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.zstd.frame import recognise
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from rofuse_formats.codecs.zstd.cursor import Stream
    from rofuse_formats.codecs.zstd.first_pass import FirstPass


class Zstd:
    """The codec contract's Codec."""

    name = "zstd"
    magic = True
    needs = ("zstandard",)
    suffixes: ClassVar = {b".zst": b"", b".zstd": b"", b".tzst": b".tar", b".tzs": b".tar"}

    def recognise(self, head: bytes) -> bool:
        return recognise(head)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        from rofuse_formats.codecs.zstd.first_pass import FirstPass

        return FirstPass(source, limits)

    def open(self, source: Source, index: bytes | bytearray | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.codecs.zstd.cursor import Stream

        return Stream(source, index, limits)


CODEC = Zstd()
