"""Whatever else libarchive reads: 7z, RAR 4 and 5, ISO 9660, cpio, ar, cab, xar, LHA, WARC, mtree.

Strategy
What an archive is says its magic (``magic``), which may lie behind a program that unpacks it. libarchive runs in a
process of its own (``helper``, which ``process`` starts and ``protocol`` talks to): for the index it lists the members
(``listing``), which ``scanner`` describes; those of 7z are described from the archive's own list, where that is plain
(``sevenzip.scanning``).
Files that lie in the archive as they are come from its pages, without libarchive (``iso``, ``rar``, ``sevenzip`` say
where). The others make up the linear stream: their bytes, one file behind the other. It is decoded in ``groups``,
from the first read on that wants one, and kept in a spool that is read while it grows (``decoding``,
``rofuse_formats.growing_spool``).

Rules
- Formats that have a reader of their own are theirs: this one is asked last.
- What libarchive finds wrong with a file is an error to its reader, and so is a file that libarchive dies of; others
  are read all the same.
- Access control lists, sparse files and file flags are tar's among all that libarchive reads, and tar is not read
  here.
- An mtree file describes files and has none of their bytes: they are an error to their reader, never zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rofuse_formats.archives.libarchive import magic, rar
from rofuse_formats.entry import Builder, Members, ScanOptions
from rofuse_formats.errors import UnknownFormatError
from rofuse_formats.settings import Settings
from rofuse_formats.source import Source

if TYPE_CHECKING:
    from rofuse_formats.points_file import PointsFile
    from rofuse_formats.streams import BlockCache, Stream


class LibarchiveFormat:
    name = "libarchive"
    reads = magic.NAMES
    needs = ("libarchive-c",)
    random_access = False
    last = True
    """Asked when no other format knows the archive."""

    def recognise(self, head: bytes, /) -> bool:
        return magic.kind_of(head) is not None

    def recognise_end(self, tail: bytes, /) -> bool:
        return False

    def recognise_within(self, start: bytes, /) -> bool:
        return magic.place_within(start) is not None

    def is_volume(self, source: Source, /) -> bool:
        found = rar.flags(source.pread)
        return found is not None and found[0]

    def scan_at_random(self, source: Source, builder: Builder, options: ScanOptions, /) -> None:
        # What is imported here a mount does not need.
        from rofuse_formats.archives.libarchive.scanner import Scanner
        from rofuse_formats.archives.libarchive.sevenzip import scanning
        from rofuse_formats.libarchive_ffi import is_at_hand

        place = magic.place_of(source.pread)
        if place is None:
            raise UnknownFormatError("is no archive of a format known here")
        if place.kind == "7zip" and is_at_hand() and scanning.scan(source, place.start, builder):
            return
        Scanner(source, place, builder, options).run()

    def members(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None = None, /
    ) -> Members:
        from rofuse_formats.archives.libarchive.reading import LibarchiveMembers

        return LibarchiveMembers(stream, cache, settings, kept)

    def kind(self, source: Source, /) -> str:
        place = magic.place_of(source.pread)
        return self.name if place is None else magic.name_of(place.kind)

    def library(self) -> str:
        from rofuse_formats.libarchive_ffi import load_recent, version

        return version(load_recent("reading 7z, rar, iso, cpio and others").version_number())


FORMAT = LibarchiveFormat()
