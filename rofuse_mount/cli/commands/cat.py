"""``rofuse-mount cat SOURCE PATH...``"""

from __future__ import annotations

import os
from errno import EFAULT
from typing import Any

import click

from rofuse_formats import Archive
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.names import regular
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Command
from rofuse_mount.cli.members import Members, paths_argument, source_argument
from rofuse_mount.cli.opening import open_to_read
from rofuse_mount.cli.parameters import source_options

_STEP = 1 << 20
_STANDARD_OUTPUT = 1


@click.command("cat", cls=Command, short_help="Write files of an archive to standard output.")
@source_argument
@paths_argument(required=True)
@source_options
def COMMAND(source: str, paths: tuple[str, ...], **options: Any) -> int:
    """Write the files PATH of the archive SOURCE to standard output, one after the other.

    PATH may be a pattern ('var/log/*.log'). A symbolic link stands for the file that it leads to in the archive.
    """
    opened = open_to_read(source, options)
    opened.tell(source, options)
    members = Members(opened.archive, source)
    for path, _node in members.find(paths, follow=True):
        shown = outcome.show(os.fsdecode(path))
        try:
            _found, node = regular(opened.archive, path)
            _write(opened.archive, node)
        except FormatError as error:
            members.complain(type(error)(f"{shown}: {error}"))
        except BrokenPipeError:
            raise
        except OSError as error:
            members.complain(error)
    return members.status


def _write(archive: Archive, node: int) -> None:
    offset, size = 0, archive.image.size[node - 1]
    while offset < size:
        pieces = archive.read(node, offset, _STEP)
        if not pieces:
            raise DamagedError("the archive ends before the data of this member")
        try:
            offset += os.writev(_STANDARD_OUTPUT, pieces)
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno != EFAULT:
                raise outcome.cannot_write(error) from error
            raise DamagedError("the archive has become shorter since it was opened") from error
