"""``rofuse-mount dump SOURCE``: the image as text."""

from __future__ import annotations

import sys
from typing import Any

import click

from rofuse_formats.image.dump import dump
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Command
from rofuse_mount.cli.members import source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options


@click.command("dump", cls=Command, short_help="Write an archive's inode image as text.")
@source_argument
@source_options
def COMMAND(source: str, **options: Any) -> None:
    """Write the inode image of the archive SOURCE as text, one line a name (rofuse-dump(5))."""
    opened = open_source(source, options)
    opened.tell(source, options)
    try:
        sys.stdout.writelines(dump(opened.archive.image))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise outcome.cannot_write(error) from error
