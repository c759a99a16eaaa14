"""Ending a mount, and leaving nothing of it: by whoever is responsible for it when its time comes.

Politely first: a mount that nobody uses is taken off. One that is in use is detached from the tree and its connection
aborted, so that its users get errors and not an endless wait. It can be written down (``to_json``), so that another
process can end what this one has mounted.

Rules
- Not by a process that a serving thread of the same mount waits for: it answers while this takes it off.
- Twice is as good as once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rofuse_mount import mountinfo, runtime
from rofuse_mount.mounting import kernel
from rofuse_mount.mounting.errors import MountError

if TYPE_CHECKING:
    from rofuse_mount.mounting import Mount

_POLITE_SECONDS, _ABORTED_SECONDS = 5.0, 0.5


class Ending:
    """What a mount leaves to be done. ``made``: its directory goes with it; ``files``: its registration's
    (``runtime``), which go too; ``guard``: the pid and the socket of an auto_unmount helper, (0, -1) without."""

    def __init__(
        self,
        mountpoint: bytes,
        fstype: bytes,
        minor: int | None,
        *,
        made: bool = False,
        files: Sequence[tuple[str, int]] = (),
        guard: tuple[int, int] = (0, -1),
    ) -> None:
        self.mountpoint, self.fstype, self.minor = mountpoint, fstype, minor
        self.made, self.files, self.guard = made, files, guard

    @classmethod
    def of(cls, mounted: Mount, *, made: bool = False) -> Ending:
        """Takes over the mount's guard."""
        guard = (0, -1) if mounted.guard is None else mounted.guard.release()
        mounted.guard = None
        return cls(mounted.mountpoint, mounted.fstype, mounted.minor, made=made, guard=guard)

    def to_json(self) -> dict[str, Any]:
        return {
            "mountpoint": os.fsdecode(self.mountpoint),
            "fstype": os.fsdecode(self.fstype),
            "minor": self.minor,
            "made": self.made,
            "files": list(self.files),
            "guard": list(self.guard),
        }

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> Ending:
        return cls(
            os.fsencode(known["mountpoint"]),
            os.fsencode(known["fstype"]),
            known["minor"],
            made=known["made"],
            files=[(path, inode) for path, inode in known["files"]],
            guard=(known["guard"][0], known["guard"][1]),
        )

    def is_mounted(self) -> bool:
        """Whether the mount is still what is seen at its mountpoint."""
        entry = mountinfo.find(self.mountpoint)
        return entry is not None and entry.minor == self.minor and entry.fstype == self.fstype

    def take_off(self, warn: Callable[[str], None]) -> float:
        """Takes the mount off; returns the seconds to leave its servers for their last replies."""
        from rofuse_mount.mounting import unmount

        try:
            if self.is_mounted():
                unmount(self.mountpoint, fstype=self.fstype)
        except MountError as error:
            warn(f"{error}; it is detached, and its users get errors")
            self.detach(warn)
            return _ABORTED_SECONDS
        return _POLITE_SECONDS

    def detach(self, warn: Callable[[str], None]) -> None:
        """Ends it whoever uses it, as far as that is permitted."""
        from rofuse_mount.mounting import unmount

        try:
            if self.is_mounted():
                unmount(self.mountpoint, lazy=True, fstype=self.fstype)
        except MountError as error:
            warn(str(error))
        if self.minor is not None:
            kernel.abort(self.minor)

    def clean_up(self, warn: Callable[[str], None]) -> None:
        """What remains to be done when nobody serves any more. Call it once."""
        from rofuse_mount.mounting import made_here

        if self.is_mounted():  # aborted, or never usable: a dead mount
            self.detach(warn)
        if self.minor is not None:
            made_here.discard(self.minor)
        pid, channel = self.guard
        if channel >= 0:
            os.close(channel)
        if pid:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:  # another process's child
                pass
        if self.made:
            try:
                os.rmdir(self.mountpoint)
            except OSError:
                pass  # somebody uses or has filled it: it stays
        runtime.forget(self.files)
