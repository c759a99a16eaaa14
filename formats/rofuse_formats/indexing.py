"""Reads an archive once, front to back, and writes down all that is ever asked of it again.

Strategy
What a source is, is told by its bytes alone: as long as they are compressed, they are decoded, and the codec collects
its seek points on the way; what is then an archive is scanned into an image. In the common case, one compression around
one archive, both happen in one pass. A compressed stream that is no archive is a directory with that one file.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from rofuse_formats import index as index_file
from rofuse_formats.cache import fingerprint
from rofuse_formats.carrying import carrier, write_carried
from rofuse_formats.codecs import Codec, FirstPass
from rofuse_formats.detect import (
    HEAD,
    PROGRAM,
    TAIL,
    archive_ending,
    archive_of,
    archive_within,
    codec_of,
    is_program,
)
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.entry import AnyFormat, CarryingFormat, NestedFormat, RandomFormat
from rofuse_formats.errors import DamagedError, UnknownFormatError, UnsupportedError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import MIB
from rofuse_formats.passes import Passes
from rofuse_formats.patches import merged
from rofuse_formats.readers import SourceReader, Watched
from rofuse_formats.report import Report
from rofuse_formats.settings import Settings
from rofuse_formats.source import Source, StoredSource, files_of, starts_of
from rofuse_formats.spool import Spool, Writer
from rofuse_formats.spool_file import SpoolFile
from rofuse_formats.streams import BlockCache, decoded_stream

if TYPE_CHECKING:
    from rofuse_formats.directory.freezing import FrozenSource
    from rofuse_formats.nesting import Nested

_MOST_CODECS = 4
LONE_FILE = "file"  # the format of a compressed stream that holds no archive

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) now and then, by the thread that indexes."""


def write_index(
    source: StoredSource,
    fd: int,
    settings: Settings,
    progress: Progress | None = None,
    spool: SpoolFile | None = None,
) -> None:
    """Reads ``source`` and writes its index to ``fd``; what is to be kept decoded goes to ``spool`` (None: to none).
    Raises FormatError, OSError."""
    if _is_directory(source, settings):
        from rofuse_formats.directory.indexing import write_directory_index

        write_directory_index(source, fd, settings, progress)
        return
    if (carrying := carrier(source)) is not None:
        write_carried(source, fd, carrying, settings)
        return
    state = fingerprint(source)
    indexing = _Indexing(source, settings, progress or (lambda done, total: None), spool)
    try:
        name = indexing.run()
        spooled = indexing.writer.finish()
    finally:
        indexing.writer.close()
    builder = indexing.builder
    if source.named and _state_now(source) != state:
        raise DamagedError("changed while it was being read; try again")
    if settings.strict and builder.report.damage:
        raise DamagedError(*builder.report.damage[0])
    image = builder.finish()
    suspect = indexing.untrusted()
    if suspect:
        image = [b"".join(bytes(piece) for piece in image)]
        tell_untrusted(builder.report, Image(memoryview(image[0])), suspect)
    for line in _of_writer(indexing.writer):
        builder.report.warn(line)
    passes = indexing.passes
    meta = {
        "source": state,
        "place": os.path.realpath(os.fsdecode(source.path)) if source.named else None,
        "options": settings.lasting(),
        "format": name,
        "kind": indexing.kind or name,
        "codecs": passes.codecs,
        "frames": passes.frames,
        "suspect": passes.suspect,
        "outer": indexing.outer,
        "parts": indexing.nested.parts if indexing.nested else [],
        "spool": spooled,
        "unspooled": indexing.writer.refused if spool is None else 0,
        "report": builder.report.to_json(),
    }
    index_file.write(fd, meta, image, passes.seeks, most=settings.limits.max_index)


def _is_directory(source: StoredSource, settings: Settings) -> TypeGuard[DirectorySource | FrozenSource]:
    if isinstance(source, DirectorySource) or not settings.freeze:
        return isinstance(source, DirectorySource)
    from rofuse_formats.directory.freezing import FrozenSource  # which hardly anybody asks for

    return isinstance(source, FrozenSource)


