"""What an archive holds, in the words that every format shares, and the contract of a format.

Strategy
A format reads its archive once, from front to back (``Format``), or at random where its list of members lies elsewhere
(``RandomFormat``), and *describes* it to a Builder: one call for each member, in archive order. It never keeps what it
read, never resolves one member against another (duplicates, hard links, missing parents are the builder's affair) and
makes no object for a member on the way: an archive of a million members is a million calls of ``Builder.add`` and
nothing else.

Rules for a format
- It is one module (or package) of ``rofuse_formats.archives`` that defines one object, ``FORMAT``, with the
  attributes of the ``Format`` or the ``RandomFormat`` protocol. Formats never import each other.
- Names are bytes, as the archive has them. Paths use ``/``. A format does not clean them: the builder normalises
  or refuses (absolute, ``..``, empty, too long), and says so.
- Every number from the archive is checked before it is used as a length, a count or an offset.
- Damage after at least one intact member is no exception: ``builder.damaged(...)`` and return; what is intact is
  shown. DamagedError is raised only where nothing could be read at all.

Where a member's bytes are is its ``data`` word, an unsigned 64-bit integer:
- regular file, contiguous: the offset of its first byte in the decoded stream the format reads from (< 2**62)
- regular file, sparse or in pieces: what ``Builder.extents`` returned
- regular file, compressed by itself: what ``Builder.packed`` returned; the format then has ``members``
- symlink: what ``Builder.text`` returned for its target; ``size`` is the target's length. Where the target is
  compressed with the files, what ``Builder.packed`` returned: it is read when somebody asks for it
- character and block devices: ``os.makedev(major, minor)``
- anything else: 0
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

from rofuse_formats.limits import Limits

if TYPE_CHECKING:
    from rofuse_formats.points_file import PointsFile
    from rofuse_formats.settings import Settings
    from rofuse_formats.source import Source, StoredSource
    from rofuse_formats.streams import BlockCache, BlockStream, Stream


class Extent(NamedTuple):
    """A run of a file's bytes. What no extent covers is a hole and reads as zeros."""

    logical: int
    """Where in the file the run begins."""
    length: int
    """Bytes; more than 0."""
    offset: int
    """Where in the stream the run begins."""
    stream: int = 0
    """Which stream: 0 is the decoded stream that the format reads from."""


class PackedMember(NamedTuple):
    """A file that is compressed by itself: what the format gave ``Builder.packed``."""

    at: int
    """Where the format finds it in the stream it reads from."""
    packed: int
    """Compressed bytes."""
    crc: int
    method: int
    flags: int


class PackedColumns(NamedTuple):
    """Many members, column by column: of each path, mode, owner, size and mtime (whole seconds) as ``Builder.add`` has
    them; then its PackedMember. Of what is no regular file, ``at`` is the ``data`` word, and what follows it counts for
    nothing."""

    paths: list[bytes]
    modes: array[int]
    """Of the type code "H"; those behind them of "I", "Q" and "q"."""
    owners: array[int]
    sizes: array[int]
    mtimes: array[int]
    members: tuple[array[int], ...]
    """Columns of PackedMember: of "Q", "Q", "I", "H" and "H"."""

    def part(self, start: int, stop: int) -> PackedColumns:
        """The members [start, stop)."""
        rows = slice(start, stop)
        paths, modes, owners, sizes, mtimes, members = self
        columns = (column[rows] for column in members)
        return PackedColumns(paths[rows], modes[rows], owners[rows], sizes[rows], mtimes[rows], (*columns,))


class Time(NamedTuple):
    """A moment: whole seconds since 1970 (negative before) and the nanoseconds after them, 0 to 999,999,999."""

    seconds: int
    nanoseconds: int = 0


class Reader(Protocol):
    """The archive's decoded bytes, front to back, behind a window that only moves forward."""

    @property
    def end(self) -> int | None:
        """Size of the stream in bytes; None until it is known (a compressed stream must be decoded to its end)."""
        ...

    def window(self, position: int, need: int, /) -> tuple[bytes, int]:
        """``(buffer, base)``: ``buffer[position - base]`` is the byte at ``position``, and the buffer reaches at
        least to ``position + need``, usually further; it falls short only where the stream ends (then ``end`` is
        known). ``position`` may jump ahead by any distance, never back before an earlier ``position``."""
        ...


