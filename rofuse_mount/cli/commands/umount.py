"""``rofuse-mount umount MOUNTPOINT...``"""

from __future__ import annotations

import os

import click

from rofuse_mount import mounting, runtime
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Command, completes, option

_MOMENT = 1.0
"""Seconds that it waits at most for all of a mount to go: the directory that was made for it, and what its server has
open, such as an archive on another mount that is taken off next."""


@click.command("umount", cls=Command, short_help="Take mounts off (also: -u, umount(8), fusermount3 -u).")
@click.argument(
    "mountpoints", nargs=-1, required=True, metavar="MOUNTPOINT...", shell_complete=completes("mountpoints")
)
@option("--wait", is_flag=True, help="Return only when the server has ended.")
@option("-l", "--lazy", is_flag=True, help="Detach a busy mount; it ends when its last user is gone.")
@option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def COMMAND(mountpoints: tuple[str, ...], wait: bool, lazy: bool, quiet: bool) -> int:
    """Take mounts of rofuse-mount off. A dead one, whose server is gone, is cleared."""
    status = 0
    for mountpoint in mountpoints:
        try:
            _unmount(mountpoint, wait, lazy)
        except mounting.MountError as error:
            outcome.say(str(error))
            status = outcome.status_of(error)
    return status


def _unmount(mountpoint: str, wait: bool, lazy: bool) -> None:
    path, entry = mounting.find_mount(mountpoint)
    farewell, fstype = None, None
    if entry is not None:
        user = next((int(o[8:]) for o in entry.super_options if o.startswith(b"user_id=")), os.getuid())
        if runtime.read(entry.minor, user) is not None:
            fstype = entry.fstype  # ours, whatever -o subtype made of its type
            farewell = runtime.Farewell(entry.minor, user) if wait or not lazy else None
        elif entry.fstype.startswith(b"fuse") and mounting.is_dead(path):
            fstype, lazy = entry.fstype, True
    if fstype is None:
        mounting.unmount(mountpoint, lazy=lazy)
    else:
        mounting.unmount(mountpoint, lazy=lazy, fstype=fstype)
    if farewell is not None:
        farewell.wait(None if wait else _MOMENT)