def _of_writer(writer: Writer) -> Iterator[str]:
    """What is read slowly because it was not spooled."""
    if writer.refused_needed:
        size = f"{writer.refused_needed / MIB:,.0f} MiB"
        yield f"{size} can only be read from their beginning on, slowly: they were not spooled"
    elif writer.refused:
        yield f"{writer.refused / MIB:,.0f} MiB are read slowly at random: {writer.why or 'they were not spooled'}"


def tell_untrusted(report: Report, image: Image, suspect: list[tuple[int, int]]) -> None:
    """Says which files lie in stretches of the archive that failed their check."""
    count, first, suspect = 0, b"", merged(suspect)
    starts, ends = [start for start, _end in suspect], [end for _start, end in suspect]
    linked: dict[int, bool] = {}  # files of several names, each of which may have a million pieces

    def is_bad(node: int) -> bool:
        for place, length in _places(image, node):
            nearest = bisect_right(ends, place)  # the first that ends behind where it begins
            if nearest < len(starts) and starts[nearest] < place + length:
                return True
        return False

    for path, node in image.walk():
        if not stat.S_ISREG(image.mode[node - 1]):
            continue
        bad = linked.get(node)
        if bad is None:
            bad = is_bad(node)
            if image.nlink[node - 1] > 1:
                linked[node] = bad
        if bad:
            count, first = count + 1, first or path
    name = first.decode("utf-8", "backslashreplace")[:200]
    whom = f"{count} files (first: {name!r}) are read as errors" if count else "no file lies there"
    report.warn(f"what failed its check is not given out: {whom}; --salvage gives it out all the same")


def _places(image: Image, node: int) -> list[tuple[int, int]]:
    """Where in the archive's stream a file's bytes are, packed or not."""
    extents = image.extents(node)
    if any(extent.stream == layout.MEMBER_STREAM for extent in extents):
        members = (image.member(extent.offset) for extent in extents)
        return [(member.at, member.packed) for member in members]
    return [(extent.offset, extent.length) for extent in extents]


def _state_now(source: StoredSource) -> dict[str, Any]:
    again = source.reopened()
    try:
        return fingerprint(again)
    finally:
        again.close()


