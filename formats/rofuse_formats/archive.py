"""An archive, open: its tree (``image``) and its bytes (``read``)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rofuse_formats import cache, codecs, parts
from rofuse_formats.carrying import carried_index, carrier
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.points_file import PointsFile
from rofuse_formats.report import Report
from rofuse_formats.settings import Settings
from rofuse_formats.source import Source, StoredSource
from rofuse_formats.spool import Spool
from rofuse_formats.streams import (
    BLOCK,
    BlockCache,
    PartStream,
    SpannedStream,
    StoredStream,
    Stream,
    decoded_stream,
)

if TYPE_CHECKING:
    from rofuse_formats.entry import CarryingFormat, Members, PackedFormat, QuickMembers
    from rofuse_formats.indexing import Progress

BLINK = 0.25  # seconds; what is indexed in less is not worth a file
_MOST_PIECES = 256  # of a file in one answer; one writev takes 1,024 buffers
_ZEROS = memoryview(bytes(1 << 20))


class Archive:
    """An archive and its index. Immutable; ``read`` may be called by any number of threads.

    ``image``: the tree. ``report``: what was noticed when it was indexed. ``format``, ``compression`` (outermost first)
    and ``frames`` (of each compression): what it is. ``parts``: archives in it whose trees are shown: of each its
    first byte, its bytes, and the number of the stream that is decoded from it, None where it is not compressed.
    ``index_path``: where the index is kept, None when only in memory; ``points_path``: where seek points are that are
    made later, None where they are not kept.
    """

    def __init__(
        self,
        source: StoredSource,
        index: Index,
        settings: Settings,
        index_path: str | None = None,
        spool: Spool | None = None,
        points_path: str | None = None,
    ) -> None:
        self.log: Callable[[str], None] = lambda line: None
        """Told, in a line, of what goes wrong besides reading."""
        self.points_path = points_path
        self.source, self.index_path, self.index_size = source, index_path, index.size
        self.spool = spool
        self.image = Image(index.image)
        self.cache = BlockCache()
        try:
            meta, outer = index.meta, int(index.meta["outer"])
            self.format, names = str(meta["format"]), [str(name) for name in meta["codecs"]]
            self.compression = names[:outer]
            self.frames = [int(count) for count in meta["frames"]][:outer]
            self.parts = [
                (int(start), int(size), None if number is None else int(number))
                for start, size, number in meta["parts"]
            ]
            self.report = Report.from_json(meta["report"])
            self.suspect = [[(int(start), int(end)) for start, end in ranges] for ranges in meta["suspect"]]
        except (KeyError, TypeError, ValueError) as error:
            raise IndexDamagedError(f"the index lacks its description: {error}") from error
        if not len(index.seeks) == len(self.suspect) == len(names):
            raise IndexDamagedError("the index lacks seek points")
        if bool(meta.get("spool")) != (spool is not None):
            raise IndexDamagedError("the index lacks its spool")
        self.stream = self._open_streams(names, index, settings)
        self._members: Members | None = None
        self._quick_members: QuickMembers | None = None
        if self.image.has_members:
            self._open_members(index, settings)
        if settings.scan.password is None:
            self.report.tell_of_encryption()
        elif self._members is not None and self.report.encrypted:
            self._members.try_password(self.image.members())

    def _open_streams(self, names: list[str], index: Index, settings: Settings) -> Stream:
        def decoded(source: Source, number: int) -> Stream:
            opened = codecs.named(names[number]).open(source, index.seeks[number], settings.limits)
            suspect = self.suspect[number]
            return decoded_stream(opened, self.cache, number, suspect, self.spool, settings.salvage)

        stream: Stream | None = None
        for depth in range(len(self.compression)):
            stream = decoded(stream or self.source, depth)
        stream = stream or self._stored(index, settings)
        if not self.parts:
            return stream
        if not all(number is None or 0 <= number < len(names) for _start, _size, number in self.parts):
            raise IndexDamagedError("the index lacks a stream within the archive")
        streams = [stream]
        for start, size, number in self.parts:
            part = PartStream(stream, start, size)
            streams.append(part if number is None else decoded(part, number))
        return SpannedStream(streams)

    def _stored(self, index: Index, settings: Settings) -> Stream:
        if index.blocks is None:
            return StoredStream(self.source)
        from rofuse_formats.archives import named  # of a format that brings its image
        from rofuse_formats.entry import CarryingFormat

        carrying = named(self.format)
        if not isinstance(carrying, CarryingFormat):
            raise IndexDamagedError("the index has blocks of a format without any")
        return carrying.stream(self.source, index.blocks, self.cache, settings.salvage)

    def _open_members(self, index: Index, settings: Settings) -> None:
        from rofuse_formats.archives import named  # where members are compressed by themselves
        from rofuse_formats.entry import QuickMembers

        packed_format = cast("PackedFormat", named(self.format))
        kept = None
        if self.points_path is not None and not settings.salvage:  # which checks nothing
            kept = PointsFile(self.source, index.digest, self.points_path, self._tell)
        self._members = packed_format.members(self.stream, self.cache, settings, kept)
        if isinstance(self._members, QuickMembers):
            self._quick_members = self._members

    def _tell(self, line: str) -> None:
        self.log(line)  # who that is, is said when the archive is open

    def read(self, node: int, offset: int, size: int) -> list[memoryview]:
        """Bytes [offset, offset+size) of a regular file, in pieces, shorter only at the end of the file.

        Pieces of stored files are views of the mapped archive: hand them on (``os.writev``), do not touch them, for the
        archive may have been truncated. Raises DamagedError where the archive ends too early, OSError from the source.
        """
        size = min(size, self.image.size[node - 1] - offset)
        if size <= 0:
            return []
        word = self.image.data[node - 1]
        kind = word >> layout.DATA_SHIFT
        if kind == layout.DATA_OFFSET:
            return self._stream_bytes(word + offset, size)
        if kind == layout.DATA_MEMBER and self._members is not None:
            row = word & layout.DATA_MASK
            return self._members.read(self.image.member(row), row, self.image.size[node - 1], offset, size)
        return self._pieces(node, offset, offset + size)

    def is_at_hand(self, node: int, offset: int, size: int) -> bool:
        """Whether ``read`` would take no time: little is asked for, and it need not be decoded, or is small enough. A
        hint; bytes that lie in the file as they are count as read already."""
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
            runs = self.image.extents(node)
            wanted = (e for e in runs if e.logical < offset + size and e.logical + e.length > offset)
            return all(self.stream.is_at_hand(extent.offset, extent.length) for extent in wanted)
        return False

    def check(self, node: int) -> None:
        """Makes what checks there are of a regular file's bytes that reading them does not make. Raises as ``read``."""
        word, size = self.image.data[node - 1], self.image.size[node - 1]
        if word >> layout.DATA_SHIFT == layout.DATA_MEMBER and self._members is not None:
            row = word & layout.DATA_MASK
            self._members.check(self.image.member(row), row, size)

    def _stream_bytes(self, offset: int, size: int) -> list[memoryview]:
        pieces = self.stream.read(offset, size)
        if sum(map(len, pieces)) != size:  # a short answer would be read as zeros
            raise DamagedError("the archive ends before the data of this member", offset)
        return pieces

    def _pieces(self, node: int, position: int, end: int) -> list[memoryview]:
        extents = [e for e in self.image.extents(node) if e.logical < end and e.logical + e.length > position]
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

    def _copied_bytes(self, offset: int, size: int) -> list[memoryview]:
        """As ``_stream_bytes``, to be joined: bytes of the map must not be touched."""
        data = self.stream.pread(size, offset)
        if len(data) != size:
            raise DamagedError("the archive ends before the data of this member", offset)
        return [memoryview(data)]

    def close(self) -> None:
        """Closes the archive's descriptors. What was handed out stays good."""
        if self._members is not None:
            from rofuse_formats.entry import ClosableMembers

            if isinstance(self._members, ClosableMembers):
                self._members.close()
        self.source.close()
        if self.spool is not None:
            self.spool.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _zeros(size: int) -> list[memoryview]:
    if size <= 0:
        return []
    whole, rest = divmod(size, len(_ZEROS))
    return [_ZEROS] * whole + ([_ZEROS[:rest]] if rest else [])


