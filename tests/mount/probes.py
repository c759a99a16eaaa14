"""What no tool asks of a mount: system calls made by a process of its own, so that a server that hangs fails one test.

``ask("seeks", path, 100)`` runs the function of that name in another process and returns what it returned.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 60.0

_HANDLE = struct.Struct("Ii")  # struct file_handle: bytes, type; then the handle
_HANDLE_MAX = 128
_AT_FDCWD = -100
_DROP = "/proc/sys/vm/drop_caches"


def ask(probe: str, *arguments: object, seconds: float = SECONDS) -> Any:
    """What the probe returned, as JSON has it. Fails with what it said when it failed."""
    return collect(start(probe, *arguments), seconds)


def start(probe: str, *arguments: object) -> subprocess.Popen[str]:
    """A probe that runs; ``collect`` gives its result."""
    command = [sys.executable, "-m", "tests.mount.probes", probe, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def collect(process: subprocess.Popen[str], seconds: float = SECONDS) -> Any:
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, err
    return json.loads(out)


# --- directories ----------------------------------------------------------------------------


class _Directory:
    """A directory as C programs read it: opendir(3) and its kin, whose positions are the server's offsets."""

    def __init__(self, path: str) -> None:
        self.libc = libc = ctypes.CDLL(None, use_errno=True)
        libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
        libc.telldir.restype = ctypes.c_long
        libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
        libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self.stream = libc.opendir(os.fsencode(path))
        assert self.stream, os.strerror(ctypes.get_errno())

    def next(self) -> tuple[str, int] | None:
        """The next name and the d_off behind it; None at the end."""
        ctypes.set_errno(0)
        entry = self.libc.readdir(self.stream)
        if not entry:
            assert not ctypes.get_errno(), os.strerror(ctypes.get_errno())
            return None
        _, offset, _, _ = struct.unpack("QqHB", ctypes.string_at(entry, 19))  # struct dirent
        return os.fsdecode(ctypes.string_at(entry + 19)), offset

    def tell(self) -> int:
        position: int = self.libc.telldir(self.stream)
        return position

    def seek(self, position: int) -> None:
        self.libc.seekdir(self.stream, position)


def seeks(path: str, step: str, drops: str) -> dict[str, object]:
    """Reads a directory through, then goes back to every ``step``-th position in random order, ``drops`` times with
    all caches dropped. Returns the number of names, of different offsets and what was read at the wrong place."""
    directory = _Directory(path)
    names: list[str] = []
    offsets: list[int] = []
    positions = [directory.tell()]
    while (entry := directory.next()) is not None:
        names.append(entry[0])
        offsets.append(entry[1])
        positions.append(directory.tell())
    places = list(range(0, len(names), int(step)))
    random.Random(1).shuffle(places)
    often = max(1, len(places) // int(drops))
    wrong: list[object] = []
    for number, place in enumerate(places):
        if number % often == 0:
            drop_caches()
        directory.seek(positions[place])
        found = [directory.next() for _ in range(2)]
        expected = [*zip(names, offsets, strict=True), None][place : place + 2]
        if found != expected:
            wrong.append([place, found, expected])
    return {"names": names, "offsets": len(set(offsets)), "seeks": len(places), "wrong": wrong}


def drop_caches() -> None:
    with open(_DROP, "w") as file:
        file.write("3")


# --- file handles ---------------------------------------------------------------------------


def handles(mountpoint: str, *paths: str) -> dict[str, dict[str, object]]:
    """Takes handles of files and directories of a mount, drops all caches, opens them by handle, and says what is
    then open: its inode number, type and first bytes."""
    libc = ctypes.CDLL(None, use_errno=True)
    taken: list[tuple[str, bytes]] = []
    for path in paths:
        buffer = ctypes.create_string_buffer(_HANDLE.pack(_HANDLE_MAX, 0), _HANDLE.size + _HANDLE_MAX)
        mount_id = ctypes.c_int()
        name = os.fsencode(os.path.join(mountpoint, path))
        if libc.name_to_handle_at(_AT_FDCWD, name, buffer, ctypes.byref(mount_id), 0):
            raise OSError(ctypes.get_errno(), "name_to_handle_at", path)
        taken.append((path, buffer.raw))
    drop_caches()
    top = os.open(mountpoint, os.O_RDONLY)
    found: dict[str, dict[str, object]] = {}
    for path, handle in taken:
        fd = libc.open_by_handle_at(top, handle, os.O_RDONLY)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "open_by_handle_at", path)
        status = os.fstat(fd)
        directory = os.path.isdir(f"/proc/self/fd/{fd}")
        content = sorted(os.listdir(fd)) if directory else os.read(fd, 100).decode()
        found[path] = {"ino": status.st_ino, "mode": status.st_mode, "content": content}
        os.close(fd)
    return found


