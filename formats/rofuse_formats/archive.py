"""An archive, open: its tree (``image``, ``walk``, ``stat``) and its bytes (``open``, ``read``, ``extract``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rofuse_formats import cache
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.report import Report
from rofuse_formats.settings import Settings
from rofuse_formats.source import StoredSource

if TYPE_CHECKING:
    import io

    from rofuse_formats.contents import Contents
    from rofuse_formats.directory.files import DirectoryFiles
    from rofuse_formats.extraction import Extracted, Options
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

    def bring_in(self) -> None:
        """Has what names and attributes take in memory, where that is not much."""
        self._index.bring_in()

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

    def is_decoded_soon(self, node: int) -> bool:
        """Whether ``read`` of a whole small file decodes something, and in next to no time whatever others do."""
        return self.contents.is_decoded_soon(node)

    def follows(self, node: int, behind: int) -> bool:
        """Whether a file lies closely behind another in what is decoded in order, and something stands there to go on:
        who decodes it decodes little that was not wanted, and takes nothing from who reads elsewhere. A hint."""
        return self.contents.follows(node, behind)

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
