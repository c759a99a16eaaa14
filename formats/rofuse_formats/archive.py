"""An archive, open: its tree (``image``, ``walk``, ``stat``) and its bytes (``open``, ``read``, ``extract``)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rofuse_formats import cache, parts
from rofuse_formats.carrying import carried_index, carrier
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.effort import Effort
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError, SourceError
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.report import Report
from rofuse_formats.settings import Settings
from rofuse_formats.source import StoredSource

if TYPE_CHECKING:
    import io

    from rofuse_formats.contents import Contents
    from rofuse_formats.directory.files import DirectoryFiles
    from rofuse_formats.directory.freezing import FrozenSource
    from rofuse_formats.entry import CarryingFormat
    from rofuse_formats.extraction import Extracted, Options
    from rofuse_formats.indexing import Progress
    from rofuse_formats.names import Entry, Path
    from rofuse_formats.spool import Spool
    from rofuse_formats.streams import BlockCache, Stream


class Archive:
    """An archive and its index. Immutable; its methods may be called by any number of threads.

    ``image``: the tree. ``report``: what was noticed when it was indexed. ``kind``, ``compression`` (outermost first)
    and ``frames`` (of each compression): what it is; ``format``: what reads it. ``parts``: archives in it whose trees
    are shown: of each its first byte, its bytes, and the number of the stream that is decoded from it, None where it is
    not compressed.
    ``codecs``: the compression of each stream, ``suspect`` what failed its check in each. ``unspooled``: bytes that
    can only be read from the beginning of their stream on. ``index_path``: where the index is kept, None when only in
    memory; ``points_path``: where seek points are that are made later, None where they are not kept.

    ``later``: its bytes are opened when they are first read, by one thread, and until then it is not known whether they
    can be; ``spool`` is then not needed.

    A path (``Path``) is str or bytes, below the archive's root; a leading slash means nothing. Symbolic links on the
    way are followed within the archive, as if its root were that of the system.
    """

    def __init__(
        self,
        source: StoredSource,
        index: Index,
        settings: Settings,
        index_path: str | None = None,
        spool: Spool | None = None,
        points_path: str | None = None,
        *,
        later: bool = False,
    ) -> None:
        self.log: Callable[[str], None] = lambda line: None
        """Told, in a line, of what goes wrong besides reading."""
        self.points_path = points_path
        self.source, self.index_path, self.index_size = source, index_path, index.size
        self.spool = spool
        self.image = Image(index.image)
        try:
            meta, outer = index.meta, int(index.meta["outer"])
            self.format, self.codecs = str(meta["format"]), [str(name) for name in meta["codecs"]]
            self.kind = str(meta.get("kind") or self.format)
            self.compression = self.codecs[:outer]
            self.frames = [int(count) for count in meta["frames"]][:outer]
            self.parts = [
                (int(start), int(size), None if number is None else int(number))
                for start, size, number in meta["parts"]
            ]
            self.report = Report.from_json(meta["report"])
            self.scanned: dict[str, Any] = dict(meta.get("scanned", {}))
            """Of a directory: the ``ScanOptions`` that it was described with."""
            self.suspect = [[(int(start), int(end)) for start, end in ranges] for ranges in meta["suspect"]]
            self.unspooled = int(meta.get("unspooled", 0))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise IndexDamagedError(f"the index lacks its description: {error}") from error
        if not len(index.seeks) == len(self.suspect) == len(self.codecs):
            raise IndexDamagedError("the index lacks seek points")
        self._index, self._settings = index, settings
        if settings.scan.password is None:
            self.report.tell_of_encryption()
        if not later:
            if self.report.together:
                self._expect_spool()
            _ = self.contents  # opened now, so that what is wrong with them is said now

    def _expect_spool(self) -> None:
        """Raises LimitError where what is decoded together becomes too much, or there is no room for what of it will be
        spooled, as far as that is certain: it takes more than it takes in the archive, which is packed better."""
        limits, stored = self._settings.limits, self.source.size
        if self.report.together > limits.most_of(stored):
            raise limits.too_much(stored)
        if not self._settings.spool:
            self.report.tell_of_slowness()
        elif not os.path.exists(cache.growing_place(os.fsdecode(self.source.path))):
            from rofuse_formats.spool_file import SpoolFile  # which a mount with a ready spool does not need

            SpoolFile(self._settings.spool_limit).expect(min(self.report.together, self.source.size))

    # -- names -----------------------------------------------------------------------------------------------

    def walk(self, path: Path = b"") -> Iterator[Entry]:
        """Everything below a directory, depth first, a directory before its entries, in archive order. Raises
        FileNotFoundError, NotADirectoryError."""
        from rofuse_formats import names

        return names.walk(self, path)

    def stat(self, path: Path, *, follow: bool = False) -> Entry:
        """What the archive has under a path, in time that does not grow with the archive. ``follow``: if that is a
        symbolic link, what it leads to. Raises FileNotFoundError, NotADirectoryError; OSError for links in a circle."""
        from rofuse_formats import names

        return names.stat(self, path, follow)

    def let_go(self) -> None:
        """Gives back what of the index counts as this process's memory; it is had again when it is needed."""
        self._index.let_go()

    # -- bytes -----------------------------------------------------------------------------------------------

    def open(self, path: Path) -> io.BufferedReader:
        """A file of the archive, to be read as any other, sought in too; it works as long as the archive is open.
        Raises FileNotFoundError, IsADirectoryError, OSError for what is no file; reading it raises as ``read``."""
        from rofuse_formats.member_file import opened

        return opened(self, path)

    def extract(
        self, dest: str | os.PathLike[str], paths: Iterable[Path] = (), options: Options | None = None
    ) -> Extracted:
        """Copies what is in the archive, or of it what ``paths`` name (directories with all that is below), to the
        directory ``dest``, which is made. Nothing is ever written elsewhere. What cannot be extracted is told to
        ``options.tell`` and counted, and the rest goes on. Raises OSError where nothing can: ``dest`` cannot be made,
        the disk is full; FileNotFoundError for a path that is not in the archive; IndexDamagedError."""
        from rofuse_formats.extraction import extract

        return extract(self, dest, paths, options)

    @cached_property
    def contents(self) -> Contents:
        """What bytes are read from. Raises IndexDamagedError, UnsupportedError, MissingLibraryError, PasswordError,
        OSError."""
        from rofuse_formats.contents import Contents  # not for who only looks at names

        return Contents(self, self._index, self._settings)

    @property
    def stream(self) -> Stream:
        """What files lie in that are not compressed by themselves."""
        return self.contents.stream

    @property
    def files(self) -> DirectoryFiles | None:
        """Of a directory that is read where it lies: its files."""
        return self.contents.files

    @property
    def cache(self) -> BlockCache:
        """Decoded blocks."""
        return self.contents.cache

    def read(self, node: int, offset: int, size: int) -> list[memoryview]:
        """Bytes [offset, offset+size) of a regular file, in pieces, shorter only at the end of the file.

        Pieces of stored files are views of the mapped archive: hand them on (``os.writev``), do not touch them, for the
        archive may have been truncated. Raises DamagedError where the archive ends too early, OSError from the source.
        """
        return self.contents.read(node, offset, size)

    def target(self, node: int) -> bytes:
        """A symlink's target. Raises as ``read``, where it is compressed and must be decoded."""
        if not self.image.is_packed(node):
            return self.image.target(node)
        from rofuse_formats.copying import joined  # hardly any archive has such links

        target = joined(self.read(node, 0, self.image.size[node - 1]))
        if b"\0" in target:
            raise DamagedError("what should be the target of a symbolic link is none")
        return target

    def is_at_hand(self, node: int, offset: int, size: int) -> bool:
        """Whether ``read`` would take no time: little is asked for, and it need not be decoded, or is small enough. A
        hint; bytes that lie in the file as they are count as read already."""
        return self.contents.is_at_hand(node, offset, size)

    def follows(self, node: int, previous: int) -> bool:
        """Whether a small file is decoded with little besides: it lies closely behind another in what is decoded in
        order, or in a block of its own."""
        return self.contents.follows(node, previous)

    def check(self, node: int) -> None:
        """Makes what checks there are of a regular file's bytes that reading them does not make. Raises as ``read``."""
        self.contents.check(node)

    def close(self) -> None:
        """Closes the archive's descriptors. What was handed out stays good."""
        if "contents" in self.__dict__:
            self.contents.close()
        self.source.close()
        if self.spool is not None:
            self.spool.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Found:
    """A kept index that can be used. ``fd`` is the caller's."""

    __slots__ = ("fd", "index", "path", "spool")

    def __init__(self, index: Index, fd: int, path: str, spool: Spool | None) -> None:
        self.index, self.fd, self.path, self.spool = index, fd, path, spool

    def archive(self, source: StoredSource, settings: Settings, *, later: bool = False) -> Archive:
        """The archive, by this index. Raises IndexDamagedError where that contradicts itself: then the spool is closed,
        and another index will do."""
        try:
            points = points_place(source)
            return Archive(source, self.index, settings, self.path, self.spool, points, later=later)
        except IndexDamagedError:
            if self.spool is not None:
                self.spool.close()
            raise


