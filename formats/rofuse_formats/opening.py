"""Opens an archive: with the index that is kept of it, or with one that is made now."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from rofuse_formats import cache, parts
from rofuse_formats.archive import Archive
from rofuse_formats.carrying import carried_index, carrier, place_to_keep
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.effort import Effort
from rofuse_formats.errors import IndexDamagedError, LimitError, SourceError
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.settings import Settings
from rofuse_formats.source import StoredSource

if TYPE_CHECKING:
    from rofuse_formats.directory.freezing import FrozenSource
    from rofuse_formats.entry import CarryingFormat
    from rofuse_formats.indexing import Progress
    from rofuse_formats.spool import Spool


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

    if index.blocks is not None:
        return "its archive brings that itself"
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

    ``keep``: use and write index files (never for what is indexed in a blink, unless a stale one is there, nor for a
    directory). ``here``: keep it beside the archive.
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
            return _as_carried(source, carrying, settings, keep, here)
        return _index_now(source, settings, keep, here, progress)
    except BaseException:
        source.close()
        raise


def _as_carried(
    source: StoredSource, carrying: CarryingFormat, settings: Settings, keep: bool, here: bool
) -> Archive:
    fd = carried_index(source, carrying, settings)
    try:
        index = Index(fd)
        place = place_to_keep(source, index, here) if keep else None
        if place is not None and keep_index(source, fd, index, None, place):
            place = None
        return Archive(source, index, settings, place)
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
        if keep:
            place = cache.place(os.fsdecode(source.path), here)
            wanted = not effort.is_a_blink or os.path.lexists(place)  # one that is stale is replaced
            kept = place if wanted and not keep_index(source, fd, index, spool, place) else None
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
