"""A server under a supervisor, and a mount that has one: the library's way to a mount that does not die.

    supervisor = supervised.mount(path, filesystem, options)
    supervisor.begin()                # raises StartError; the mount is usable when it returns
    supervisor.run_until_signal()     # returns when it was unmounted

Each server is a fork of the supervising process and has the filesystem as it was at that moment, so what a filesystem
hands out (inode numbers, offsets, file handles) must not depend on what a server did before.
"""

from __future__ import annotations

from collections.abc import Callable

from rofuse_mount import mounting
from rofuse_mount.attaching import attach
from rofuse_mount.backings import Backings, Slots
from rofuse_mount.device import Device
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.mounting.ending import Ending
from rofuse_mount.records import MountOptions
from rofuse_mount.server import ServeError, Server
from rofuse_mount.sharing import clone_multiple
from rofuse_mount.supervisor import Board, Post, Seat, StartError, Supervisor, forking

__all__ = ["StartError", "Supervisor", "mount", "serve"]


def serve(
    seat: Seat,
    filesystem: Filesystem,
    options: MountOptions | None = None,
    *,
    ending: Ending | None = None,
    on_ready: Callable[[], None] | None = None,
    on_told: Callable[[], None] | None = None,
    alone: bool = True,
    slots: Slots | None = None,
) -> int:
    """Serves from a supervisor's seat until the mount ends; returns the exit status of the process. ``on_ready`` is
    called when the mount is usable, before the supervisor is told, ``on_told`` after that, for what can wait.
    ``alone``: whether it goes on when the supervisor has died; else it ends the mount then. ``slots``: of files that
    are passed through, shared with its fellows and successors. For the main thread."""
    options = options or MountOptions()
    post = Post(seat, alone=alone)
    device = Device(seat.device)
    engine = Engine(filesystem, options, backing=Backings(device, slots))
    engine.exhausted = post.out_of_memory

    def ready() -> None:
        if on_ready is not None:
            on_ready()
        post.ready(engine.negotiated)
        if on_told is not None:
            on_told()

    try:
        if post.negotiated:
            engine.resume(post.negotiated)
        server = Server(device, engine, options, on_ready=ready, post=post, ending=ending)
        server.serve_until_signal()
    except (ServeError, OSError) as error:
        post.failed(1, str(error))
        return 1
    return 0


def mount(
    path: mounting.Path,
    filesystem: Filesystem,
    options: MountOptions | None = None,
    *,
    workers: int = 1,
    nonempty: bool = False,
    auto_unmount: bool = False,
    make_mountpoint: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Supervisor:
    """Mounts a filesystem to be served by ``workers`` processes. Nobody can use it until ``begin``. Raises
    MountError."""
    options = options or MountOptions()
    mounted, made = attach(
        path, options, nonempty=nonempty, auto_unmount=auto_unmount, make_mountpoint=make_mountpoint
    )
    ending = Ending.of(mounted, made=made)
    devices = devices_of(mounted.fd, workers)
    start = forking(lambda seat: serve(seat, filesystem, options, ending=ending))
    return Supervisor(devices, Board.create(), ending, start, log)


def devices_of(fd: int, workers: int) -> list[int]:
    """A descriptor of the connection for each worker."""
    return [fd, *clone_multiple(fd, workers - 1)]