class Builder(Protocol):
    """Takes the description of an archive. Implemented by ``rofuse_formats.image.builder``."""

    limits: Limits
    implied_owner: int
    """Number of the owner that things have of which the archive does not say it: the archive file's own."""

    def owner(self, uid: int, gid: int, uname: bytes = b"", gname: bytes = b"", /) -> int:
        """Number of this owner, made once for each distinct one. uid and gid: 0 to 2**32-1. The caller keeps it
        in a dict of its own keyed by what it finds in the archive, so that this is called rarely."""
        ...

    def text(self, data: bytes, /) -> int:
        """Keeps bytes (a symlink's target) and returns the ``data`` word for them."""
        ...

    def extents(self, extents: Sequence[Extent], /) -> int:
        """Keeps a file's extents (ascending by logical, not overlapping) and returns the ``data`` word."""
        ...

    def packed(self, at: int, packed: int, crc: int, method: int, flags: int, /) -> int:
        """Keeps where a member is that is compressed by itself and returns the ``data`` word. ``at`` (< 2**62) is
        where the format finds it in the stream, ``packed`` (< 2**62) its compressed bytes; ``crc`` (32 bits),
        ``method`` and ``flags`` (16 bits) are the format's own numbers, which it is given back as they are."""
        ...

    def add(
        self,
        path: bytes,
        mode: int,
        owner: int,
        size: int,
        mtime: int,
        mtime_ns: int,
        data: int,
        /,
    ) -> int:
        """One member, in archive order. ``mode`` has the type bits (S_IFREG, S_IFDIR, ...) and the permission
        bits; ``mtime`` is seconds since 1970, signed. Returns the member's number, or -1 when it was refused
        (the builder has noted why). This is the hot call: nothing is optional and nothing is by name."""
        ...

    def add_packed(self, members: PackedColumns, /) -> None:
        """``add`` and ``packed`` for many regular files, directories and symlinks, in archive order: the hot call of
        formats whose members are compressed by themselves, where no other ``add`` came in between."""
        ...

    def hardlink(self, path: bytes, target: bytes, /) -> None:
        """A further name for the member called ``target`` (as the archive spells it), before or after this one."""
        ...

    def xattrs(self, member: int, attributes: Iterable[tuple[bytes, bytes]], /) -> None:
        """Extended attributes (full names, ``user.x``) of the member that ``add`` numbered."""
        ...

    def times(
        self, member: int, /, atime: Time | None = None, ctime: Time | None = None, btime: Time | None = None
    ) -> None:
        """Times beside mtime, where the archive has them."""
        ...

    def skipped(self, path: bytes, reason: str, /) -> None:
        """A member that cannot be shown (``reason``: ``multi-volume continuation``). Counted; the first ones named."""
        ...

    def warn(self, message: str, /) -> None:
        """Something about the archive as a whole that its user should know. One line."""
        ...

    def encrypted(self, files: int, /) -> None:
        """So many files take a password."""
        ...

    def together(self, size: int, /) -> None:
        """So many bytes of members are compressed together, or a large one by itself, and are spooled when they are
        read."""
        ...

    def secret(self, told: bool, /) -> None:
        """Something of the description itself is encrypted: it was decrypted and ``told``, and the image must not be
        kept where it can be read without the password; or it was left out, for lack of one."""
        ...

    def damaged(self, message: str, offset: int, /) -> None:
        """The archive is damaged at this offset of the decoded stream; what was added so far is intact."""
        ...


class ScanOptions:
    """What the user said about how to read an archive. A format ignores what is not its own."""

    __slots__ = ("encoding", "exclude", "ignore_zeros", "one_file_system", "password", "raw")

    def __init__(
        self,
        *,
        ignore_zeros: bool = False,
        encoding: str | None = None,
        password: bytes | None = None,
        raw: bool = False,
        one_file_system: bool = False,
        exclude: Sequence[str] = (),
    ) -> None:
        self.ignore_zeros = ignore_zeros  # tar: go on after an end-of-archive mark (concatenated archives)
        self.encoding = encoding  # zip: the code page of names that do not say
        self.password = password  # zip: of encrypted members
        self.raw = raw  # deb, rpm: the members as they are, not what they hold
        self.one_file_system = one_file_system  # a directory: what is mounted below it is not entered
        self.exclude = tuple(exclude)  # a directory: what is left out (``globs``)


class Members(Protocol):
    """Reads an archive's members that are compressed by themselves. Used by any number of threads at once."""

    def read(self, member: PackedMember, row: int, size: int, offset: int, count: int, /) -> list[memoryview]:
        """Bytes [offset, offset+count) of a member, all within its ``size`` bytes, in pieces that may be views of the
        mapped archive (not to be touched). ``row`` is the member's number in the image, for caches. Raises
        DamagedError (too few bytes, a wrong checksum), UnsupportedError (its method), PasswordError, OSError."""
        ...

    def check(self, member: PackedMember, row: int, size: int, /) -> None:
        """Makes the checks of a member's bytes that ``read`` leaves out because it does not touch them. Raises as
        ``read``."""
        ...

    def try_password(self, members: Iterable[PackedMember], /) -> None:
        """Raises PasswordError where the password in the settings is clearly not theirs."""
        ...


@runtime_checkable
class QuickMembers(Protocol):
    """What Members have besides that know which of them take no time."""

    def is_at_hand(self, member: PackedMember, size: int, /) -> bool:
        """Whether a member of ``size`` bytes is decoded in less time than it takes to wake a thread. A hint."""
        ...


