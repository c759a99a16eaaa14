"""Options that several commands share: how a source is read and where its index is kept."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar

import click

from rofuse_formats import Limits, ScanOptions, Settings
from rofuse_formats.errors import PasswordError
from rofuse_formats.limits import NAME_MAX, TARGET_MAX
from rofuse_mount.cli.declaring import ParamType, option

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SIZE = r"(\d+)\s*([kKmMgGtT]?)(?:i?[bB])?"
_LONGEST_PASSWORD = 1 << 16
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class Size(ParamType):
    """Bytes, or with a suffix K, M, G, T (powers of 1024)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(_SIZE, value.strip(), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no size; write 512M or 2G", param, ctx)
        return int(found[1]) << _UNITS[found[2].lower()]


def _code_page(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Its canonical name."""
    if name is None:
        return None
    try:
        b"ab".decode(name, "replace")
        return codecs.lookup(name).name
    except LookupError as error:
        raise click.BadParameter(f"{name!r} is no encoding of text that is known here") from error


def _password_of_file(
    context: click.Context, parameter: click.Parameter, file: IO[bytes] | None
) -> bytes | None:
    if file is None:
        return None
    with file:
        return file.readline(_LONGEST_PASSWORD).rstrip(b"\r\n")


def _password_of_terminal(context: click.Context, parameter: click.Parameter, wanted: bool) -> bytes | None:
    return ask_password("Password") if wanted else None


def ask_password(prompt: str) -> bytes:
    """What is typed, unseen; nothing where that is nothing. Raises PasswordError where there is no terminal."""
    if not _has_terminal():
        raise PasswordError("there is no terminal to ask for the password on; give --password-file")
    return os.fsencode(str(click.prompt(prompt, "", hide_input=True, show_default=False, err=True)))


def _has_terminal() -> bool:
    """Whether it could be typed unseen: standard input may well be an archive then."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
        return True
    except OSError:
        return os.isatty(0)


def source_options(function: _Function) -> _Function:
    """Adds the options that say how a source is read; ``settings`` makes of them what the library takes."""
    limits = Limits()
    for added in reversed(
        (
            option("--strict", is_flag=True, help="Refuse an archive that is damaged anywhere."),
            option("--raw", is_flag=True, help="deb, rpm: show the members, not what they hold."),
            option("--ignore-zeros", is_flag=True, help="tar: go on behind an end-of-archive mark."),
            option(
                "--encoding",
                metavar="NAME",
                callback=_code_page,
                help="zip: the code page of names that do not say theirs, as cp437 or shift_jis [detected].",
            ),
            option(
                "--password-file",
                type=click.File("rb"),
                callback=_password_of_file,
                metavar="FILE",
                help="zip: the password is the first line of this file.",
            ),
            option(
                "--password",
                is_flag=True,
                callback=_password_of_terminal,
                help="zip: ask for the password now.",
            ),
            option(
                "-x",
                "--one-file-system",
                is_flag=True,
                help="Directory: enter nothing that is mounted below it.",
            ),
            option(
                "--exclude",
                multiple=True,
                metavar="PATTERN",
                help="Directory, pack: leave out what PATTERN means: a name, or a path with *, **, ?, []; repeatable.",
            ),
            option(
                "--saved", is_flag=True, help="Directory: as it was when 'index' saved it, not as it is now."
            ),
            option(
                "--no-programs",
                is_flag=True,
                help="Start no program of the system to decode (lrzip, grzip); refuse what takes one.",
            ),
            option(
                "--max-window",
                type=Size(),
                default=limits.max_window,
                metavar="SIZE",
                help="Largest window that a compressed stream may ask to be kept in memory [128M].",
            ),
            option(
                "--max-entries",
                type=click.IntRange(1, (1 << 32) - 2),
                default=limits.max_entries,
                metavar="N",
                help="Most entries that an archive may have [33554432].",
            ),
            option(
                "--max-path",
                type=Size(),
                default=limits.max_path,
                metavar="SIZE",
                help="Longest path that a member may have; others are not shown [64K].",
            ),
            option(
                "--max-name",
                type=click.IntRange(1, NAME_MAX),
                default=limits.max_name,
                metavar="N",
                help="Longest name that is shown, in bytes [255].",
            ),
            option(
                "--max-depth",
                type=click.IntRange(1, 1 << 30),
                default=limits.max_depth,
                metavar="N",
                help="Most directories within each other that are shown [2048].",
            ),
            option(
                "--max-target",
                type=click.IntRange(1, TARGET_MAX),
                default=limits.max_target,
                metavar="N",
                help="Longest target of a symbolic link that is shown, in bytes [4095].",
            ),
            option(
                "--max-xattrs",
                type=Size(),
                default=limits.max_xattrs,
                metavar="SIZE",
                help="Most that a member's extended attributes may take; others lose them [64K].",
            ),
            option(
                "--max-index",
                type=Size(),
                default=limits.max_index,
                metavar="SIZE",
                help="Largest index that an archive may take [4G].",
            ),
            option(
                "--max-ratio",
                type=click.IntRange(1, 1 << 60),
                default=limits.max_ratio,
                metavar="N",
                help="Times its compressed bytes that more than 1 GiB may be [2000000].",
            ),
            option(
                "--max-memory",
                type=Size(),
                metavar="SIZE",
                help="Most memory that indexing, and a server, may take [indexing: three quarters of the machine's].",
            ),
            option(
                "--spool-limit",
                type=Size(),
                metavar="SIZE",
                help="Most that decoded data may take in the cache, all archives together [half of what is free].",
            ),
            option(
                "--no-spool",
                is_flag=True,
                help="Keep no decoded data: what cannot be sought in is slow to read.",
            ),
            option(
                "--salvage", is_flag=True, help="Give out data that failed its check, which may be wrong."
            ),
            option("--index-here", is_flag=True, help="Keep the index beside the archive, as SOURCE.rofuse."),
            option("--no-index", is_flag=True, help="Use and write no index file; keep it in memory."),
            option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
            option("-v", "--verbose", is_flag=True, help="Say what is done."),
        )
    ):
        function = added(function)
    return function


def directory_options(function: _Function) -> _Function:
    """Adds the options that say how a directory that is mounted is read."""
    for added in (
        option("--follow", is_flag=True, help="Directory: read files that have changed as they are now."),
        option("--freeze", is_flag=True, help="Directory: clone its files first (reflinks: btrfs, xfs)."),
    ):
        function = added(function)
    return function


def _check_patterns(patterns: Sequence[str]) -> None:
    if patterns:
        from rofuse_formats.globs import Globs

        try:
            Globs(map(os.fsencode, patterns))
        except ValueError as error:
            raise click.UsageError(f"--exclude: {error}") from error


def settings(options: dict[str, Any]) -> Settings:
    limits = Limits(
        **{name: options[name] for name in Limits.__slots__ if name.startswith("max_")},
        programs=not options["no_programs"],
    )
    saved, freeze, follow = (bool(options.get(name)) for name in ("saved", "freeze", "follow"))
    if freeze and (saved or follow):
        raise click.UsageError("--freeze shows the files as they are now: not beside --saved or --follow")
    _check_patterns(options["exclude"])
    password = options["password_file"] if options["password_file"] is not None else options["password"]
    return Settings(
        ScanOptions(
            ignore_zeros=options["ignore_zeros"],
            encoding=options["encoding"],
            password=password,
            raw=options["raw"],
            one_file_system=options["one_file_system"],
            exclude=options["exclude"],
        ),
        limits,
        strict=options["strict"],
        spool=not options["no_spool"],
        spool_limit=options["spool_limit"],
        salvage=options["salvage"],
        saved=saved,
        freeze=freeze,
        follow=follow,
    )