def find_index(
    source: StoredSource, settings: Settings, here: bool = False, *, later: bool = False
) -> Found | str:
    """The kept index of an archive; or why there is none that can be used. ``later``: for who reads no bytes of it, so
    that no spool needs to go with it. Raises SourceError where nothing else would do."""
    found = _find_index(source, settings, here, later)
    if settings.saved and isinstance(found, str):
        raise SourceError(f"its saved snapshot cannot be used: {found}; save one with 'rofuse-mount index'")
    return found


def _find_index(source: StoredSource, settings: Settings, here: bool, later: bool) -> Found | str:
    if isinstance(source, DirectorySource) and not settings.saved:
        return "a directory is shown as it is now"
    path = cache.place(os.fsdecode(source.path), here)
    loaded = cache.load(path, source, settings.lasting(), settings.limits.max_index)
    if isinstance(loaded, str):
        return loaded
    index, fd, is_doubtful = loaded
    try:
        wrong = _found_wrong(index, settings) if is_doubtful else ""
    except BaseException:  # there is not the memory for it, say
        os.close(fd)
        raise
    if wrong:
        os.close(fd)
        return wrong
    spool = None if later else cache.load_spool(index, source)
    reason = spool if isinstance(spool, str) else ""
    if index.meta.get("unspooled") and settings.spool and not later:
        reason = "it was made without a spool"
    if index.secrecy("lacks_secrets") and settings.scan.password is not None:
        reason = "it was made without the password"
    if reason or isinstance(spool, str):
        os.close(fd)
        return reason
    return Found(index, fd, path, spool)


