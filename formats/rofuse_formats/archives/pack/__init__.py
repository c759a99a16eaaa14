"""Packs: the format of this project itself (rofuse-pack(5)).

A pack brings its inode image and one stream of blocks that are compressed each by itself. It is opened without a scan:
``superblock`` and its sections are read and checked, ``blocks`` says where the blocks lie, ``stream`` reads them. How
packs are made, is ``rofuse_formats.packing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rofuse_formats.entry import CARRIED, Carried
from rofuse_formats.limits import Limits

if TYPE_CHECKING:
    from rofuse_formats.source import Source, StoredSource
    from rofuse_formats.streams import BlockCache, BlockStream


class Pack:
    """The CarryingFormat of ``rofuse_formats.entry``."""

    name = "pack"

    def recognise(self, head: bytes, /) -> bool:
        return head.startswith(CARRIED + b"pack\r\n\x1a\n")

    def carried(self, source: Source, limits: Limits, /) -> Carried:
        from rofuse_formats.archives.pack import superblock
        from rofuse_formats.archives.pack.blocks import summed_up
        from rofuse_formats.errors import DamagedError, IndexDamagedError
        from rofuse_formats.image.checking import check
        from rofuse_formats.image.planes import joined
        from rofuse_formats.image.reader import Image

        found = superblock.read(source)
        dictionary = superblock.section(source, found, superblock.DICTIONARY)
        blocks = summed_up(superblock.section(source, found, superblock.BLOCKS), dictionary, found)
        image = superblock.section(source, found, superblock.IMAGE)
        try:
            if found.incompatible & superblock.PLANES:
                image = joined(image)
            check(Image(image), found.decoded, limits)
        except (IndexDamagedError, IndexError) as error:
            place = found.sections[superblock.IMAGE].offset
            raise DamagedError(f"the pack's image is none: {error}", place) from error
        return Carried(image, blocks)

    def stream(
        self, source: StoredSource, blocks: memoryview, cache: BlockCache, salvage: bool, /
    ) -> BlockStream:
        from rofuse_formats.archives.pack.stream import PackStream

        return PackStream(source, blocks, cache, salvage)


FORMAT = Pack()
