"""``rofuse-mount takeover MOUNTPOINT``"""

from __future__ import annotations

import json
import os
from typing import Any

import click

from rofuse_formats.errors import FormatError
from rofuse_mount import archive_server, runtime
from rofuse_mount.cli import live, outcome
from rofuse_mount.cli.declaring import Command, completes, option

_SECONDS = 90.0
_MESSAGE_MAX = 1 << 16


@click.command(
    "takeover", cls=Command, short_help="Replace the server of a live mount, with no request lost."
)
@click.argument("mountpoint", metavar="MOUNTPOINT", shell_complete=completes("mountpoints"))
@option("-s", "--single-thread", is_flag=True, help="Serve with one thread.")
@option("--threads", type=click.IntRange(1, 64), metavar="N", help="Serving threads [as before].")
@option("-v", "--verbose", is_flag=True, help="Log what is done.")
def COMMAND(mountpoint: str, single_thread: bool, threads: int | None, verbose: bool) -> None:
    """Replace the server of the live mount at MOUNTPOINT by one of this version of the program.

    Who reads from the mount notices nothing. Refused for another user's mount, and when the archive, or its index, is
    no longer the one that was mounted.
    """
    mount = live.at(mountpoint)
    if mount.uid != os.getuid():
        raise outcome.Failure(f"{outcome.show(mountpoint)} is a mount of another user", outcome.NOT_PERMITTED)
    facts, descriptors = live.request_spec(mount)
    spec = _checked(mountpoint, facts, dict(zip(facts["keep"], descriptors, strict=True)))
    if threads or single_thread:
        spec.options["threads"] = 1 if single_thread else threads
    spec.log["verbose"] = verbose or spec.log["verbose"]
    failure = _request(mount, spec)
    if failure:
        raise outcome.Failure(
            f"{outcome.show(mountpoint)}: not taken over, it is served as before: {failure}"
        )


def _checked(mountpoint: str, facts: dict[str, Any], passed: dict[int, int]) -> archive_server.Spec:
    """The spec of the mount; the archive is opened as a new server will. Raises Failure."""
    shown = outcome.show(mountpoint)
    spec = archive_server.Spec.read(passed[facts["spec"]])
    try:
        handed = spec.hand_over(passed)
        now = archive_server.identity(fd for _path, fd in handed.files())
        if now != facts["identity"]:
            raise FormatError("the archive has changed since it was mounted")
        if spec.named and not _is_covered(spec.source, facts["mountpoint"]):
            for number, (path, _fd) in enumerate(spec.files()):
                _compare(path, now[4 * number : 4 * number + 2])
        handed.filesystem(handed.open(fresh=True))
    except (FormatError, OSError) as error:
        raise outcome.Failure(
            f"{shown}: not taken over: {outcome.describe(error)}; unmount it and mount it again"
        ) from error
    return spec


def _is_covered(source: str, mountpoint: str) -> bool:
    """Whether the mount lies over its own source: then what is at that path says nothing, and is not to be asked."""
    return os.path.isabs(source) and os.path.commonpath((source, mountpoint)) == mountpoint


def _compare(path: str, identity: list[int]) -> None:
    """Whether another file lies at the path by now; one that was deleted is served on."""
    try:
        status = os.stat(path)
    except OSError:
        return
    if [status.st_dev, status.st_ino] != identity:
        raise FormatError(f"another file is at {outcome.show(path)} now")


def _request(mount: live.LiveMount, spec: archive_server.Spec) -> str:
    """Why it was refused, or nothing."""
    command = {"command": list(archive_server.COMMAND), "path": archive_server.python_path()}
    connection = runtime.ask(
        mount.minor, b"takeover " + json.dumps(command).encode(), mount.uid, spec.write()
    )
    if connection is None:
        return "its supervisor does not answer"
    with connection:
        connection.settimeout(_SECONDS)
        try:
            return connection.recv(_MESSAGE_MAX).decode("utf-8", "replace")
        except TimeoutError:
            return "the new server does not become ready"