def _found_wrong(index: Index, settings: Settings) -> str:
    """Of an index that may have come with its archive, from whomever: its checksums say nothing."""
    from rofuse_formats.image.checking import check_form  # which a mount of what is kept here does not need

    try:
        check_form(Image(index.image), settings.limits)
    except (IndexDamagedError, IndexError, LimitError) as error:
        return f"it is none: {error}"
    return ""


def open(
    path: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    keep: bool = True,
    here: bool = False,
    progress: Progress | None = None,
) -> Archive:
    """Opens an archive; indexes it first where no fresh index is kept.

    ``keep``: use and write index files (never for what is indexed in a blink, nor for a directory, nor for what brings
    its image). ``here``: keep it beside the archive.
    Raises SourceError, UnknownFormatError, DamagedError, UnsupportedError, LimitError, OSError.
    """
    settings = settings or Settings()
    source = parts.opened(path)
    try:
        found = find_index(source, settings, here) if keep or settings.saved else ""
        if not isinstance(found, str):
            try:
                return found.archive(source, settings)
            except IndexDamagedError:
                if settings.saved:
                    raise
            finally:
                os.close(found.fd)
        if isinstance(source, DirectorySource):
            keep = False
            if settings.freeze:
                source = frozen(source)
        elif (carrying := carrier(source)) is not None:
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
        effort = Effort()
        write_index(source, fd, settings, progress, file if settings.spool else None)
        index = Index(fd)
        spool = open_spool(index, file.fd)
        kept = None
        if keep and not effort.is_a_blink:
            place = cache.place(os.fsdecode(source.path), here)
            kept = None if keep_index(source, fd, index, spool, place) else place
        return Archive(source, index, settings, kept, spool, points_place(source) if keep else None)
    finally:
        os.close(fd)


def frozen(source: DirectorySource) -> FrozenSource:
    """What the clones of a directory's files go to. Raises UnsupportedError, OSError."""
    from rofuse_formats.directory.freezing import FrozenSource

    return FrozenSource(source)


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
    from rofuse_formats.spool import Spool  # hardly any archive has one

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