class Found:
    """A kept index that can be used. ``fd`` is the caller's."""

    __slots__ = ("fd", "index", "path", "spool")

    def __init__(self, index: Index, fd: int, path: str, spool: Spool | None) -> None:
        self.index, self.fd, self.path, self.spool = index, fd, path, spool


def find_index(source: StoredSource, settings: Settings, here: bool = False) -> Found | str:
    """The kept index of an archive; or why there is none that can be used."""
    path = cache.place(os.fsdecode(source.path), here)
    loaded = cache.load(path, source, settings.lasting())
    if isinstance(loaded, str):
        return loaded
    index, fd = loaded
    spool = cache.load_spool(index, source)
    reason = spool if isinstance(spool, str) else ""
    if index.meta.get("unspooled") and settings.spool:
        reason = "it was made without a spool"
    if index.secrecy("lacks_secrets") and settings.scan.password is not None:
        reason = "it was made without the password"
    if reason or isinstance(spool, str):
        os.close(fd)
        return reason
    return Found(index, fd, path, spool)


def open(
    path: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    keep: bool = True,
    here: bool = False,
    progress: Progress | None = None,
) -> Archive:
    """Opens an archive; indexes it first where no fresh index is kept.

    ``keep``: use and write index files (never for what is indexed in a blink, or brings its image).
    ``here``: keep it beside the archive.
    Raises SourceError, UnknownFormatError, DamagedError, UnsupportedError, LimitError, OSError.
    """
    settings = settings or Settings()
    source = parts.opened(path)
    try:
        found = find_index(source, settings, here) if keep else ""
        if not isinstance(found, str):
            os.close(found.fd)
            return Archive(source, found.index, settings, found.path, found.spool, points_place(source))
        if (carrying := carrier(source)) is not None:
            return _as_carried(source, carrying, settings)
        return _index_now(source, settings, keep, here, progress)
    except BaseException:
        source.close()
        raise


