"""``rofuse-mount find SOURCE [PATH...]``"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from rofuse_formats.globbing import Pattern
from rofuse_formats.image.reader import Image
from rofuse_formats.names import type_of
from rofuse_mount.cli.declaring import Command, ParamType, option
from rofuse_mount.cli.describing import ROOT_PATH, Describer
from rofuse_mount.cli.members import Members, json_option, paths_argument, source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import Size, source_options
from rofuse_mount.cli.screen import Screen

_WORDS = ("-name", "-path", "-type", "-size", "-newer", "-print0")
_NS = 1_000_000_000
_LETTERS = {
    "f": "file",
    "d": "dir",
    "l": "symlink",
    "c": "char",
    "b": "block",
    "p": "fifo",
    "s": "socket",
}

Test = Callable[[Image, bytes, int], bool]


class _Types(ParamType):
    """Letters of ``find -type``, separated by commas, or the types' names."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        words = [_LETTERS.get(word, word) for word in value.split(",")]
        for word in words:
            if word not in _LETTERS.values():
                self.fail(f"{word!r} is no type; these are: {', '.join(_LETTERS)}", param, ctx)
        return words


class _Sizes(ParamType):
    """Bytes, or with a suffix; ``+`` more than that, ``-`` less. Becomes a test."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Test:
        if callable(value):
            made: Test = value  # by this very method
            return made
        sign = value[:1] if value.startswith(("+", "-")) else ""
        bound = Size().convert(value.removeprefix(sign).strip().removesuffix("c"), param, ctx)

        def test(image: Image, path: bytes, node: int) -> bool:
            size = image.size[node - 1]
            if image.is_directory(node):
                return False
            return bool(size > bound if sign == "+" else size < bound if sign == "-" else size == bound)

        return test


class _Moment(ParamType):
    """A date, a date and time, ``@SECONDS``, or a file on disk, whose time counts. In nanoseconds."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return os.stat(value).st_mtime_ns
        except (OSError, ValueError):
            pass  # no file: then a time
        try:
            if value.startswith("@"):
                return int(float(value[1:]) * _NS)
            return int(datetime.fromisoformat(value).timestamp()) * _NS
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is neither a file nor a time (2025-11-01, 2025-11-01T12:00, @SECONDS)", param, ctx
            )


class _FindCommand(Command):
    """Knows what words find(1) has, of which click would see the first letter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if len(word) > 2 and word[0] == "-" != word[1]]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            for word in words:
                if word.startswith(error.option_name):
                    known = ", ".join(_WORDS)
                    raise click.UsageError(f"no such test '{word}'; there are {known}", ctx) from error
            raise


@click.command("find", cls=_FindCommand, short_help="Find members of an archive by name, type, size or time.")
@source_argument
@paths_argument()
@option("-name", "--name", "names", multiple=True, metavar="PATTERN", help="Called like this: '*.conf'.")
@option(
    "-path", "--path", "whole", multiple=True, metavar="PATTERN", help="With a path like this: '*/src/*.c'."
)
@option("-type", "--type", "types", type=_Types(), metavar="TYPE,...", help="One of f, d, l, c, b, p, s.")
@option(
    "-size",
    "--size",
    "sizes",
    type=_Sizes(),
    multiple=True,
    metavar="[+-]SIZE",
    help="Of so many bytes, of more (+1M) or of less (-10k).",
)
@option(
    "-newer",
    "--newer",
    "newer",
    type=_Moment(),
    metavar="TIME",
    help="Modified after this date, or after this file on disk was.",
)
@option("-print0", "--print0", is_flag=True, help="End each path with a zero byte, for xargs -0.")
@json_option
@source_options
def COMMAND(source: str, paths: tuple[str, ...], as_json: bool, print0: bool, **options: Any) -> int:
    """Find members of the archive SOURCE, everywhere or at and below each PATH, that pass all tests.

    A test that is given several times is passed by what passes one of them; sizes have to fit all.
    """
    opened = open_source(source, options, later=True)
    opened.tell(source, options)
    members = Members(opened.archive, source)
    tests = _tests(options)
    found = (
        (path, node)
        for path, node in _walk(members, paths)
        if all(test(members.image, path, node) for test in tests)
    )
    with Screen() as screen:
        if as_json:
            screen.lines(Describer(opened.archive).objects(found))
        elif print0:
            for path, _node in found:
                screen.write((path or ROOT_PATH) + b"\0")
        else:
            mode = members.image.mode
            screen.lines(screen.name(path or ROOT_PATH, mode[node - 1]) for path, node in found)
    return members.status


def _walk(members: Members, paths: tuple[str, ...]) -> Iterator[tuple[bytes, int]]:
    if not paths:
        yield from members.image.walk()
    for path, node in members.find(paths):
        yield path, node
        yield from members.image.walk(node, path)


def _tests(options: dict[str, Any]) -> list[Test]:
    """The quick ones first."""
    tests: list[Test] = []
    if (types := options["types"]) is not None:
        tests.append(lambda image, path, node: type_of(image.mode[node - 1]) in types)
    tests += options["sizes"]
    if (newer := options["newer"]) is not None:
        tests.append(lambda image, path, node: image.mtime[node - 1] * _NS + image.mtime_ns[node - 1] > newer)
    if names := _patterns(options["names"]):
        tests.append(lambda image, path, node: any(name.matches(path.rpartition(b"/")[2]) for name in names))
    if whole := _patterns(options["whole"]):
        tests.append(lambda image, path, node: any(name.matches(path) for name in whole))
    return tests


def _patterns(given: tuple[str, ...]) -> list[Pattern]:
    return [Pattern(os.fsencode(pattern)) for pattern in given]
