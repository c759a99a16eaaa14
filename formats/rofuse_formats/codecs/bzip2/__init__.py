"""bzip2: random access to its blocks.

A bzip2 file is a row of streams, a stream a row of blocks that share nothing but the level in the stream's header.
Blocks begin at any bit. Each is cut out, put into a stream of its own and decoded by the standard library's ``bz2``
(that is, libbz2), which verifies its CRC and releases the GIL: blocks are decoded side by side, every block is a
place where reading can start, and what is damaged is known to the block.

Modules, from below: ``bits`` reads bits and finds what may be the start of a block, ``block`` decodes one, ``walk``
goes from block to block and checks what holds them together, ``ahead`` decodes the blocks to come in a few threads,
``apart`` has them decoded by a faster library in a process beside, ``first_pass`` and ``cursor`` are the two ways in
which a source is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rofuse_formats.codecs.bzip2.bits import recognise
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from rofuse_formats.codecs.bzip2.cursor import Stream
    from rofuse_formats.codecs.bzip2.first_pass import FirstPass


class Bzip2:
    """The codec contract's Codec."""

    name = "bzip2"
    magic = True
    faster = "rapidgzip"  # see ``apart``
    suffixes: ClassVar = {
        b".bz2": b"",
        b".bz": b"",
        b".tbz": b".tar",
        b".tbz2": b".tar",
        b".tb2": b".tar",
        b".tz2": b".tar",
    }

    def recognise(self, head: bytes) -> bool:
        return recognise(head)

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        from rofuse_formats.codecs.bzip2.first_pass import FirstPass

        return FirstPass(source, limits)

    def open(self, source: Source, index: bytes | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.codecs.bzip2.cursor import Stream

        return Stream(source, index)


CODEC = Bzip2()
