"""Mounting as a mount's options say, for whatever is to serve it."""

from __future__ import annotations

from rofuse_mount import mounting
from rofuse_mount.records import MountOptions


def attach(
    path: mounting.Path, options: MountOptions, *, nonempty: bool, auto_unmount: bool, make_mountpoint: bool
) -> tuple[mounting.Mount, bool]:
    """Mounts as the options say, for whatever is to serve it; also whether the mountpoint was made. Raises
    MountError."""
    made = make_mountpoint and mounting.make_mountpoint(path)
    try:
        mounted = mounting.mount(
            path,
            options.fsname or "rofuse",
            subtype=options.subtype or "rofuse",
            allow_other=options.allow_other,
            noexec=options.noexec,
            default_permissions=options.default_permissions,
            max_read=options.max_read or 0,
            auto_unmount=auto_unmount,
            nonempty=nonempty,
            direct=options.direct_mount,
        )
    except BaseException:
        if made:
            mounting.remove_mountpoint(path)
        raise
    return mounted, made
