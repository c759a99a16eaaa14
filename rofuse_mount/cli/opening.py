"""Opens the source of a command: with its kept index, or with one that is made now.

Strategy
The process that indexes may need much memory for a while, and reads what a stranger wrote with C libraries. So it is
one of its own: it leaves nothing behind but the finished index, or an error.

Rules
- Who only looks into an archive, and ends, indexes by itself what takes next to nothing (``rofuse_formats.quick``): the
  directory of a small zip archive, say. To start a process, and to hear of it, takes longer than to read that.
- Who goes on to serve never does: what a server once had, it keeps.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from rofuse_formats import Archive, Settings, cache, errors, parts
from rofuse_formats.archive import Found, find_index, frozen, keep_index, open_spool, points_place
from rofuse_formats.carrying import carried_index, carrier
from rofuse_formats.codecs import faster_library
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.effort import Effort
from rofuse_formats.index import Index
from rofuse_formats.limits import MIB, three_quarters_of_memory
from rofuse_formats.source import FileSource, StoredSource
from rofuse_mount.cli import outcome, parameters
from rofuse_mount.memory import bounded

if TYPE_CHECKING:
    import socket

    from rofuse_formats.entry import CarryingFormat

STANDARD_INPUT = "-"
_REPORT_MAX = 1 << 16
_DONE = b"done"
_COPY = 1 << 20
_GARBAGE = 200_000  # objects; a scan makes one for each member and hardly ever a circle of them
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
            fd = _carried_index(source, carrying, settings)
            return Opened(Archive(source, Index(fd), settings, later=later), fd, ["it brings its index"])
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


def _carried_index(source: StoredSource, carrying: CarryingFormat, settings: Settings) -> int:
    try:
        with bounded(settings.limits.max_memory or three_quarters_of_memory()):
            return carried_index(source, carrying, settings)
    except MemoryError:
        raise errors.LimitError(_of_memory(settings.limits.max_memory)) from None


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
            spool_fd = _write_index(source, fd, settings, draw=not options["quiet"])
        seconds, is_a_blink = effort.seconds, effort.is_a_blink
        if settings.freeze:
            _take_over(source)
        index = Index(fd)
        spool = open_spool(index, spool_fd)
        points = points_place(source) if not options["no_index"] else None
        notes = [f"indexed in {seconds:.1f} s ({why})", *_slower(index)]
        if not options["no_index"] and (not is_a_blink if keep is None else keep):
            place = cache.place(os.fsdecode(source.path), options["index_here"])
            trouble = keep_index(source, fd, index, spool, place)
            if trouble and keep:
                raise outcome.Failure(f"the index cannot be kept: {outcome.show(trouble)}")
            if not trouble:
                # The kept file is mapped rather than the memory it was made in, which is then given back.
                kept_fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
                archive = Archive(source, Index(kept_fd), settings, place, spool, points, later=later)
                return Opened(archive, kept_fd, [*notes, f"index {outcome.show(place)}", *_spooled(archive)])
            notes.append(f"the index is kept in memory only: {trouble}")
        archive = Archive(source, index, settings, None, spool, points, later=later)
        return Opened(archive, os.dup(fd), [*notes, *_spooled(archive)])
    finally:
        os.close(fd)


def _take_over(source: StoredSource) -> None:
    """What the child has filled, if it is clones."""
    from rofuse_formats.directory.freezing import FrozenSource

    if isinstance(source, FrozenSource):
        source.filled()


def _has_quick_index(source: StoredSource, fd: int, settings: Settings) -> bool:
    """Whether its index could be written to ``fd`` in next to no time."""
    from rofuse_formats.quick import write_quick_index

    return write_quick_index(source, fd, settings)


def _write_index(source: StoredSource, fd: int, settings: Settings, *, draw: bool) -> int:
    """Has a child process write the index to ``fd``. Returns the descriptor of the spool that goes with it, -1 for
    none. Raises what the child would have raised."""
    import socket

    sys.stdout.flush()
    sys.stderr.flush()
    report, sink = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        report.close()
        _index_and_exit(source, fd, settings, sink, draw)
    sink.close()
    spool, text, received = -1, b"", [-1]
    try:
        text, received, _flags, _address = socket.recv_fds(report, _REPORT_MAX, 1)
    finally:
        report.close()
        _pid, status = os.waitpid(pid, 0)
    if received and received[0] >= 0:
        spool = received[0]
        os.set_inheritable(spool, False)
    if text and text != _DONE:
        _raise_reported(text)
    if status or not text:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise errors.FormatError(f"indexing ended with {how}")
    return spool


def _index_and_exit(
    source: StoredSource, fd: int, settings: Settings, sink: socket.socket, draw: bool
) -> NoReturn:
    import gc
    import json
    import socket

    gc.freeze()  # what is there already stays: it need not be looked through, nor its pages copied
    gc.set_threshold(_GARBAGE)
    from rofuse_formats.indexing import write_index
    from rofuse_formats.spool_file import SpoolFile
    from rofuse_mount.cli.progress import Progress
    from rofuse_mount.memory import bound_memory, keep_one_heap, lacks_memory

    status = 0
    progress = Progress("indexing", os.fsdecode(source.name), draw)
    try:
        sys.setswitchinterval(
            0.0005
        )  # a decoding thread that wants to go on should not wait for the scanner's 5 ms
        keep_one_heap()
        settings.limits.may_fork = True
        spool = SpoolFile(settings.spool_limit)
        bound_memory(settings.limits.max_memory or three_quarters_of_memory())
        write_index(source, fd, settings, progress, spool if settings.spool else None)
        socket.send_fds(sink, [_DONE], [spool.fd] if spool.fd >= 0 else [])
    except KeyboardInterrupt:
        status = outcome.INTERRUPTED
    except BaseException as error:
        status = 1
        if lacks_memory(error):
            error = errors.LimitError(_of_memory(settings.limits.max_memory))
        if isinstance(error, errors.FormatError | OSError):
            os_error = [error.errno, error.strerror] if isinstance(error, OSError) else None
            sink.send(json.dumps([_public_name(error), str(error)[:4096], os_error]).encode())
        else:
            import traceback

            traceback.print_exc()
    finally:
        progress.close()
        os._exit(status)


def _public_name(error: BaseException) -> str:
    """Of its class, or of the one that it is a kind of: a module has kinds of its own."""
    return next(
        (kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__)), "FormatError"
    )


def _of_memory(most: int | None) -> str:
    if most is None:
        return "indexing takes more memory than there is, or than this process may have (see ulimit -a)"
    return f"indexing takes more than {most / MIB:,.0f} MiB of memory; --max-memory raises the limit"


def _raise_reported(text: bytes) -> NoReturn:
    import json

    name, message, os_error = json.loads(text)
    if os_error:
        raise OSError(*os_error)
    kind = getattr(errors, name)
    raise kind(message)
