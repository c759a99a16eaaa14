"""Archives within an archive: the ``Insides`` of ``rofuse_formats.entry``.

Strategy
What lies in a part is decoded in one pass, while it is scanned, as the archive's own compression is, and has seek
points and a place in the spool as that has. The format that scans it never knows: it describes a stream to a builder.
That builder is the archive's own behind a screen, which puts a directory before every path, and gives every place in
the part's stream an address of its own among all that files are read from (``layout.SPAN``).

Rules
- A part is a stream of its own even where it is not compressed: a file in it that claims to go on behind its end is an
  error to its reader, never bytes of what comes next.
- Damage in one part leaves the others alone.
- What an archive within an archive holds is not looked into any further.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence

from rofuse_formats.archives import formats
from rofuse_formats.codecs import Codec
from rofuse_formats.detect import HEAD, codec_of, first
from rofuse_formats.entry import (
    Builder,
    CarryingFormat,
    Extent,
    Format,
    PackedColumns,
    Part,
    RandomFormat,
    Reader,
    ScanOptions,
    Time,
)
from rofuse_formats.errors import DamagedError, LimitError, UnsupportedError
from rofuse_formats.image import layout
from rofuse_formats.passes import Passes
from rofuse_formats.readers import DecodedReader, SourceReader, Watched
from rofuse_formats.source import Source, SourcePart

Tell = Callable[[int], None]
"""Told how much of the archive has been read, in bytes."""


class Nested:
    """The Insides of one archive. ``parts``: for each part, where it lies in the archive (start and bytes), and the
    number of the stream that is decoded from it, None where it is not compressed."""

    def __init__(
        self, source: Source, builder: Builder, passes: Passes, options: ScanOptions, tell: Tell
    ) -> None:
        if source.size > layout.SPAN:
            raise LimitError(
                f"holds archives and is larger than {layout.SPAN} bytes; --raw shows it as it is"
            )
        self.parts: list[tuple[int, int, int | None]] = []
        self._source, self._builder, self._passes, self._tell = source, builder, passes, tell
        self._options = options

    def describe(self, part: Part, below: bytes, kind: Format | None = None, /) -> bool:
        number = len(self.parts) + 1
        if number >= layout.MOST_SPANS - 1:
            raise UnsupportedError(f"holds more than {number - 1} archives; --raw shows them as they are")
        source = SourcePart(self._source, part.start, part.size)
        builder = _Screen(self._builder, part, below, number << layout.SPAN_SHIFT)
        self.parts.append((part.start, 0, None))  # until it is known better, nothing can be read from it
        try:
            return self._describe(part, source, builder, kind)
        except DamagedError as error:  # what surrounds it is damaged
            builder.damaged(str(error), 0)
            return True

    def _describe(self, part: Part, source: Source, builder: _Screen, kind: Format | None) -> bool:
        head = source.pread(HEAD, 0)
        archive = _archive_of(head, kind)
        if archive is not None:
            self.parts[-1] = part.start, source.size, None
            self._scan(archive, SourceReader(source), part, builder)
            return True
        codec = codec_of(head, part.name)
        return codec is not None and self._describe_decoded(codec, part, source, builder, kind)

    def _describe_decoded(
        self, codec: Codec, part: Part, source: Source, builder: _Screen, kind: Format | None
    ) -> bool:
        with self._passes.begin(codec, source) as decoding:
            archive = _archive_of(decoding.reader.window(0, HEAD)[0][:HEAD], kind)
            if archive is not None:
                self._scan(archive, decoding.reader, part, builder)
            size = decoding.finish(lambda consumed: self._tell(part.start + consumed))
        self.parts[-1] = part.start, source.size, decoding.number
        for damage in decoding.known.damages:
            builder.damaged(str(damage), size)
        for warning in decoding.known.warnings:
            builder.warn(warning)
        return archive is not None

    def _scan(
        self, archive: Format, reader: SourceReader | DecodedReader, part: Part, builder: _Screen
    ) -> None:
        watched: Reader = Watched(reader, lambda position: self._tell(part.start + position))
        try:
            archive.scan(watched, builder, self._options)
        except DamagedError as error:
            builder.damaged(str(error), error.offset or 0)

    def suspect(self) -> list[tuple[int, int]]:
        """The addresses of what failed its check in the parts."""
        found = []
        for number, (_start, _size, stream) in enumerate(self.parts, 1):
            base = number << layout.SPAN_SHIFT
            ranges = self._passes.suspect[stream] if stream is not None else []
            found += [(base + start, base + end) for start, end in ranges]
        return found


def _archive_of(head: bytes, kind: Format | None) -> Format | None:
    known = (
        [kind]
        if kind is not None
        else [one for one in formats().values() if not isinstance(one, RandomFormat | CarryingFormat)]
    )
    return first(known, head)


class _Screen:
    """The Builder for what lies in a part."""

    def __init__(self, builder: Builder, part: Part, below: bytes, base: int) -> None:
        self.limits, self.implied_owner = builder.limits, builder.implied_owner
        self.owner, self.text, self.xattrs = builder.owner, builder.text, builder.xattrs
        self.encrypted, self.secret = builder.encrypted, builder.secret
        self._add, self._builder = builder.add, builder
        self._part, self._below, self._base = part, below, base

    def _address(self, offset: int, size: int) -> int:
        return self._base + offset if offset + size <= layout.SPAN else layout.NOWHERE

    def extents(self, extents: Sequence[Extent], /) -> int:
        return self._builder.extents(
            [extent._replace(offset=self._address(extent.offset, extent.length)) for extent in extents]
        )

    def packed(self, at: int, packed: int, crc: int, method: int, flags: int, /) -> int:
        raise UnsupportedError("holds an archive whose members are compressed by themselves; --raw shows it")

    def add_packed(self, members: PackedColumns, /) -> None:
        self.packed(0, 0, 0, 0, 0)

    def add(
        self, path: bytes, mode: int, owner: int, size: int, mtime: int, mtime_ns: int, data: int, /
    ) -> int:
        if stat.S_ISREG(mode) and data >> layout.DATA_SHIFT == layout.DATA_OFFSET:
            data = self._address(data, size)
        return self._add(self._below + path, mode, owner, size, mtime, mtime_ns, data)

    def together(self, size: int, /) -> None:
        self._builder.together(size)

    def hardlink(self, path: bytes, target: bytes, /) -> None:
        self._builder.hardlink(self._below + path, self._below + target)

    def times(
        self, member: int, /, atime: Time | None = None, ctime: Time | None = None, btime: Time | None = None
    ) -> None:
        self._builder.times(member, atime, ctime, btime)

    def skipped(self, path: bytes, reason: str, /) -> None:
        self._builder.skipped(self._below + path, reason)

    def warn(self, message: str, /) -> None:
        self._builder.warn(f"{self._name()}: {message}")

    def damaged(self, message: str, offset: int, /) -> None:
        self._builder.damaged(f"{self._name()}: {message}", self._part.start)

    def _name(self) -> str:
        return self._part.name.decode("utf-8", "backslashreplace")
