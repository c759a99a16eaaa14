"""Reads an archive once, front to back, and writes down all that is ever asked of it again.

Strategy
What a source is, is told by its bytes alone: as long as they are compressed, they are decoded, and the codec collects
its seek points on the way; what is then an archive is scanned into an image. In the common case, one compression around
one archive, both happen in one pass. A compressed stream that is no archive is a directory with that one file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rofuse_formats import index as index_file
from rofuse_formats.archives import formats
from rofuse_formats.cache import fingerprint
from rofuse_formats.codecs import Codec, FirstPass, codecs
from rofuse_formats.errors import DamagedError, UnknownFormatError
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.readers import DecodedReader, SourceReader
from rofuse_formats.settings import Settings
from rofuse_formats.source import FileSource, Source
from rofuse_formats.streams import BlockCache, DecodedStream

HEAD = 1 << 16
_MOST_CODECS = 4
LONE_FILE = "file"  # the format of a compressed stream that holds no archive

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) now and then, by the thread that indexes."""


def write_index(source: FileSource, fd: int, settings: Settings, progress: Progress | None = None) -> None:
    """Reads ``source`` and writes its index to ``fd``. Raises FormatError, OSError."""
    state = fingerprint(source)
    indexing = _Indexing(source, settings, progress or (lambda done, total: None))
    name = indexing.run()
    builder = indexing.builder
    if _state_now(source) != state:
        raise DamagedError("changed while it was being read; try again")
    if settings.strict and builder.report.damage:
        raise DamagedError(*builder.report.damage[0])
    image = builder.finish()
    meta = {
        "source": state,
        "options": settings.lasting(),
        "format": name,
        "codecs": indexing.codecs,
        "frames": indexing.frames,
        "report": builder.report.to_json(),
    }
    index_file.write(fd, meta, image, indexing.seeks)


def _state_now(source: FileSource) -> dict[str, Any]:
    again = FileSource(source.path)
    try:
        return fingerprint(again)
    finally:
        again.close()


class _Indexing:
    def __init__(self, source: FileSource, settings: Settings, progress: Progress) -> None:
        self.source, self.settings, self.progress = source, settings, progress
        self.codecs: list[str] = []
        self.seeks: list[bytes] = []
        self.frames: list[int] = []
        status = source.status
        mtime = divmod(status.st_mtime_ns, 1_000_000_000)
        self.builder = ImageBuilder(mtime=mtime, uid=status.st_uid, gid=status.st_gid, limits=settings.limits)

    def run(self) -> str:
        """Indexes everything; returns the archive format's name."""
        source: Source = self.source
        if not source.size:
            raise UnknownFormatError("is empty: no archive")
        cache = BlockCache()
        for _depth in range(_MOST_CODECS):
            head = source.pread(HEAD, 0)
            codec = _recognise(codecs(), head)
            if codec is None:
                return self._scan_plain(source, head)
            name = self._scan_decoded(source, codec)
            if name:
                return name
            seekable = codec.open(source, self.seeks[-1], self.settings.limits)
            source = DecodedStream(seekable, cache, len(self.codecs) - 1)
        raise UnknownFormatError(f"is compressed more than {_MOST_CODECS} times over")

    def _scan_plain(self, source: Source, head: bytes) -> str:
        archive = _recognise(formats(), head)
        if archive is None:
            raise UnknownFormatError("is no archive of a format known here (see 'rofuse-mount formats')")
        reader = SourceReader(source)
        archive.scan(_Watched(reader, source.size, self.progress), self.builder, self.settings.scan)
        return archive.name

    def _scan_decoded(self, source: Source, codec: Codec) -> str:
        """One pass over a compressed stream. Returns the name of the format in it, or nothing where that is a further
        compression."""
        first_pass = codec.first_pass(source, self.settings.limits)
        reader = DecodedReader(first_pass)
        try:
            watched = _Watched(reader, source.size, self.progress)
            head = watched.window(0, HEAD)[0][:HEAD]
            archive = _recognise(formats(), head)
            name = ""
            if archive is not None:
                archive.scan(watched, self.builder, self.settings.scan)
                name = archive.name
            size = reader.drain(lambda: self.progress(reader.position, source.size))
        finally:
            reader.close()
        self._finish_pass(codec, first_pass, size)
        if not name and _recognise(codecs(), head) is None:
            self._add_lone_file(size)
            name = LONE_FILE
        return name

    def _finish_pass(self, codec: Codec, first_pass: FirstPass, size: int) -> None:
        if first_pass.damages and not size:
            raise first_pass.damages[0]
        for damage in first_pass.damages:
            self.builder.damaged(str(damage), size)
        self.codecs.append(codec.name)
        self.seeks.append(first_pass.index())
        self.frames.append(first_pass.frames)

    def _add_lone_file(self, size: int) -> None:
        name = os.path.basename(os.fsencode(self.source.path))
        stem, dot, _suffix = name.rpartition(b".")
        status = self.source.status
        owner = self.builder.owner(status.st_uid, status.st_gid)
        seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
        mode = stat.S_IFREG | status.st_mode & 0o666
        self.builder.add(stem if dot and stem else name, mode, owner, size, seconds, nanoseconds, 0)


class _Recognising(Protocol):
    def recognise(self, head: bytes, /) -> bool: ...


_Candidate = TypeVar("_Candidate", bound=_Recognising)


def _recognise(candidates: dict[str, _Candidate], head: bytes) -> _Candidate | None:
    return next((candidate for candidate in candidates.values() if candidate.recognise(head)), None)


class _Watched:
    """A Reader that tells how far it got whenever it had to fetch."""

    def __init__(self, reader: SourceReader | DecodedReader, total: int, progress: Progress) -> None:
        self._reader, self._total, self._progress, self._told = reader, total, progress, -1

    @property
    def end(self) -> int | None:
        return self._reader.end

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        found = self._reader.window(position, need)
        done = self._reader.position
        if done != self._told:
            self._told = done
            self._progress(done, self._total)
        return found