# --- attributes and data --------------------------------------------------------------------


def getxattr(path: str, name: str, size: str) -> int | str:
    """What getxattr(2) returns for a buffer of that size; the error's name where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    got: int = libc.getxattr(os.fsencode(path), name.encode(), bytes(int(size)) or None, int(size))
    return got if got >= 0 else _name(ctypes.get_errno())


def listxattr(path: str, size: str) -> int | str:
    """As ``getxattr``, listxattr(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    got: int = libc.listxattr(os.fsencode(path), bytes(int(size)) or None, int(size))
    return got if got >= 0 else _name(ctypes.get_errno())


def runs(path: str) -> list[list[int]]:
    """Where data is in a file: SEEK_DATA and SEEK_HOLE from its beginning to its end."""
    fd = os.open(path, os.O_RDONLY)
    size, found, position = os.fstat(fd).st_size, [], 0
    while position < size:
        try:
            begin = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            assert _name(error.errno) == "ENXIO", error
            break
        position = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append([begin, position])
    return found


def beyond(path: str) -> list[str]:
    """The errors of SEEK_DATA and SEEK_HOLE at the end of a file."""
    fd = os.open(path, os.O_RDONLY)
    return [_error(os.lseek, fd, os.fstat(fd).st_size, whence) for whence in (os.SEEK_DATA, os.SEEK_HOLE)]


def ioctl(path: str, number: str) -> str:
    """The error of an ioctl(2)."""
    from fcntl import ioctl as call

    return _error(call, os.open(path, os.O_RDONLY), int(number), bytes(64))


def statfs(path: str) -> dict[str, int]:
    found = os.statvfs(path)
    names = [name for name in dir(found) if name.startswith("f_")]
    return {name: getattr(found, name) for name in names}


def opening(path: str, flags: str) -> str:
    """The error of open(2); empty where it opens."""
    return _error(os.open, path, int(flags))


def reading(path: str) -> str:
    """The error of opening and reading a file; empty where all of it can be read."""
    return _error(Path(path).read_bytes)


def _error(call: Callable[..., object], *arguments: object) -> str:
    try:
        call(*arguments)
    except OSError as error:
        return _name(error.errno)
    return ""


def _name(number: int | None) -> str:
    from errno import errorcode

    return errorcode[number or 0]


# --- many at once ---------------------------------------------------------------------------


def compare(original: str, copy: str, seed: str, seconds: str) -> dict[str, object]:
    """Reads and stats files of two trees at random until the time is over; what differs is returned."""
    chance = random.Random(int(seed))
    files = sorted(
        os.path.relpath(os.path.join(folder, name), original)
        for folder, _, names in os.walk(original)
        for name in names
    )
    end = time.monotonic() + float(seconds)
    done, wrong = 0, []
    while time.monotonic() < end:
        path = chance.choice(files)
        place = chance.random()
        here, there = (_look(os.path.join(tree, path), place) for tree in (original, copy))
        done += 1
        if here != there:
            wrong.append([path, place])
    return {"done": done, "wrong": wrong}


def _look(path: str, place: float) -> tuple[object, ...]:
    """A stat and a read of up to 200,000 bytes at some place of a file."""
    status = os.stat(path)
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), 1 + int(place * 200_000), int(place * 7919 % 1 * status.st_size))
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # next time it is asked for again
    return status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink, status.st_uid, data


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