@runtime_checkable
class ClosableMembers(Protocol):
    """What Members have besides that hold more than memory."""

    def close(self) -> None:
        """Gives up processes and files; nothing can be read any more."""
        ...


class Format(Protocol):
    """One archive format."""

    name: str
    """As users say it: ``tar``."""

    def recognise(self, head: bytes, /) -> bool:
        """Whether a stream that starts with ``head`` (up to 64 KiB of it) is this format. Must be strict: garbage
        that is claimed here is garbage that is mounted."""
        ...

    def scan(self, reader: Reader, builder: Builder, options: ScanOptions, /) -> None:
        """Describes the whole archive to the builder. Raises DamagedError when nothing of it can be read, and lets
        OSError, LimitError and UnsupportedError from the reader pass."""
        ...


@runtime_checkable
class RandomFormat(Protocol):
    """An archive format whose list of members lies elsewhere than at the beginning. Inside a compressed stream it is
    scanned when all of that was decoded once and can be sought in."""

    name: str

    def recognise(self, head: bytes, /) -> bool:
        """As ``Format.recognise``."""
        ...

    def recognise_end(self, tail: bytes, /) -> bool:
        """Whether what ends with ``tail`` (up to 66 KiB of it) is this format, something else before it: a program that
        unpacks itself (see also ``detect.HiddenFormat``). Asked where no format recognises the head."""
        ...

    def scan_at_random(self, source: Source, builder: Builder, options: ScanOptions, /) -> None:
        """As ``Format.scan``."""
        ...


class Part(NamedTuple):
    """A stretch of an archive that is an archive of its own, perhaps compressed."""

    name: bytes
    """What it is called in messages, and whose ending may tell its compression: ``data.tar.xz``."""
    start: int
    """Where it lies in the source."""
    size: int
    """Bytes, as the archive says it."""


class Insides(Protocol):
    """Describes archives that lie within an archive, one at a time, and remembers how to read what is in them."""

    def describe(self, part: Part, below: bytes, kind: Format | None = None, /) -> bool:
        """Describes what ``part`` holds, decoded first where it is compressed. ``below`` is put before every path
        (``b"data/"``). ``kind``: what it is; without, whatever of the known formats that are read front to back.
        Returns whether it is that. What is wrong inside is noted; raises OSError, LimitError, UnsupportedError."""
        ...


@runtime_checkable
class NestedFormat(RandomFormat, Protocol):
    """An archive format whose members are archives in turn, and are shown as what those hold. ``scan_at_random``
    describes the members as they are, for who asks for that."""

    def scan_nested(
        self, source: Source, builder: Builder, options: ScanOptions, insides: Insides, /
    ) -> None:
        """As ``Format.scan``."""
        ...


@runtime_checkable
class SplitFormat(Protocol):
    """What a format has besides when its archives may be split into parts that know of each other."""

    def parts_before(self, source: Source, /) -> int:
        """How many parts come before ``source``, the last one; 0 where it is all there is. Raises OSError."""
        ...


@runtime_checkable
class VolumeFormat(Protocol):
    """What a format has besides when its archives may come in volumes, each of which begins as an archive does."""

    def is_volume(self, source: Source, /) -> bool:
        """Whether ``source`` says that it is one of several. Raises OSError."""
        ...


CARRIED = b"\x89ROFUSE."
"""How archives begin that bring their image: then come the name of the format's module, in lower-case letters, and a
line's end. So one is opened without asking every format whether it knows it."""


class Carried(NamedTuple):
    """What an archive says of itself that brings its image."""

    image: bytes
    """Checked (``image.checking``): whatever its maker may have wanted, it is a tree."""
    blocks: bytes
    """What the format must know to read its stream, as it is best mapped; the index keeps it."""


@runtime_checkable
class CarryingFormat(Protocol):
    """An archive format that brings its image: there is nothing to scan, and no index of it to keep."""

    name: str

    def recognise(self, head: bytes, /) -> bool:
        """As ``Format.recognise``; what it takes begins with ``CARRIED``, its module's name and a line's end."""
        ...

    def carried(self, source: Source, limits: Limits, /) -> Carried:
        """Raises DamagedError, UnsupportedError, LimitError, MissingLibraryError, OSError."""
        ...

    def stream(
        self, source: StoredSource, blocks: memoryview, cache: BlockCache, salvage: bool, /
    ) -> BlockStream:
        """What the files' data words lead to. ``blocks``: as ``carried`` said it, perhaps damaged since.
        Raises IndexDamagedError."""
        ...


AnyFormat: TypeAlias = Format | RandomFormat | CarryingFormat


@runtime_checkable
class PackedFormat(Protocol):
    """What a format has besides when its members may be compressed by themselves."""

    def members(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None, /
    ) -> Members:
        """``stream``: what ``scan`` read from, at random now. ``kept``: for seek points that are made when members are
        read. Raises nothing that reading would not."""
        ...
