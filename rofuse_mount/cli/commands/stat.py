"""``rofuse-mount stat SOURCE PATH...``"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

import click

from rofuse_formats.entry import Time
from rofuse_formats.names import stored, type_of
from rofuse_mount.cli.declaring import Command, option
from rofuse_mount.cli.describing import ROOT_PATH, Describer, decimal, moment
from rofuse_mount.cli.members import Members, json_option, paths_argument, source_argument
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.screen import Screen
from rofuse_mount.cli.sizes import readable


@click.command("stat", cls=Command, short_help="Show all that an archive says of a member.")
@source_argument
@paths_argument()
@option("-L", "--dereference", "follow", is_flag=True, help="Of a symbolic link: what it leads to.")
@json_option
@source_options
def COMMAND(source: str, paths: tuple[str, ...], follow: bool, as_json: bool, **options: Any) -> int:
    """Show all that the archive SOURCE says of each PATH, or of its root. PATH may be a pattern."""
    opened = open_source(source, options, later=True)
    opened.tell(source, options)
    members, describer = Members(opened.archive, source), Describer(opened.archive)
    with Screen() as screen:
        for number, (path, node) in enumerate(members.find(paths or ("/",), follow=follow)):
            if as_json:
                screen.line(describer.object_with_xattrs(path, node))
            else:
                screen.lines([""] * (number > 0))
                screen.lines(
                    f"{key + ':':<10}{value}" for key, value in _facts(screen, describer, path, node)
                )
    return members.status


def _facts(screen: Screen, describer: Describer, path: bytes, node: int) -> Iterator[tuple[str, str]]:
    image, row = describer.image, node - 1
    mode, owner = image.mode[row], image.owner[row]
    yield "path", screen.name(path or ROOT_PATH, mode)
    yield "type", type_of(mode)
    if stat.S_ISLNK(mode):
        yield "target", screen.name(describer.archive.target(node))
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        yield "device", describer.size(node, human=False)
    if stat.S_ISREG(mode):
        yield "size", _bytes(image.size[row])
        known = stored(describer.archive, node)
        if known is not None:
            yield "stored", _bytes(known)
    yield "mode", f"{stat.S_IMODE(mode):04o} ({stat.filemode(mode)})"
    names = zip((image.uid[owner], image.gid[owner]), image.owner_names(owner), strict=True)
    user, group = (f"{number} ({screen.name(name)})" if name else str(number) for number, name in names)
    yield "owner", user
    yield "group", group
    yield "modified", _time(Time(image.mtime[row], image.mtime_ns[row]))
    for key, time in zip(("accessed", "changed", "born"), image.times(node), strict=True):
        if time is not None:
            yield key, _time(time)
    yield "inode", f"{node}, {image.nlink[row]} link{'s' * (image.nlink[row] != 1)}"
    for name, value in image.xattrs(node):
        yield "xattr", f"{screen.name(name)}={screen.name(value)}"


def _bytes(size: int) -> str:
    return f"{size} ({readable(size)})" if size >= 1024 else str(size)


def _time(time: Time) -> str:
    return f"{moment(time.seconds)} ({decimal(*time)})"
