"""``rofuse-mount pack SOURCE OUT``: makes a pack of an archive."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

import click

from rofuse_formats import Archive, Settings
from rofuse_formats.archives.pack.superblock import Superblock
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import FormatError
from rofuse_formats.packing import (
    BLOCK_SIZE,
    LEAST_BLOCK,
    LEAST_LEVEL,
    LEVEL,
    MOST_BLOCK,
    MOST_LEVEL,
    Options,
    write_pack,
    write_pack_of_directory,
)
from rofuse_formats.packing.comparing import compare
from rofuse_formats.packing.unnamed import UnnamedFile
from rofuse_mount.cli import outcome, parameters
from rofuse_mount.cli.declaring import Command, completes, option
from rofuse_mount.cli.opening import STANDARD_INPUT, open_to_read
from rofuse_mount.cli.parameters import Size, source_options
from rofuse_mount.cli.progress import Progress
from rofuse_mount.cli.sizes import readable

_GARBAGE = 200_000  # objects
_EPOCH = "SOURCE_DATE_EPOCH"  # reproducible-builds.org/specs/source-date-epoch


@click.command("pack", cls=Command, short_help="Make a pack of an archive.")
@click.argument("source", metavar="SOURCE", shell_complete=completes("sources"))
@click.argument("out", metavar="OUT", shell_complete=completes("sources"))
@option(
    "--level",
    type=click.IntRange(LEAST_LEVEL, MOST_LEVEL),
    default=LEVEL,
    metavar="N",
    help=f"How hard zstd tries, {LEAST_LEVEL} to {MOST_LEVEL} [{LEVEL}].",
)
@option(
    "--block-size",
    type=Size(),
    default=BLOCK_SIZE,
    metavar="SIZE",
    help="Bytes that are compressed together, a power of two from 4K to 1M [128K].",
)
@option("--dictionary", is_flag=True, help="Make a dictionary of the small files first: smaller, slower.")
@option("--jobs", type=click.IntRange(1), metavar="N", help="Threads that compress [one for each core].")
@option("--verify", is_flag=True, help="Read it all back, and compare, before it gets its name.")
@option("-f", "--force", is_flag=True, help="Replace OUT where it is there already.")
@source_options
def COMMAND(source: str, out: str, **options: Any) -> None:
    """Make OUT, a pack (rofuse-pack(5)), of the archive SOURCE.

    The same tree gives the same pack, byte for byte. OUT appears when it is complete: what is interrupted, or runs out
    of space, leaves nothing. With SOURCE_DATE_EPOCH in the environment no time in the pack is later than that.
    """
    how = _options(options)
    if os.path.isdir(out) or (os.path.lexists(out) and not options["force"]):
        hint = "is a directory" if os.path.isdir(out) else "is there already; replace it with --force"
        raise outcome.Failure(f"{outcome.show(out)}: {hint}")
    settings = parameters.settings(options)
    if _is_scanned_on_the_way(source, how, settings):
        size = _pack_directory(source, out, how, settings, options)
    else:
        size = _pack_archive(source, out, how, options)
    if not options["quiet"]:
        outcome.put(f"{outcome.show(out)}: {readable(size)}")


def _options(options: dict[str, Any]) -> Options:
    size = options["block_size"]
    if not LEAST_BLOCK <= size <= MOST_BLOCK or size & (size - 1):
        raise click.UsageError("--block-size must be a power of two from 4K to 1M")
    epoch = os.environ.get(_EPOCH)
    if epoch is not None and not (epoch.isascii() and epoch.isdigit()):
        raise click.UsageError(f"{_EPOCH} must be a number of seconds since 1970")
    return Options(
        level=options["level"],
        block_size=size,
        dictionary=options["dictionary"],
        jobs=options["jobs"] or len(os.sched_getaffinity(0)),
        exclude=tuple(map(os.fsencode, options["exclude"])),
        latest=int(epoch) if epoch is not None else None,
    )


def _is_scanned_on_the_way(source: str, how: Options, settings: Settings) -> bool:
    """Whether it is a directory, to be packed as it is now."""
    another = settings.saved or settings.freeze or settings.follow or how.dictionary
    return not another and source != STANDARD_INPUT and os.path.isdir(source)


def _pack_archive(source: str, out: str, how: Options, options: dict[str, Any]) -> int:
    """Returns the size of the pack. Raises Failure."""
    opened = open_to_read(source, options)
    try:
        opened.tell(source, options)
        archive = opened.archive
        return _pack(
            source,
            out,
            lambda fd, tell: write_pack(archive, fd, how, tell),
            lambda: nullcontext(archive),
            options,
        )
    finally:
        opened.close()


def _pack_directory(source: str, out: str, how: Options, settings: Settings, options: dict[str, Any]) -> int:
    """Returns the size of the pack. Raises Failure."""
    gc.freeze()  # as where archives are scanned: a scan makes many objects, and hardly ever a circle of them
    gc.set_threshold(_GARBAGE)

    def write(fd: int, tell: Progress) -> Superblock:
        directory = DirectorySource(source)
        try:
            head, report = write_pack_of_directory(directory, settings, fd, how, tell)
        finally:
            directory.close()
        if not options["quiet"]:
            tell.hide()
            for line in report.lines():
                outcome.say(f"{outcome.show(source)}: {line}")
        return head

    return _pack(source, out, write, lambda: _opened(source, options), options)


@contextmanager
def _opened(source: str, options: dict[str, Any]) -> Iterator[Archive]:
    opened = open_to_read(source, options)
    try:
        yield opened.archive
    finally:
        opened.close()


def _pack(
    source: str,
    out: str,
    write: Callable[[int, Progress], Superblock],
    again: Callable[[], AbstractContextManager[Archive]],
    options: dict[str, Any],
) -> int:
    """Returns the size of the pack. ``write`` writes it to a descriptor; ``again`` opens what it is compared with.
    Raises Failure."""
    signal.signal(signal.SIGTERM, _interrupted)
    sys.setswitchinterval(0.0005)  # a thread that has compressed its block should not wait 5 ms to say so
    file = None
    try:
        file = UnnamedFile(os.fsencode(out))
        with _progress("packing", out, options) as tell:
            total = write(file.fd, tell).total
        if options["verify"]:
            with again() as archive, _progress("comparing", out, options) as tell:
                compare(archive, file.path, tell)
        file.take_name()
    except FormatError as error:
        raise outcome.about(source, error) from error
    except KeyboardInterrupt as error:
        message = f"{outcome.show(out)}: interrupted; no pack was made"
        raise outcome.Failure(message, outcome.INTERRUPTED) from error
    except OSError as error:
        # Where the error names no file it is the pack's: its disk is full, or its directory cannot be written.
        failed = outcome.about(source if error.filename else out, error)
        raise outcome.Failure(f"{failed}; no pack was made", failed.status) from error
    finally:
        if file is not None:
            file.close()
    return total


@contextmanager
def _progress(what: str, out: str, options: dict[str, Any]) -> Iterator[Progress]:
    progress = Progress(what, out, not options["quiet"])
    try:
        yield progress
    finally:
        progress.close()


def _interrupted(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
