"""Mounts archives, and read-only filesystems of one's own, speaking the kernel's FUSE protocol itself.

The library: subclass ``Filesystem``, ``mount()`` it, ``serve()``; what holds for all of its methods says
``help(rofuse_mount.filesystem)``. The records it deals in: ``Attr``, ``Entry``, ``DirEntry``, ``DirEntryPlus``,
``OpenResponse``, ``StatFS``, ``Statx``, ``ForgetEntry``, ``Config``, ``Context``, ``FileHandle``, ``MountOptions``.
Several processes serve one mount by means of ``rofuse_mount.sharing``. What can go wrong with a mount:
``MountError``, its kin in ``rofuse_mount.mounting``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rofuse_mount.filesystem import (
        ROOT_INODE,
        Attr,
        Config,
        Context,
        DirEntry,
        DirEntryPlus,
        Entry,
        FileHandle,
        Filesystem,
        ForgetEntry,
        MountOptions,
        OpenResponse,
        StatFS,
        Statx,
    )
    from rofuse_mount.mounting import MountError
    from rofuse_mount.server import ServeError, Server, mount

__version__ = "0.1.0"

__all__ = [
    "ROOT_INODE",
    "Attr",
    "Config",
    "Context",
    "DirEntry",
    "DirEntryPlus",
    "Entry",
    "FileHandle",
    "Filesystem",
    "ForgetEntry",
    "MountError",
    "MountOptions",
    "OpenResponse",
    "ServeError",
    "Server",
    "StatFS",
    "Statx",
    "mount",
]


# Where the names are that are not in ``filesystem``.
_HOMES = {"MountError": "mounting", "ServeError": "server", "Server": "server", "mount": "server"}


def __getattr__(name: str) -> object:
    # Imported on first use: a command that only inspects an archive starts without the protocol engine.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'filesystem')}"), name)
    return found


def __dir__() -> list[str]:  # what help() and completion show
    return sorted({*globals(), *__all__})
