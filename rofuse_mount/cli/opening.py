"""Opens the source of a command: with its kept index, or with one that a process of its own makes now.

The process that indexes may need much memory for a while, and reads what a stranger wrote with C libraries. So it is
not the one that goes on to serve: it leaves nothing behind but the finished index, or an error.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, NoReturn

from rofuse_formats import Archive, Settings, cache, errors
from rofuse_formats.archive import BLINK, find_index
from rofuse_formats.index import Index
from rofuse_formats.source import FileSource
from rofuse_mount.cli import outcome, parameters

_REPORT_MAX = 1 << 16


class Opened:
    """An open archive, the descriptor of its index, and what its user should hear of how it was opened."""

    def __init__(self, archive: Archive, index: int, notes: list[str]) -> None:
        self.archive, self.index, self.notes = archive, index, notes

    def tell(self, source: str, options: dict[str, Any]) -> None:
        """Says what is wrong with the archive, and with ``--verbose`` what was done."""
        if options["quiet"]:
            return
        notes = self.notes if options["verbose"] else []
        for line in self.archive.report.lines() + notes:
            outcome.say(f"{outcome.show(source)}: {line}")


def open_source(
    path: str, options: dict[str, Any], *, keep: bool | None = None, rebuild: bool = False
) -> Opened:
    """Opens ``path`` as the options of ``parameters.source_options`` say. ``keep``: whether an index that is made now
    is written to a file; None: where making it took longer than a blink. Raises Failure."""
    settings = parameters.settings(options)
    try:
        source = FileSource(path)
        found = "an index in memory was asked for" if options["no_index"] else None
        if found is None:
            kept = find_index(source, settings, options["index_here"])
            if isinstance(kept, str):
                found = kept
            elif rebuild:
                found = "it is to be refreshed"
                os.close(kept[1])
            else:
                return _with_kept_index(source, settings, *kept)
        return _with_new_index(source, settings, options, found, keep)
    except (errors.FormatError, OSError) as error:
        raise outcome.about(path, error) from error


def _with_kept_index(source: FileSource, settings: Settings, index: Index, fd: int, path: str) -> Opened:
    archive = Archive(source, index, settings, path)
    if settings.strict and archive.report.damage:
        raise errors.DamagedError(*archive.report.damage[0])
    return Opened(archive, fd, [f"index {outcome.show(path)}"])


def _with_new_index(
    source: FileSource, settings: Settings, options: dict[str, Any], why: str, keep: bool | None
) -> Opened:
    fd = os.memfd_create("rofuse-index", os.MFD_CLOEXEC)
    try:
        started = time.monotonic()
        _write_index(source, fd, settings, draw=not options["quiet"])
        took = time.monotonic() - started
        notes = [f"indexed in {took:.1f} s ({why})"]
        kept = None
        if not options["no_index"] and (took > BLINK if keep is None else keep):
            kept = cache.place(os.fsdecode(source.path), options["index_here"])
            trouble = cache.store(fd, kept)
            if trouble and keep:
                raise outcome.Failure(f"the index cannot be kept: {outcome.show(trouble)}")
            notes.append(
                f"the index is kept in memory only: {trouble}" if trouble else f"index {outcome.show(kept)}"
            )
            if not trouble:
                return _reopened(source, settings, kept, notes)
        return Opened(Archive(source, Index(fd), settings, None), os.dup(fd), notes)
    finally:
        os.close(fd)


def _reopened(source: FileSource, settings: Settings, path: str, notes: list[str]) -> Opened:
    """Maps the kept file rather than the memory it was made in, which is then given back."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return Opened(Archive(source, Index(fd), settings, path), fd, notes)


def _write_index(source: FileSource, fd: int, settings: Settings, *, draw: bool) -> None:
    """Has a child process write the index to ``fd``. Raises what it would have raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    report, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _index_and_exit(source, fd, settings, sink, draw)
    os.close(sink)
    try:
        text = b""
        while more := os.read(report, _REPORT_MAX):
            text += more
    finally:
        os.close(report)
        _pid, status = os.waitpid(pid, 0)
    if text:
        _raise_reported(text)
    if status:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise errors.FormatError(f"indexing ended with {how}")


def _index_and_exit(source: FileSource, fd: int, settings: Settings, sink: int, draw: bool) -> NoReturn:
    import json

    from rofuse_formats.indexing import write_index
    from rofuse_mount.cli.progress import Progress

    status = 0
    progress = Progress(f"indexing {os.path.basename(os.fsdecode(source.path))}", draw)
    try:
        sys.setswitchinterval(
            0.0005
        )  # a decoding thread that wants to go on should not wait for the scanner's 5 ms
        write_index(source, fd, settings, progress)
    except KeyboardInterrupt:
        status = outcome.INTERRUPTED
    except (errors.FormatError, OSError) as error:
        status = 1
        os_error = [error.errno, error.strerror] if isinstance(error, OSError) else None
        os.write(sink, json.dumps([type(error).__name__, str(error)[:4096], os_error]).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        progress.close()
        os._exit(status)


def _raise_reported(text: bytes) -> NoReturn:
    import json

    name, message, os_error = json.loads(text)
    if os_error:
        raise OSError(*os_error)
    kind = getattr(errors, name)
    raise kind(message)
