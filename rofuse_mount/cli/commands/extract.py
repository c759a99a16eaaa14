"""``rofuse-mount extract SOURCE DEST [PATH...]``"""

from __future__ import annotations

import json
import os
from typing import Any

import click

from rofuse_formats import Extracted, ExtractOptions
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Command, completes, option
from rofuse_mount.cli.members import Members, paths_argument, source_argument
from rofuse_mount.cli.opening import open_to_read
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.progress import Progress
from rofuse_mount.cli.screen import Screen
from rofuse_mount.cli.sizes import readable


@click.command("extract", cls=Command, short_help="Copy what is in an archive to a directory.")
@source_argument
@click.argument("dest", metavar="DEST", shell_complete=completes("directories"))
@paths_argument()
@option("--overwrite", is_flag=True, help="Replace what is there already.")
@option(
    "-p",
    "--same-permissions",
    "permissions",
    is_flag=True,
    default=None,
    help="Keep modes as they are, whatever the umask is [as root].",
)
@option(
    "--same-owner/--no-same-owner",
    "owners",
    default=None,
    help="Keep owners, setuid and setgid; or do not [as root].",
)
@option("--json", "as_json", is_flag=True, help="One object a line: path, ok, error; a summary.")
@source_options
def COMMAND(
    source: str,
    dest: str,
    paths: tuple[str, ...],
    overwrite: bool,
    permissions: bool | None,
    owners: bool | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Copy what is in the archive SOURCE, or each PATH of it, to the directory DEST, which is made.

    Nothing is ever written outside of DEST, and nothing in it is overwritten unless --overwrite says so. PATH may be a
    pattern ('*/src').
    """
    if os.path.lexists(dest) and not os.path.isdir(dest):
        raise outcome.Failure(f"{outcome.show(dest)}: is not a directory; give another one")
    opened = open_to_read(source, options)
    opened.tell(source, options)
    members = Members(opened.archive, source)
    wanted = [path or b"/" for path, _node in members.find(paths)]
    if paths and not wanted:
        return members.status
    with Screen() as screen:
        progress = Progress("extracting", source, not options["quiet"])
        told = _Told(screen, progress, source, options, as_json)
        try:
            done = opened.archive.extract(
                dest,
                wanted,
                ExtractOptions(
                    overwrite=overwrite,
                    owners=owners,
                    permissions=permissions,
                    tell=told.entry,
                    warn=told.warn,
                    progress=progress,
                ),
            )
        except OSError as error:
            raise outcome.about(dest, error) from error
        finally:
            progress.close()
        told.end(done)
    return members.status or told.status


class _Told:
    """What is said of each entry, and at the end. ``status``: that of the first that failed."""

    def __init__(
        self, screen: Screen, progress: Progress, source: str, options: dict[str, Any], as_json: bool
    ) -> None:
        self.screen, self.progress = screen, progress
        self.source, self.options, self.as_json = source, options, as_json
        self.status = 0

    def entry(self, path: str, error: Exception | None) -> None:
        why = None if error is None else _short(error)
        if error is not None or self.as_json or self.options["verbose"]:
            self.progress.hide()
        if error is not None:
            self.status = self.status or outcome.status_of(error)
        if self.as_json:
            self.screen.line(json.dumps({"path": path, "ok": error is None, "error": why}))
        elif why is not None:
            outcome.say(f"{outcome.show(self.source)}: {outcome.show(path or '/')}: {why}")
        elif self.options["verbose"]:
            self.screen.line(self.screen.name(path.encode("utf-8", "surrogateescape")))

    def warn(self, line: str) -> None:
        if not self.options["quiet"]:
            self.progress.hide()
            outcome.say(f"{outcome.show(self.source)}: {line}")

    def end(self, done: Extracted) -> None:
        if self.as_json:
            summary = {"extracted": done.entries, "failed": done.failed, "bytes": done.size}
            self.screen.line(json.dumps({"summary": summary}))
        elif not self.options["quiet"]:
            failed = f", {done.failed} failed" if done.failed else ""
            self.screen.line(f"{done.entries} entries extracted, {readable(done.size)}{failed}")


def _short(error: Exception) -> str:
    """Without the name that the system was given: the path says it."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
