"""gzip (RFC 1952): random access inside ordinary members.

Modules, from below: ``member`` reads headers and trailers, ``blocks`` decodes bgzip's small members, ``first_pass`` and
``cursor`` are the two ways in which a source is read. What is inside members is the business of
``rofuse_formats.deflate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.gzip.member import recognise
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from rofuse_formats.codecs.gzip.cursor import Stream
    from rofuse_formats.codecs.gzip.first_pass import FirstPass


class Gzip:
    """The codec contract's Codec."""

    name = "gzip"
    magic = True
    suffixes: ClassVar = {
        b".gz": b"",
        b".gzip": b"",
        b".tgz": b".tar",
        b".taz": b".tar",
        b".dz": b"",  # dictzip
        b".bgz": b"",
        b".bgzf": b"",
        b".svgz": b".svg",
    }

    def recognise(self, head: bytes) -> bool:
        return recognise(head)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        from rofuse_formats.codecs.gzip.first_pass import FirstPass

        return FirstPass(source)

    def open(self, source: Source, index: bytes | bytearray | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.codecs.gzip.cursor import Stream

        return Stream(source, index)


CODEC = Gzip()
