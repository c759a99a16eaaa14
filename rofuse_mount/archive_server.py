"""The server of an archive under a supervisor: from what is written down of it, and open descriptors.

Strategy
What a mount was asked to be is a ``Spec``: plain values and the numbers of descriptors (the archive, its index, the
log). The first server is a fork of the process that mounted and has all this at hand. Every later one is a program of
its own, ``python -m rofuse_mount.archive_server SPEC SEAT``, that reads the spec from a memory file and goes on where
the last one ended: the same bytes of the same archive, whatever lies at its path by now.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rofuse_formats import Archive, Limits, ScanOptions, Settings, cache
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import FormatError
from rofuse_formats.index import Index
from rofuse_formats.opening import open_spool
from rofuse_formats.source import FileSource, JoinedSource, StoredSource
from rofuse_mount import logs, supervised
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.backings import SharedSlots
from rofuse_mount.memory import bound_memory, keep_one_heap
from rofuse_mount.mounting.ending import Ending
from rofuse_mount.owner_only import OwnerOnlyFilesystem
from rofuse_mount.records import MountOptions
from rofuse_mount.supervisor import Post, Seat
from rofuse_mount.view import View

_PLAIN = ("strict", "spool", "spool_limit", "salvage", "follow")  # of Settings
COMMAND = (sys.executable, "-P", "-m", "rofuse_mount.archive_server")


class Spec:
    """A mount of an archive, written down. Every attribute is what JSON can hold."""

    __slots__ = (
        "archive",
        "backings",
        "ending",
        "index",
        "index_path",
        "log",
        "named",
        "options",
        "owner_only",
        "parts",
        "pids",
        "points",
        "settings",
        "source",
        "spool",
        "view",
        "workers",
    )

    def __init__(self, **values: Any) -> None:
        self.source: str = values["source"]
        self.archive: int = values["archive"]  # descriptors; -1 for an archive in parts
        self.backings: int = values.get("backings", -1)  # of a directory's files; -1 for any other archive
        self.index: int = values["index"]
        self.spool: int = values["spool"]  # -1 for none
        self.index_path: str | None = values["index_path"]
        self.named: bool = values["named"]  # whether ``source`` leads to the archive
        self.settings: dict[str, Any] = values["settings"]
        self.view: dict[str, Any] = values["view"]  # arguments of View; subdir as text
        self.owner_only: bool = values["owner_only"]
        self.options: dict[str, Any] = values["options"]  # arguments of MountOptions
        self.log: dict[str, Any] = values["log"]  # arguments of logs.configure; the descriptor is -1 for none
        self.workers: int = values["workers"]
        self.points: str | None = values.get("points")  # where seek points of members are kept
        self.ending: dict[str, Any] = values.get("ending") or {}
        self.pids: int = values.get("pids", 0)  # the namespace whose numbers the kernel tells
        self.parts: list[tuple[str, int]] = [(path, fd) for path, fd in values.get("parts") or ()]

    def write(self) -> int:
        """As a memory file; its descriptor."""
        fd = os.memfd_create("rofuse-spec", os.MFD_CLOEXEC)
        text = json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()
        os.write(fd, text)
        return fd

    @classmethod
    def read(cls, fd: int) -> Spec:
        return cls(**json.loads(os.pread(fd, os.fstat(fd).st_size, 0)))

    def descriptors(self) -> list[int]:
        """What servers need besides their seat."""
        archives = [fd for _path, fd in self.files()]
        others = self.index, self.spool, self.backings, self.log["fd"]
        return [fd for fd in (*archives, *others) if fd >= 0]

    def files(self) -> list[tuple[str, int]]:
        """The files that the archive lies in, each with its descriptor."""
        return self.parts or [(self.source, self.archive)]

    def hand_over(self, descriptors: Mapping[int, int]) -> Spec:
        """The same mount, where its descriptors have other numbers."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name in ("archive", "index", "spool", "backings"):
            values[name] = descriptors.get(values[name], -1)
        values["parts"] = [(path, descriptors[fd]) for path, fd in self.parts]
        return Spec(**values)

    def open(self, *, fresh: bool = False) -> Archive:
        """The archive, from its descriptors. ``fresh``: refuse an index that is not this archive's as it is now.
        Raises FormatError, OSError."""
        source = self._source()
        settings = load_settings(self.settings)
        index = Index(self.index)
        if fresh:
            reason = cache.staleness(index, source, settings.lasting())
            if reason:
                raise FormatError(reason)
        spool = open_spool(index, self.spool)
        return Archive(source, index, settings, self.index_path, spool, self.points)

    def _source(self) -> StoredSource:
        if self.archive >= 0 and stat.S_ISDIR(os.fstat(self.archive).st_mode):
            return DirectorySource(self.source, self.archive, named=self.named)
        files = [FileSource(path, fd, named=self.named) for path, fd in self.files()]
        if not self.parts:
            return files[0]
        return JoinedSource(files, self.source, os.path.basename(os.fsencode(self.source)))

    def filesystem(self, archive: Archive) -> ArchiveFilesystem:
        """Raises NotADirectoryError where ``subdir`` is none of the archive."""
        view = View(**self.view | {"subdir": os.fsencode(self.view["subdir"])})
        if archive.files is not None:
            from rofuse_mount.directory_fs import DirectoryFilesystem, OwnerOnlyDirectory

            return (OwnerOnlyDirectory if self.owner_only else DirectoryFilesystem)(archive, view, log=_warn)
        kind = OwnerOnlyFilesystem if self.owner_only else ArchiveFilesystem
        filesystem = kind(archive, view, log=_warn)
        filesystem.knows_readers = self.pids == pid_namespace()
        return filesystem

    def slots(self) -> SharedSlots | None:
        """Of files that are passed through."""
        return SharedSlots(self.backings) if self.backings >= 0 else None

    def mount_options(self) -> MountOptions:
        return MountOptions(**self.options)

    def configure_log(self) -> None:
        fd = self.log["fd"]
        logs.configure(**self.log | {"fd": os.dup(fd) if fd >= 0 else None})


