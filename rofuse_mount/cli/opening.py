"""Opens the source of a command: with its kept index, or with one that is made now.

Rules
- What is indexed is indexed by a process of its own (``indexer``). But who only looks into an archive, and ends, does
  by itself what takes next to nothing (``rofuse_formats.quick``): the directory of a small zip archive, say. To start a
  process, and to hear of it, takes longer than to read that.
- Who goes on to serve never does: what a server once had, it keeps.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING, Any

from rofuse_formats import Archive, Settings, cache, errors, parts
from rofuse_formats.carrying import carried_index, carrier, place_to_keep
from rofuse_formats.codecs import faster_library
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.effort import Effort
from rofuse_formats.index import Index
from rofuse_formats.limits import MIB, three_quarters_of_memory
from rofuse_formats.opening import Found, find_index, frozen, keep_index, open_spool, points_place
from rofuse_formats.source import FileSource, StoredSource
from rofuse_mount.cli import outcome, parameters
from rofuse_mount.cli.indexer import of_memory, write_index
from rofuse_mount.memory import bounded

if TYPE_CHECKING:
    from rofuse_formats.entry import CarryingFormat
    from rofuse_formats.spool import Spool

STANDARD_INPUT = "-"
_COPY = 1 << 20
_ASK_EVERY = 16 * MIB  # bytes of standard input between two looks at the room that is left


class Opened:
    """An open archive, the descriptor of its index, and what its user should hear of how it was opened. ``was_kept``:
    whether the index was there before."""

    def __init__(self, archive: Archive, index: int, notes: list[str], *, was_kept: bool = False) -> None:
        self.archive, self.index, self.notes, self.was_kept = archive, index, notes, was_kept

    def close(self) -> None:
        self.archive.close()
        os.close(self.index)

    def tell(self, source: str, options: dict[str, Any]) -> None:
        """Says what is wrong with the archive, and with ``--verbose`` what was done."""
        if options["quiet"]:
            return
        notes = self.notes if options["verbose"] else []
        for line in self.archive.report.lines() + notes:
            outcome.say(f"{outcome.show(source)}: {line}")


def open_to_read(path: str, options: dict[str, Any], *, serves: bool = False) -> Opened:
    """As ``open_source``, for who will read what is in it: where that takes a password, and none was given, it is asked
    for, and put into ``options``. No answer is an answer: what is not encrypted can be read. Raises Failure."""
    opened = open_source(path, options, serves=serves)
    unknown = options["password_file"] is None and options["password"] is None
    if unknown and opened.archive.report.takes_password and not options["quiet"] and _is_terminal():
        options["password"] = parameters.ask_password(f"Password for {outcome.show(path)}") or None
        if options["password"] is not None:
            opened.close()
            return open_source(path, options, serves=serves)
    return opened


def _is_terminal() -> bool:
    return os.isatty(0) and os.isatty(2)


def open_source(
    path: str,
    options: dict[str, Any],
    *,
    keep: bool | None = None,
    rebuild: bool = False,
    later: bool = False,
    serves: bool = False,
) -> Opened:
    """Opens ``path`` as the options of ``parameters.source_options`` say. ``keep``: whether an index that is made now
    is written to a file; None: where making it took longer than a blink. ``later``: for who will read little of it or
    nothing: no more is opened than what names and attributes take. ``serves``: for who goes on as long as a mount does.
    Raises Failure."""
    settings = parameters.settings(options)
    try:
        source = standard_input(settings) if path == STANDARD_INPUT else parts.opened(path)
        if isinstance(source, DirectorySource):
            return _open_directory(source, settings, options, bool(keep), later)
        found = "an index in memory was asked for" if options["no_index"] else None
        if not source.named:
            found, keep = "standard input is indexed for this one time", False
        if found is None:
            kept = _find_index(source, settings, options["index_here"], later)
            if isinstance(kept, str):
                found = kept
            elif rebuild:
                found = "it is to be refreshed"
                os.close(kept.fd)
            else:
                try:
                    return _with_kept_index(source, settings, kept, later)
                except errors.IndexDamagedError as error:
                    found = str(error)
                    os.close(kept.fd)
        if (carrying := carrier(source)) is not None:
            may_keep = keep is not False and not options["no_index"]
            return _with_carried_index(source, carrying, settings, may_keep, options["index_here"], later)
        return _with_new_index(source, settings, options, found, keep, later, quickly=not serves)
    except (errors.FormatError, OSError) as error:
        raise outcome.about(path, error) from error


def _find_index(source: StoredSource, settings: Settings, here: bool, later: bool) -> Found | str:
    """As ``find_index``. One that came with its archive may be made to take any memory, and is none then."""
    try:
        with bounded(settings.limits.max_memory or three_quarters_of_memory()):
            return find_index(source, settings, here, later=later)
    except MemoryError:
        return "it takes more memory than there may be"


def _with_carried_index(
    source: StoredSource,
    carrying: CarryingFormat,
    settings: Settings,
    keep: bool,
    here: bool,
    later: bool,
) -> Opened:
    fd, notes = _carried_index(source, carrying, settings), ["it brings its index"]
    try:
        index = Index(fd)
        place = place_to_keep(source, index, here) if keep else None
        if place is not None:
            place = _kept(source, fd, index, None, place, notes, insist=False)
        return _opened(source, fd, index, place, settings, notes, later)
    finally:
        os.close(fd)


def _carried_index(source: StoredSource, carrying: CarryingFormat, settings: Settings) -> int:
    try:
        with bounded(settings.limits.max_memory or three_quarters_of_memory()):
            return carried_index(source, carrying, settings)
    except MemoryError:
        raise errors.LimitError(of_memory(settings.limits.max_memory)) from None


def _open_directory(
    source: DirectorySource, settings: Settings, options: dict[str, Any], keep: bool, later: bool
) -> Opened:
    """As it is now, unless the options say otherwise. Only ``index`` keeps what it was."""
    if settings.saved and not keep:
        found = find_index(source, settings, options["index_here"])
        if not isinstance(found, str):
            opened = _with_kept_index(source, settings, found, later)
            _check_that_it_is_not_entered(opened, options.get("mountpoint"))
            return opened
    mountpoint = options.get("mountpoint")
    if mountpoint is not None and os.path.lexists(mountpoint):
        status = os.stat(mountpoint)
        source.hidden = (status.st_dev, status.st_ino)
    if not settings.freeze:
        why = "it is saved" if keep else "a directory is shown as it is now"
        return _with_new_index(source, settings, options, why, keep, later)
    clones = frozen(source)
    return _with_new_index(clones, settings, options, "its files are frozen", False, later)


def _check_that_it_is_not_entered(opened: Opened, mountpoint: bytes | None) -> None:
    """Refuses to mount a saved snapshot where something was mounted when it was saved: it would enter itself there."""
    root, files = os.fsencode(opened.archive.source.path).rstrip(b"/") + b"/", opened.archive.files
    if mountpoint is None or files is None or not mountpoint.startswith(root):
        return
    node = opened.archive.image.resolve(mountpoint[len(root) :])
    if node and files.was_mountpoint(node):
        raise outcome.Failure(
            f"{outcome.show(os.fsdecode(mountpoint))} was a mountpoint when the snapshot was saved; choose another",
            outcome.MOUNTPOINT,
        )


def standard_input(settings: Settings) -> FileSource:
    """Standard input as a file: itself if it is one, else a copy on disk without a name. Raises SourceError,
    LimitError, OSError."""
    from rofuse_formats.spool_file import SpoolFile

    if stat.S_ISREG(os.fstat(0).st_mode):
        return FileSource(STANDARD_INPUT, os.dup(0), named=False)
    if os.isatty(0):
        raise errors.SourceError("is a terminal; give a file, or pipe an archive in")
    if fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise errors.SourceError("is closed; give a file, or pipe an archive in")
    file, size = SpoolFile(settings.spool_limit), 0
    asked = -_ASK_EVERY
    while data := os.read(0, _COPY):
        if size - asked >= _ASK_EVERY:
            file.ask(size)
            asked = size
        view = memoryview(data)
        while view:
            written = os.write(file.open(), view)
            view, size = view[written:], size + written
    return FileSource(STANDARD_INPUT, file.open(), named=False)


def _with_kept_index(source: StoredSource, settings: Settings, found: Found, later: bool) -> Opened:
    archive = found.archive(source, settings, later=later)
    if settings.strict and archive.report.damage:
        raise errors.DamagedError(*archive.report.damage[0])
    notes = [f"index {outcome.show(found.path)}", *_spooled(archive)]
    return Opened(archive, found.fd, notes, was_kept=True)


def _spooled(archive: Archive) -> list[str]:
    if archive.spool is None:
        return []
    share = archive.spool.size / max(archive.source.size, 1)
    return [f"spool {archive.spool.size / MIB:,.1f} MiB ({share:.0%} of the archive)"]


def _slower(index: Index) -> list[str]:
    """What would have made the index faster."""

    missing = ((name, faster_library(name)) for name in dict.fromkeys(index.meta["codecs"]))
    return [
        f"{name} would be decoded faster with the package {package}" for name, package in missing if package
    ]


def _with_new_index(
    source: StoredSource,
    settings: Settings,
    options: dict[str, Any],
    why: str,
    keep: bool | None,
    later: bool,
    *,
    quickly: bool = False,
) -> Opened:
    """``why``: there is none that is kept. ``quickly``: here, where that takes next to nothing."""
    fd = os.memfd_create("rofuse-index", os.MFD_CLOEXEC)
    try:
        effort, spool_fd = Effort(), -1
        if not (quickly and _has_quick_index(source, fd, settings)):
            spool_fd = write_index(source, fd, settings, draw=not options["quiet"])
        seconds, is_a_blink = effort.seconds, effort.is_a_blink
        if settings.freeze:
            _take_over(source)
        index = Index(fd)
        spool = open_spool(index, spool_fd)
        points = points_place(source) if not options["no_index"] else None
        notes = [f"indexed in {seconds:.1f} s ({why})", *_slower(index)]
        place = None
        if not options["no_index"] and keep is not False:
            place = cache.place(os.fsdecode(source.path), options["index_here"])
            wanted = keep or not is_a_blink or os.path.lexists(place)  # one that is stale is replaced
            place = _kept(source, fd, index, spool, place, notes, insist=bool(keep)) if wanted else None
        return _opened(source, fd, index, place, settings, notes, later, spool, points)
    finally:
        os.close(fd)


def _kept(
    source: StoredSource,
    fd: int,
    index: Index,
    spool: Spool | None,
    place: str,
    notes: list[str],
    *,
    insist: bool,
) -> str | None:
    """Keeps a finished index, if it can: ``place``. Raises Failure, if it must and cannot."""
    trouble = keep_index(source, fd, index, spool, place)
    if trouble and insist:
        raise outcome.Failure(f"the index cannot be kept: {outcome.show(trouble)}")
    notes.append(
        f"the index is kept in memory only: {trouble}" if trouble else f"index {outcome.show(place)}"
    )
    return None if trouble else place


def _opened(
    source: StoredSource,
    fd: int,
    index: Index,
    place: str | None,
    settings: Settings,
    notes: list[str],
    later: bool,
    spool: Spool | None = None,
    points: str | None = None,
) -> Opened:
    """By an index that is in ``fd``, and kept as ``place``: that file is mapped rather than the memory it was made in,
    which is then given back."""
    fd = os.dup(fd) if place is None else os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    archive = Archive(
        source, index if place is None else Index(fd), settings, place, spool, points, later=later
    )
    return Opened(archive, fd, [*notes, *_spooled(archive)])


def _take_over(source: StoredSource) -> None:
    """What the child has filled, if it is clones."""
    from rofuse_formats.directory.freezing import FrozenSource

    if isinstance(source, FrozenSource):
        source.filled()


def _has_quick_index(source: StoredSource, fd: int, settings: Settings) -> bool:
    """Whether its index could be written to ``fd`` in next to no time."""
    from rofuse_formats.quick import write_quick_index

    return write_quick_index(source, fd, settings)
