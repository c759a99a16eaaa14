"""The members of an archive that a command is given by their paths, or by patterns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from rofuse_formats import Archive
from rofuse_formats.globbing import expand, is_pattern
from rofuse_formats.image import layout
from rofuse_formats.names import locate
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import completes, option

_Function = TypeVar("_Function", bound=Callable[..., Any])


def source_argument(function: _Function) -> _Function:
    return click.argument("source", metavar="SOURCE", shell_complete=completes("sources"))(function)


def paths_argument(*, required: bool = False) -> Callable[[_Function], _Function]:
    shown = "PATH..." if required else "[PATH]..."
    return click.argument(
        "paths", nargs=-1, required=required, metavar=shown, shell_complete=completes("members")
    )


def json_option(function: _Function) -> _Function:
    return option("--json", "as_json", is_flag=True, help="One JSON object a line; see rofuse-mount(1).")(
        function
    )


class Members:
    """Looks for what was asked for. ``status``: that of the command, 0 while all of it was there."""

    def __init__(self, archive: Archive, source: str) -> None:
        self.archive, self.image, self._source = archive, archive.image, source
        self.status = 0

    def find(self, paths: tuple[str, ...], *, follow: bool = False) -> Iterator[tuple[bytes, int]]:
        """Path and inode of each; a pattern may give many. ``follow``: where one is a symbolic link, what it leads to.
        What is not there is said, and makes the status 1."""
        for path in map(os.fsencode, paths):
            try:
                yield locate(self.archive, path, follow)
            except OSError as error:
                found = list(expand(self.archive, path)) if is_pattern(path) else []
                if not found:
                    self.complain(error)
                yield from found

    def all_or(self, paths: tuple[str, ...]) -> Iterator[tuple[bytes, int]]:
        """As ``find``; without paths the root."""
        return self.find(paths) if paths else iter([(b"", layout.ROOT)])

    def complain(self, error: Exception) -> None:
        """Says what could not be done with a member, and goes on."""
        failure = outcome.about(self._source, error)
        outcome.say(str(failure))
        self.status = self.status or failure.status