def dump_settings(settings: Settings) -> dict[str, Any]:
    scan = {name: getattr(settings.scan, name) for name in ScanOptions.__slots__}
    password = settings.scan.password
    return {
        "scan": scan | {"password": password.decode("latin-1") if password is not None else None},
        "limits": {name: getattr(settings.limits, name) for name in Limits.__slots__},
        **{name: getattr(settings, name) for name in _PLAIN},
    }


def load_settings(known: dict[str, Any]) -> Settings:
    plain = {name: known[name] for name in _PLAIN}
    scan, password = dict(known["scan"]), known["scan"]["password"]
    scan["password"] = password.encode("latin-1") if password is not None else None
    return Settings(ScanOptions(**scan), Limits(**known["limits"]), **plain)


def pid_namespace() -> int:
    """What tells this process's from any other; -1 where that cannot be known."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return -1


def identity(descriptors: Iterable[int]) -> list[int]:
    """What tells an archive, as it is now, from any other: four numbers for each of its files. A directory is the same
    whatever becomes of it."""
    found: list[int] = []
    for status in map(os.fstat, descriptors):
        changing = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
        found += (status.st_dev, status.st_ino, *changing)
    return found


def lasting(spec: Spec, *held: int) -> dict[str, Any]:
    """The part of a lean supervisor's state that says how later servers are started. ``held``: descriptors that they
    hold and do not use, -1 for none."""
    number = spec.write()
    return {
        "command": list(COMMAND),
        "path": python_path(),
        "spec": number,
        "keep": [number, *spec.descriptors(), *(fd for fd in held if fd >= 0)],
    }


def python_path() -> list[str]:
    """Where these packages are imported from."""
    import rofuse_formats
    import rofuse_mount

    files = [os.path.abspath(package.__file__ or "") for package in (rofuse_mount, rofuse_formats)]
    return [os.path.dirname(os.path.dirname(file)) for file in files]


def serve(seat: Seat, spec: Spec, filesystem: ArchiveFilesystem, **arguments: Any) -> int:
    """Serves until the mount ends; returns the process's exit status. ``arguments`` of ``supervised.serve``."""
    keep_one_heap()
    most = load_settings(spec.settings).limits.max_memory
    if most is not None:
        bound_memory(most)
    ending = Ending.from_json(spec.ending)
    options, slots = spec.mount_options(), spec.slots()
    return supervised.serve(seat, filesystem, options, ending=ending, slots=slots, **arguments)


def main(words: list[str]) -> int:
    """``words``: the spec's descriptor, and a seat."""
    seat = Seat(*map(int, words[1:]))
    spec = Spec.read(int(words[0]))
    for fd in (int(words[0]), *spec.descriptors(), seat.device, seat.board, seat.channel):
        os.set_inheritable(fd, False)
    try:
        spec.configure_log()
        filesystem = spec.filesystem(spec.open())
    except (FormatError, OSError) as error:
        Post(seat).failed(1, str(error))
        return 1
    return serve(seat, spec, filesystem)


def _warn(line: str) -> None:
    import logging

    logging.getLogger("rofuse_mount").warning("%s", line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
