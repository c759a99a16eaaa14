"""Makes packs (rofuse-pack(5)) of anything that can be opened.

Strategy
The tree is gone through once, directory by directory (``tree``): of each, the files first, in the order of their
names, then what lies below it. So who reads a directory reads the pack forward, and who reads all of the tree does,
too. Bytes are read where they lie (``contents``), a little ahead (``ahead``), cut into chunks, and what was there
before is not stored again; chunks that follow each other share a block (``blocks``). Blocks are compressed by as many
threads as there are cores and written in their order (``compressing``, ``output``); the image, which leads to them,
comes last. A directory is scanned on the way (``at_once``), of an archive that is open all is known (``origin``).

Rules
- The same tree gives the same pack, byte for byte: no clock, no chance, no order in which threads finish, and no
  difference between a directory and an archive of it. Where holes are, is told by the bytes alone.
- Memory is bounded by the number of entries, and of chunks that are remembered (``known.REMEMBERED``).
- Nothing is left out but what was excluded: what cannot be read ends the work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from rofuse_formats.archives.pack import blocks as block_index
from rofuse_formats.archives.pack.superblock import (
    LEAST_BLOCK,
    MOST_BLOCK,
    SIZE,
    Section,
    Superblock,
    checksum,
)
from rofuse_formats.entry import ScanOptions
from rofuse_formats.image.planes import split
from rofuse_formats.packing.ahead import Ahead
from rofuse_formats.packing.at_once import DirectoryOrigin
from rofuse_formats.packing.blocks import Blocks
from rofuse_formats.packing.compressing import Compressing, best_of
from rofuse_formats.packing.contents import Contents
from rofuse_formats.packing.dictionary import trained
from rofuse_formats.packing.known import KnownByDigest, KnownByReading
from rofuse_formats.packing.origin import ArchiveOrigin, Origin
from rofuse_formats.packing.output import Output
from rofuse_formats.packing.tree import TreeCopy

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive
    from rofuse_formats.directory.source import DirectorySource
    from rofuse_formats.report import Report
    from rofuse_formats.settings import Settings

Progress = Callable[[int, int], None]
"""Told (bytes of files done, bytes in all) now and then."""

LEVEL, LEAST_LEVEL, MOST_LEVEL = 9, 1, 22
BLOCK_SIZE = 128 << 10

__all__ = [
    "BLOCK_SIZE",
    "LEAST_BLOCK",
    "LEAST_LEVEL",
    "LEVEL",
    "MOST_BLOCK",
    "MOST_LEVEL",
    "Options",
    "write_pack",
    "write_pack_of_directory",
]


class Options:
    """How a pack is made. ``level``: zstd's. ``block_size``: bytes that are compressed together at most, from
    ``LEAST_BLOCK`` to ``MOST_BLOCK``, a power of two. ``dictionary``: whether one is made of the small files. ``jobs``:
    threads that compress. ``exclude``: patterns (``globs``) of what is left out. ``latest``: seconds since 1970; no
    time in the pack is later (``SOURCE_DATE_EPOCH``)."""

    __slots__ = ("block_size", "dictionary", "exclude", "jobs", "latest", "level")

    def __init__(
        self,
        *,
        level: int = LEVEL,
        block_size: int = BLOCK_SIZE,
        dictionary: bool = False,
        jobs: int = 1,
        exclude: tuple[bytes, ...] = (),
        latest: int | None = None,
    ) -> None:
        if not LEAST_BLOCK <= block_size <= MOST_BLOCK or block_size & (block_size - 1):
            raise ValueError(f"blocks of {block_size} bytes cannot be")
        if not LEAST_LEVEL <= level <= MOST_LEVEL:
            raise ValueError(f"zstd has no level {level}")
        self.level, self.block_size, self.dictionary = level, block_size, dictionary
        self.jobs, self.exclude, self.latest = max(jobs, 1), exclude, latest


def write_pack(archive: Archive, fd: int, options: Options, progress: Progress | None = None) -> Superblock:
    """Writes a pack of all that ``archive`` holds to ``fd``, an empty file, and returns its superblock. Raises
    FormatError where something cannot be read (the message names it), ValueError for a pattern that is none,
    OSError."""
    dictionary = b""
    if options.dictionary:
        in_order = (node for node, _record, _size in TreeCopy(archive, options.exclude, None).files())
        contents = Contents(archive, options.block_size)
        dictionary = trained(contents, archive.image, in_order, options.level)
        contents.close()
    origin = ArchiveOrigin(archive, options.exclude, options.latest, options.block_size)
    return _write(origin, fd, options, dictionary, progress)


def write_pack_of_directory(
    source: DirectorySource,
    settings: Settings,
    fd: int,
    options: Options,
    progress: Progress | None = None,
) -> tuple[Superblock, Report]:
    """As ``write_pack``, of a directory as it is now; returns what was left out of it besides. It takes a snapshot of
    the directory to make a dictionary: ``options`` must not ask for one. ``progress`` is told (files done, 0) as long
    as nobody knows how much there is. Raises as ``write_pack``; SourceError, LimitError."""
    if options.dictionary:
        raise ValueError("no dictionary can be made of what is not known yet")
    exclude = (*settings.scan.exclude, *map(os.fsdecode, options.exclude))
    scan = ScanOptions(one_file_system=settings.scan.one_file_system, exclude=exclude)
    origin = DirectoryOrigin(source, scan, settings.limits, options.latest, options.block_size)
    return _write(origin, fd, options, b"", progress), origin.report


def _write(
    origin: Origin, fd: int, options: Options, dictionary: bytes, progress: Progress | None
) -> Superblock:
    output = Output(fd, SIZE)
    compressing = Compressing(output.write, options.level, dictionary, options.jobs)
    known = KnownByReading(origin.read) if origin.is_quick else KnownByDigest()
    blocks = Blocks(options.block_size, compressing.submit, known)
    done = files = 0
    with compressing, Ahead(_chunks(origin), _weight, origin.scan_on) as chunks:
        for (node, record, size), of_file in groupby(chunks, itemgetter(0, 1, 2)):
            origin.tell(record, size, blocks.place(node, map(itemgetter(3), of_file), size))
            done, files = done + size, files + 1
            if progress is not None:
                progress(*((done, origin.total) if origin.total else (files, 0)))
        blocks.finish()
        compressing.finish()
    origin.close()
    sections = _write_sections(output, origin.image(), compressing, dictionary, options)
    head = Superblock(
        options.block_size,
        len(compressing.stored),
        blocks.position,
        output.position,
        sections,
        output.digest(),
    )
    output.write_head(head.packed())
    return head


_Chunk = tuple[int, int, int, bytes | None]
"""A file's number in its origin, its record, its size, and one chunk of it."""


def _chunks(origin: Origin) -> Iterator[_Chunk]:
    for node, record, size in origin.files():
        for chunk in origin.chunks(node):
            yield node, record, size, chunk


def _weight(chunk: _Chunk) -> int:
    return len(chunk[3] or b"")


def _write_sections(
    output: Output, image: bytes, compressing: Compressing, dictionary: bytes, options: Options
) -> tuple[Section, ...]:
    index = block_index.packed(compressing.stored, compressing.decoded, compressing.checksums)
    properties = {"level": options.level}
    if options.latest is not None:
        properties["time"] = options.latest
    told = json.dumps(properties, sort_keys=True).encode() + b"\n"
    found = []
    for data in split(image), index, dictionary, told:
        stored = best_of(data, options.level)
        found.append(Section(output.position, len(stored), len(data), checksum(stored)))
        output.write(stored)
    return tuple(found)
