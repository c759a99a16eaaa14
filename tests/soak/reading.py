"""The tree that a soak reads, what reads it, and what readers and faults tell each other."""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.sharedctypes import Synchronized, SynchronizedArray
from pathlib import Path

READERS = 8
SMALL, LARGE = 300, 6  # files
_STEP = 1 << 17
_ERRORS = {
    errno.EIO,
    errno.ENOTCONN,
    errno.ECONNABORTED,
    errno.EMFILE,
    errno.ENOENT,
    errno.ESTALE,
    errno.ENOTDIR,
}


def tree() -> dict[str, int]:
    """Paths, and the size of each file."""
    chance = random.Random(1)
    files = {
        f"d{number % 20}/f{number}": int(chance.paretovariate(1) * 300) % 60_000 for number in range(SMALL)
    }
    files |= {f"large/l{number}": chance.randrange(1 << 19, 3 << 20) for number in range(LARGE)}
    return files | {"empty": 0, "huge": 12 << 20}


def content(path: str, size: int) -> bytes:
    """What a file holds: half of it noise, the other half the same again, so that it can be compressed."""
    noise = hashlib.shake_128(path.encode()).digest((size + 1) // 2)
    return (noise + noise)[:size]


class Shared:
    """What readers and faults tell each other. ``faults``: for each mount, odd while errors are to be expected."""

    def __init__(self, mounts: int) -> None:
        self.faults: SynchronizedArray[int] = multiprocessing.Array("Q", mounts)
        self.counts: SynchronizedArray[int] = multiprocessing.Array("Q", 5)
        self.alive: SynchronizedArray[float] = multiprocessing.Array("d", READERS)
        self.stop: Synchronized[bool] = multiprocessing.Value("b", False)


READS, BYTES, EXPECTED, UNEXPECTED, WRONG = range(5)


class Reader:
    """One of them: reads until it is told to stop."""

    def __init__(self, number: int, seed: int, mounts: list[Path], shared: Shared, log: Path) -> None:
        self.number, self.mounts, self.shared, self.log = number, mounts, shared, log
        self.chance = random.Random(seed * READERS + number)
        self.files = tree()
        self.folders = {os.path.dirname(path) for path in self.files} - {""}
        self.known: dict[str, bytes] = {}

    def run(self) -> None:
        stack = self.log.with_suffix(f".{self.number}").open("w")
        faulthandler.register(signal.SIGUSR1, stack)
        ways = (self.read_whole, self.read_whole, self.read_pieces, self.list_folder)
        while not self.shared.stop.value:
            mount = self.chance.randrange(len(self.mounts))
            before = self.shared.faults[mount]
            try:
                self.chance.choice(ways)(self.mounts[mount])
            except OSError as error:
                is_expected = before % 2 or self.shared.faults[mount] != before
                self.count(EXPECTED if is_expected and error.errno in _ERRORS else UNEXPECTED)
                if not (is_expected and error.errno in _ERRORS):
                    self.say(f"{error} on {self.mounts[mount].name}")
            self.count(READS)
            self.shared.alive[self.number] = time.monotonic()

    def count(self, which: int, number: int = 1) -> None:
        with self.shared.counts.get_lock():
            self.shared.counts[which] += number

    def say(self, line: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} reader {self.number}: {line}\n")

    def expected(self, path: str) -> bytes:
        if path not in self.known:
            self.known[path] = content(path, self.files[path])
        return self.known[path]

    def open(self, mount: Path) -> tuple[int, str]:
        path = self.chance.choice(list(self.files))
        fd = os.open(mount / path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # the server is to be asked, not the page cache
        return fd, path

    def read_whole(self, mount: Path) -> None:
        fd, path = self.open(mount)
        try:
            data, offset = self.expected(path), 0
            while piece := os.read(fd, _STEP):
                self.compare(mount, path, offset, piece, data[offset : offset + len(piece)])
                offset += len(piece)
            self.compare(mount, path, offset, b"", data[offset:])
        finally:
            os.close(fd)

    def read_pieces(self, mount: Path) -> None:
        fd, path = self.open(mount)
        try:
            data = self.expected(path)
            for _ in range(20):
                offset, size = self.chance.randrange(len(data) + 1), self.chance.choice((1, 4096, 100_000))
                wanted = data[offset : offset + size]
                self.compare(mount, path, offset, self.pread(fd, len(wanted), offset), wanted)
        finally:
            os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """All of it: a read that meets an error on its way gives what comes before that."""
        found = b""
        while len(found) < size and (piece := os.pread(fd, size - len(found), offset + len(found))):
            found += piece
        return found

    def list_folder(self, mount: Path) -> None:
        folder = self.chance.choice(list(self.folders))
        found = {entry.name: entry.stat().st_size for entry in os.scandir(mount / folder)}
        wanted = {
            os.path.basename(path): size
            for path, size in self.files.items()
            if os.path.dirname(path) == folder
        }
        if found != wanted:
            self.count(WRONG)
            self.say(f"WRONG listing of {folder} on {mount.name}: {len(found)} entries of {len(wanted)}")

    def compare(self, mount: Path, path: str, offset: int, found: bytes, wanted: bytes) -> None:
        self.count(BYTES, len(found))
        if found != wanted:
            self.count(WRONG)
            self.say(f"WRONG bytes of {path} on {mount.name}: {len(found)} at {offset}, {len(wanted)} wanted")


class Fault:
    """A time in which a mount may give errors."""

    def __init__(self, shared: Shared, number: int) -> None:
        self._faults, self._number = shared.faults, number

    def __enter__(self) -> None:
        self._faults[self._number] += 1

    def __exit__(self, *exception: object) -> None:
        time.sleep(0.5)  # what was asked in it is answered
        self._faults[self._number] += 1
