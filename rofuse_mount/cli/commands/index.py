"""``rofuse-mount index SOURCE``: builds the index and stops."""

from __future__ import annotations

from typing import Any

import click

from rofuse_mount.cli.declaring import Command, option
from rofuse_mount.cli.members import source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options


@click.command("index", cls=Command, short_help="Build or refresh the index of an archive, and stop.")
@source_argument
@option("--force", is_flag=True, help="Build it anew even if it is fresh.")
@source_options
def COMMAND(source: str, force: bool, **options: Any) -> None:
    """Build or refresh the index of the archive SOURCE, and stop: its next mount starts at once.

    Of a directory: save what it is now, for mounts with --saved and 'verify --saved'.
    """
    if options["no_index"]:
        raise click.UsageError("an index that is not kept is of no use; leave out --no-index")
    opened = open_source(source, options, keep=True, rebuild=force)
    opened.tell(source, options | {"verbose": True})