def _as_carried(source: StoredSource, carrying: CarryingFormat, settings: Settings) -> Archive:
    fd = carried_index(source, carrying, settings)
    try:
        return Archive(source, Index(fd), settings)
    finally:
        os.close(fd)


def _index_now(
    source: StoredSource, settings: Settings, keep: bool, here: bool, progress: Progress | None
) -> Archive:
    from rofuse_formats.indexing import write_index  # a mount with a ready index starts without it
    from rofuse_formats.spool_file import SpoolFile

    fd = os.memfd_create("rofuse-index", os.MFD_CLOEXEC)
    file = SpoolFile(settings.spool_limit)
    try:
        started = time.monotonic()
        write_index(source, fd, settings, progress, file if settings.spool else None)
        index = Index(fd)
        spool = open_spool(index, file.fd)
        kept = None
        if keep and time.monotonic() - started > BLINK:
            place = cache.place(os.fsdecode(source.path), here)
            kept = None if keep_index(source, fd, index, spool, place) else place
        return Archive(source, index, settings, kept, spool, points_place(source) if keep else None)
    finally:
        os.close(fd)


def points_place(source: StoredSource) -> str | None:
    """Where seek points are kept that are made when members are read."""
    return cache.points_place(os.fsdecode(source.path)) if source.named else None


def open_spool(index: Index, fd: int) -> Spool | None:
    """The spool that was just written with an index, or is handed over with it; takes over ``fd`` (-1 for none)."""
    known = index.meta.get("spool")
    if not known or fd < 0:
        if fd >= 0:
            os.close(fd)
        return None
    try:
        return Spool(fd, known)
    except BaseException:
        os.close(fd)
        raise


def keep_index(source: StoredSource, fd: int, index: Index, spool: Spool | None, place: str) -> str:
    """Keeps a finished index as ``place``, and its spool; returns why that failed, or nothing."""
    if index.secrecy("holds_secrets"):
        return "it has what is encrypted in the archive"
    if spool is not None:
        fcntl.flock(spool.fd, fcntl.LOCK_SH)
        trouble = cache.store(spool.fd, cache.spool_place(os.fsdecode(source.path)))
        if trouble:
            return trouble
    return cache.store(fd, place)
