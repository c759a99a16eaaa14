"""The bytes of an archive's files.

Opened when they are first read: who only looks at names and attributes (``rofuse-mount ls``) never starts a decoder and
imports no library for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from rofuse_formats import codecs
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.limits import UNQUESTIONED
from rofuse_formats.points_file import PointsFile
from rofuse_formats.streams import (
    BLOCK,
    BlockCache,
    BlockStream,
    PartStream,
    SpannedStream,
    StoredStream,
    Stream,
    decoded_stream,
)

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive
    from rofuse_formats.directory.files import DirectoryFiles
    from rofuse_formats.entry import Extent, Members, PackedMember, QuickMembers
    from rofuse_formats.index import Index
    from rofuse_formats.settings import Settings
    from rofuse_formats.source import Source

_NOTHING_READY: tuple[int, list[memoryview]] = (0, [])
_MOST_PIECES = 256  # of a file in one answer; one writev takes 1,024 buffers
_ZEROS = memoryview(bytes(1 << 20))

# bytes behind a file that are decoded before somebody asks; few beside what ``BlockCache`` keeps
_CLOSE = 4 << 20


class Contents:
    """Used by any number of threads. ``stream``: what files that are not compressed by themselves lie in; ``base``:
    the archive itself, where they lie in others that it holds; ``cache``: decoded blocks; ``files``: those of a
    directory that is read where it lies. Raises IndexDamagedError, UnsupportedError, MissingLibraryError,
    PasswordError, OSError."""

    def __init__(self, archive: Archive, index: Index, settings: Settings) -> None:
        if bool(index.meta.get("spool")) != (archive.spool is not None):
            raise IndexDamagedError("the index lacks its spool")
        self.image = archive.image
        self.cache = BlockCache()
        self._limits, self._stored_bytes = settings.limits, archive.source.size
        self._is_together = archive.report.together > 0
        self.files: DirectoryFiles | None = None
        self._block_stream: BlockStream | None = None
        self.base, self.stream = self._open_streams(archive, index, settings)
        self._ready: tuple[int, list[memoryview]] = _NOTHING_READY
        self._members: Members | None = None
        self._quick_members: QuickMembers | None = None
        if self.image.has_members:
            self._open_members(archive, index, settings)
        if self._members is not None and settings.scan.password is not None and archive.report.encrypted:
            self._members.try_password(self.image.members())

    def _open_streams(self, archive: Archive, index: Index, settings: Settings) -> tuple[Stream, Stream]:
        names = archive.codecs

        def decoded(source: Source, number: int) -> Stream:
            opened = codecs.named(names[number]).open(source, index.seeks[number], settings.limits)
            suspect = archive.suspect[number]
            return decoded_stream(opened, self.cache, number, suspect, archive.spool, settings.salvage)

        stream: Stream | None = None
        for depth in range(len(archive.compression)):
            stream = decoded(stream or archive.source, depth)
        stream = stream or self._stored(archive, index, settings)
        if not archive.parts:
            return stream, stream
        if not all(number is None or 0 <= number < len(names) for _start, _size, number in archive.parts):
            raise IndexDamagedError("the index lacks a stream within the archive")
        streams = [stream]
        for start, size, number in archive.parts:
            part = PartStream(stream, start, size)
            streams.append(part if number is None else decoded(part, number))
        return stream, SpannedStream(streams)

    def _stored(self, archive: Archive, index: Index, settings: Settings) -> Stream:
        if index.blocks is not None:
            return self._of_blocks(archive, index.blocks, settings)
        if not isinstance(archive.source, DirectorySource):
            return StoredStream(archive.source)
        from rofuse_formats.directory.files import DirectoryFiles

        if index.files is None:
            raise IndexDamagedError("the index is not a directory's")
        self.files = DirectoryFiles(archive.source, self.image, index.files, follow=settings.follow)
        return self.files

    def _of_blocks(self, archive: Archive, blocks: memoryview, settings: Settings) -> Stream:
        from rofuse_formats.archives import named  # of a format that brings its image
        from rofuse_formats.entry import CarryingFormat

        carrying = named(archive.format)
        if not isinstance(carrying, CarryingFormat):
            raise IndexDamagedError("the index has blocks of a format without any")
        self._block_stream = carrying.stream(archive.source, blocks, self.cache, settings.salvage)
        return self._block_stream

    def _open_members(self, archive: Archive, index: Index, settings: Settings) -> None:
        from rofuse_formats.archives import named  # where members are compressed by themselves
        from rofuse_formats.entry import PackedFormat, QuickMembers

        packed_format = named(archive.format)
        if not isinstance(packed_format, PackedFormat):
            raise IndexDamagedError("the index has members that its format does not have")
        kept = None
        if archive.points_path is not None and not settings.salvage:  # which checks nothing

            def tell(line: str) -> None:
                archive.log(line)  # who that is, is said when the archive is open

            kept = PointsFile(archive.source, index.digest, archive.points_path, tell)
        self._members = packed_format.members(self.stream, self.cache, settings, kept)
        if isinstance(self._members, QuickMembers):
            self._quick_members = self._members

    def read(self, node: int, offset: int, size: int) -> list[memoryview]:
        """See ``Archive.read``."""
        size = min(size, self.image.size[node - 1] - offset)
        if size <= 0:
            return []
        ready, data = self._ready
        if ready == node and size == self.image.size[node - 1]:
            self._ready = _NOTHING_READY
            return data
        word = self.image.data[node - 1]
        kind = word >> layout.DATA_SHIFT
        if kind == layout.DATA_OFFSET:
            return self._stream_bytes(word + offset, size)
        if kind == layout.DATA_MEMBER and self._members is not None:
            row, whole = word & layout.DATA_MASK, self.image.size[node - 1]
            member = self.image.member(row)
            if whole > UNQUESTIONED:
                self._check_ratio(member, whole)
            return self._members.read(member, row, whole, offset, size)
        return self._pieces(node, offset, offset + size)

    def is_at_hand(self, node: int, offset: int, size: int) -> bool:
        """See ``Archive.is_at_hand``."""
        size = min(size, self.image.size[node - 1] - offset)
        if size <= 0:
            return True
        if size > BLOCK:
            return False
        word = self.image.data[node - 1]
        kind = word >> layout.DATA_SHIFT
        if kind == layout.DATA_OFFSET:
            return self.stream.is_at_hand(word + offset, size)
        if kind == layout.DATA_MEMBER and self._quick_members is not None:
            member = self.image.member(word & layout.DATA_MASK)
            return self._quick_members.is_at_hand(member, self.image.size[node - 1])
        if kind == layout.DATA_PIECES:
            wanted = self._extents(node, offset, offset + size)
            return all(self.stream.is_at_hand(extent.offset, extent.length) for extent in wanted)
        return False

    def follows(self, node: int, behind: int) -> bool:
        """See ``Archive.follows``."""
        word, before = self.image.data[node - 1], self.image.data[behind - 1]
        if (
            word >> layout.DATA_SHIFT != layout.DATA_OFFSET
            or before >> layout.DATA_SHIFT != layout.DATA_OFFSET
        ):
            return False
        between = word - before - self.image.size[behind - 1]
        return 0 <= between <= _CLOSE and self.stream.is_near(word)

    def announce(self, node: int) -> None:
        """Has the kernel read what ``prepare`` will decode, without waiting for it. What goes wrong is told to who
        reads it."""
        try:
            if self._block_stream is not None and self.is_decoded_soon(node):
                self._block_stream.announce(self.image.data[node - 1])
        except OSError:
            return

    def prepare(self, node: int) -> None:
        """Decodes a small file that somebody will probably read whole, and next, where that takes hardly any time. It
        is kept until the next one is. What goes wrong is told to who reads it."""
        if node != self._ready[0] and (data := self.soon(node)):
            self._ready = node, data

    def soon(self, node: int) -> list[memoryview]:
        """All bytes of a small file that must be decoded for it, where that takes hardly any time; nothing where it
        is none, or it cannot be read."""
        try:
            return self.read(node, 0, self.image.size[node - 1]) if self.is_decoded_soon(node) else []
        except (FormatError, OSError, MemoryError):
            return []

    def is_decoded_soon(self, node: int) -> bool:
        """See ``Archive.is_decoded_soon``."""
        size, word = self.image.size[node - 1], self.image.data[node - 1]
        if not 0 < size <= BLOCK:
            return False
        kind = word >> layout.DATA_SHIFT
        if kind == layout.DATA_OFFSET:
            return self._block_stream is not None and self._block_stream.is_decoded_soon(word, size)
        if kind == layout.DATA_MEMBER and self._quick_members is not None:
            member = self.image.member(word & layout.DATA_MASK)
            return member.packed != size and self._quick_members.is_at_hand(member, size)
        return False

    def check(self, node: int) -> None:
        """See ``Archive.check``."""
        word, size = self.image.data[node - 1], self.image.size[node - 1]
        if word >> layout.DATA_SHIFT == layout.DATA_MEMBER and self._members is not None:
            row = word & layout.DATA_MASK
            self._members.check(self.image.member(row), row, size)

    def _check_ratio(self, member: PackedMember, size: int) -> None:
        """Of what is compressed together it is not known how much is whose: it is held against all of the archive."""
        if not member.packed and not self._is_together:
            return  # it is not here at all
        stored = member.packed or self._stored_bytes
        if size > self._limits.most_of(stored):
            raise self._limits.too_much(stored)

    def _stream_bytes(self, offset: int, size: int) -> list[memoryview]:
        pieces = self.stream.read(offset, size)
        if sum(map(len, pieces)) != size:  # a short answer would be read as zeros
            raise DamagedError("the archive ends before the data of this member", offset)
        return pieces

    def _pieces(self, node: int, position: int, end: int) -> list[memoryview]:
        extents = list(self._extents(node, position, end))
        if any(extent.stream for extent in extents):
            raise IndexDamagedError(f"inode {node} lies in a stream that is not there")
        fetch = self._stream_bytes if len(extents) <= _MOST_PIECES else self._copied_bytes
        found: list[memoryview] = []
        for extent in extents:
            found += _zeros(extent.logical - position)
            position = max(position, extent.logical)
            stop = min(extent.logical + extent.length, end)
            found += fetch(extent.offset + position - extent.logical, stop - position)
            position = stop
        found += _zeros(end - position)
        return found if len(extents) <= _MOST_PIECES else [memoryview(b"".join(found))]

    def _extents(self, node: int, start: int, stop: int) -> Iterator[Extent]:
        """Of a file, those that have bytes in [start, stop)."""
        return takewhile(lambda extent: extent.logical < stop, self.image.extents_from(node, start))

    def _copied_bytes(self, offset: int, size: int) -> list[memoryview]:
        """As ``_stream_bytes``, to be joined: bytes of the map must not be touched."""
        data = self.stream.pread(size, offset)
        if len(data) != size:
            raise DamagedError("the archive ends before the data of this member", offset)
        return [memoryview(data)]

    def close(self) -> None:
        """Gives up what members hold beside memory."""
        if self._members is not None:
            from rofuse_formats.entry import ClosableMembers

            if isinstance(self._members, ClosableMembers):
                self._members.close()


def _zeros(size: int) -> list[memoryview]:
    if size <= 0:
        return []
    whole, rest = divmod(size, len(_ZEROS))
    return [_ZEROS] * whole + ([_ZEROS[:rest]] if rest else [])