class _Indexing:
    """One indexing. ``outer``: how many compressions are around the archive; ``nested``: what of archives in it.
    ``kind``: which format it is, of a reader of several."""

    def __init__(
        self, source: StoredSource, settings: Settings, progress: Progress, spool: SpoolFile | None
    ) -> None:
        self.source, self.settings, self.progress, self.spool = source, settings, progress, spool
        self.writer = Writer(spool)
        self.passes = Passes(settings.limits, self.writer, source.size)
        self.outer = 0
        self.nested: Nested | None = None
        self.kind = ""
        self._names = [source.name]
        status = source.status
        mtime = divmod(status.st_mtime_ns, 1_000_000_000)
        self.builder = ImageBuilder(mtime=mtime, uid=status.st_uid, gid=status.st_gid, limits=settings.limits)

    def run(self) -> str:
        """Indexes everything; returns the archive format's name."""
        source: Source = self.source
        if not source.size:
            raise UnknownFormatError("is empty: no archive")
        cache = BlockCache()
        for depth in range(_MOST_CODECS):
            head = source.pread(HEAD, 0)
            archive = archive_of(head)
            codec = None if archive else codec_of(head, self._names[-1])  # without need, none is imported
            if codec is None:
                return self._scan_plain(source, archive)
            found = self._scan_decoded(source, codec)
            if isinstance(found, str):
                return found
            source = self._decoded_again(source, codec, depth, cache)
            if found is not None:
                return self._scan_at_random(source, found)
        raise UnknownFormatError(f"is compressed more than {_MOST_CODECS} times over")

    def _decoded_again(self, source: Source, codec: Codec, depth: int, cache: BlockCache) -> Source:
        """What the stream just read holds, to be read as a source of its own."""
        stream = codec.open(source, self.passes.seek(depth), self.settings.limits)
        known = self.writer.finish()
        kept = Spool(os.dup(self.spool.fd), known) if known and self.spool else None
        return decoded_stream(stream, cache, depth, self.passes.suspect[depth], kept, self.settings.salvage)

    def _scan_plain(self, source: Source, archive: AnyFormat | None) -> str:
        archive = archive or archive_ending(source.pread(TAIL, max(0, source.size - TAIL)))
        if archive is None and is_program(source.pread(HEAD, 0)):
            archive = archive_within(source.pread(PROGRAM, 0))
        if archive is None:
            raise UnknownFormatError("is no archive of a format known here")
        if isinstance(archive, RandomFormat):
            return self._scan_at_random(source, archive)
        if isinstance(archive, CarryingFormat):
            raise _compressed(archive)
        reader = Watched(SourceReader(source), lambda done: self.progress(done, source.size))
        archive.scan(reader, self.builder, self.settings.scan)
        return archive.name

    def _scan_at_random(self, source: Source, archive: RandomFormat) -> str:
        options, watched = self.settings.scan, _WatchedSource(source, self.progress)
        if isinstance(archive, NestedFormat) and not options.raw:
            from rofuse_formats.nesting import Nested  # hardly any archive holds others

            self.nested = Nested(
                source, self.builder, self.passes, options, lambda done: self.progress(done, source.size)
            )
            archive.scan_nested(watched, self.builder, options, self.nested)
        else:
            archive.scan_at_random(watched, self.builder, options)
        kind = getattr(archive, "kind", None)
        self.kind = kind(source) if kind is not None else ""
        return archive.name

    def _scan_decoded(self, source: Source, codec: Codec) -> str | RandomFormat | None:
        """One pass over a compressed stream. Returns the name of the format in it; or what of it is to be read again:
        the format of an archive that must be read at random, or None for a further compression."""
        self.outer += 1
        with self.passes.begin(codec, source) as decoding:
            watched = Watched(decoding.reader, lambda done: self.progress(done, source.size))
            head = watched.window(0, HEAD)[0][:HEAD]
            archive = archive_of(head)
            if isinstance(archive, CarryingFormat):
                raise _compressed(archive)
            start = watched.window(0, PROGRAM)[0][:PROGRAM] if archive is None and is_program(head) else b""
            if archive is not None and not isinstance(archive, RandomFormat):
                archive.scan(watched, self.builder, self.settings.scan)
            size = decoding.finish(lambda done: self.progress(done, source.size))
        self._tell_of(decoding.known, size)
        self._names.append(_decoded_name(self._names[-1], codec, decoding.known.name))
        if archive is None and codec_of(head, self._names[-1]) is not None:
            return None
        archive = archive or archive_ending(decoding.reader.tail(TAIL)) or archive_within(start)
        if isinstance(archive, RandomFormat):
            return archive
        if archive is not None:
            return archive.name
        self._add_lone_file(size)
        return LONE_FILE

    def _tell_of(self, first_pass: FirstPass, size: int) -> None:
        if first_pass.damages and not size:
            raise first_pass.damages[0]
        for damage in first_pass.damages:
            self.builder.damaged(str(damage), size)
        for warning in first_pass.warnings:
            self.builder.warn(warning)

    def untrusted(self) -> list[tuple[int, int]]:
        """Where what failed its check lies, in the bytes that files are read from."""
        found = [*self.passes.suspect[self.outer - 1]] if self.outer else []
        return found + (self.nested.suspect() if self.nested else [])

    def _add_lone_file(self, size: int) -> None:
        status = self.source.status
        owner = self.builder.owner(status.st_uid, status.st_gid)
        seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
        mode = stat.S_IFREG | status.st_mode & 0o666
        self.builder.add(self._names[-1] or b"data", mode, owner, size, seconds, nanoseconds, 0)


def _compressed(archive: CarryingFormat) -> UnsupportedError:
    """What brings its image lies in a file as it is: nobody gains by compressing it once more."""
    return UnsupportedError(f"is a compressed {archive.name}; decompress it first")


def _decoded_name(name: bytes, codec: Codec, told: bytes) -> bytes:
    """What is decoded from a file called ``name`` is called. ``told``: what the stream says."""
    told = os.path.basename(told)
    if told not in (b"", b".", b".."):
        return told
    for suffix, instead in codec.suffixes.items():
        if name.lower().endswith(suffix.lower()) and len(name) > len(suffix):
            return name[: -len(suffix)] + instead
    return name


class _WatchedSource:
    """A Source that tells where it is read."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self.size, self.starts, self.files = source.size, starts_of(source), files_of(source)
        self._source, self._progress = source, progress

    def pread(self, size: int, offset: int, /) -> bytes:
        data = self._source.pread(size, offset)
        self._progress(min(offset + size, self.size), self.size)
        return data
