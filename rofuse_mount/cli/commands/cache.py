"""``rofuse-mount cache``: what lies in the cache directory, and removing it."""

from __future__ import annotations

import json
import os
import time

import click

from rofuse_formats import cache
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Group, completes, option
from rofuse_mount.cli.sizes import readable


@click.group(
    "cache", cls=Group, invoke_without_command=True, short_help="List or clear what is kept of archives."
)
@option("--json", "as_json", is_flag=True, help="One object a line: path, kind, source, size, last_used.")
@click.pass_context
def COMMAND(ctx: click.Context, /, as_json: bool) -> None:
    """List what is kept in the cache directory, the least recently used first.

    Indexes make the next mount of an archive fast (where reading can begin inside large members of a zip archive is
    kept in a file of its own); spools hold the decoded data of archives that cannot be sought in.
    """
    if ctx.invoked_subcommand is not None:
        return
    kept = cache.kept()
    if as_json:
        for file in kept:
            outcome.put(json.dumps(_as_json(file)))
        return
    for file in kept:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.last_used / 1e9))
        what = outcome.show(file.source or os.path.basename(file.path))
        outcome.put(f"{file.kind:6}  {readable(file.size):>10}  {when}  {what}")
    total = sum(file.size for file in kept)
    outcome.put(f"{readable(total)} in {len(kept)} files in {outcome.show(cache.directory())}")


@COMMAND.command("clear", short_help="Remove what is kept of archives.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", shell_complete=completes("sources"))
@option("--spools", is_flag=True, help="Only spools.")
@option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def clear(sources: tuple[str, ...], spools: bool, quiet: bool) -> int:
    """Remove what is kept of each SOURCE, or everything. What a live mount needs stays; it is told."""
    wanted = {os.path.realpath(source) for source in sources}
    files = [file for file in cache.kept() if not wanted or file.source in wanted]
    freed, status = 0, 0
    for file in files:
        if spools and file.kind != "spool":
            continue
        try:
            if cache.drop(file.path):
                freed += file.size
            elif not quiet:
                outcome.say(f"{outcome.show(file.path)} is in use by a mount; it stays")
        except OSError as error:
            outcome.say(f"{outcome.show(file.path)} cannot be removed: {error.strerror}")
            status = outcome.FAILED
    cache.sweep()
    if not quiet:
        outcome.put(f"{readable(freed)} freed in {outcome.show(cache.directory())}")
    return status


def _as_json(file: cache.Kept) -> dict[str, object]:
    return {
        "path": file.path,
        "kind": file.kind,
        "source": file.source,
        "size": file.size,
        "last_used": _seconds(file.last_used),
    }


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9
