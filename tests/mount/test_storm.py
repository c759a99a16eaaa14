"""Four readers of the command's mounts, and servers that are killed or replaced under them: nobody notices.

ROFUSE_STORM says how often (default 10 times each).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount.command import Rofuse, rofuse

__all__ = ["rofuse"]

TIMES = int(os.environ.get("ROFUSE_STORM", "10"))
FILES, FILE_SIZE = 60, 300_000
STORED_SIZE = 24 << 20

STORED = """
while :; do
    dd if={mnt}/big of=/dev/null iflag=nocache count=0 status=none
    cmp {mnt}/big {original} || exit 1
    test -e {stop} && exit 0
done
"""
SUMS = "while :; do (cd {mnt} && sha256sum --quiet -c {sums}) || exit 1; test -e {stop} && exit 0; done"
FIND = "while :; do find {mnt} -ls | wc -l | grep -qx {count} || exit 1; test -e {stop} && exit 0; done"
PREADS = """
import os, random, sys
path, original, stop = sys.argv[1:]
wanted = open(original, "rb").read()
fd = os.open(path, os.O_RDONLY)
while not os.path.exists(stop):
    offset = random.randrange(len(wanted))
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.pread(fd, 4096, offset) == wanted[offset : offset + 4096], offset
"""


class Storm:
    """Two mounts, a stored archive and a compressed one, with two readers on each."""

    def __init__(self, rofuse: Rofuse) -> None:
        self.rofuse = rofuse
        folder = rofuse.folder
        self.stop = folder / "stop"
        run = folder / "run"
        run.mkdir(mode=0o700)
        rofuse.environment["XDG_RUNTIME_DIR"] = str(run)
        self.mounts = [folder / "stored", folder / "packed"]
        original, sums = _make(folder)
        assert rofuse(folder / "stored.tar", self.mounts[0]).returncode == 0
        assert rofuse(folder / "packed.tar.zst", self.mounts[1]).returncode == 0
        stop = str(self.stop)
        stored, packed = map(str, self.mounts)
        self.readers = [
            _start("sh", "-c", STORED.format(mnt=stored, original=original, stop=stop)),
            _start("sh", "-c", SUMS.format(mnt=packed, sums=sums, stop=stop)),
            _start("sh", "-c", FIND.format(mnt=packed, count=FILES + 1, stop=stop)),
            _start(sys.executable, "-I", "-S", "-c", PREADS, f"{stored}/big", str(original), stop),
        ]

    def status(self, mount: Path) -> dict[str, Any]:
        result = self.rofuse("status", "--json", mount)
        assert result.returncode == 0, result
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def servers(self, mount: Path) -> list[int]:
        supervisor = self.status(mount)["supervisor_pid"]
        return [
            int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        ]

    def complaints(self) -> list[str]:
        """What those readers said that have ended, which none does unless it saw something wrong."""
        return [reader.communicate()[0] for reader in self.readers if reader.poll() is not None]

    def finish(self) -> None:
        """Lets the readers end; none has seen anything wrong."""
        self.stop.touch()
        ends = [(reader.communicate(timeout=120)[0], reader.returncode) for reader in self.readers]
        assert ends == [("", 0)] * len(self.readers)
        for mount in self.mounts:
            assert self.rofuse("umount", "--wait", mount).returncode == 0

    def close(self) -> None:
        self.stop.touch()
        for reader in self.readers:
            if reader.poll() is None:
                reader.kill()
            reader.wait()
            if reader.stdout is not None:
                reader.stdout.close()


def _start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _make(folder: Path) -> tuple[Path, Path]:
    """Two archives; the stored one's only file, and the sums of all files of the other."""
    noise = random.Random(7)
    original, sums = folder / "original", folder / "sums"
    original.write_bytes(noise.randbytes(STORED_SIZE))
    with tarfile.open(folder / "stored.tar", "w") as tar:
        tar.add(original, "big")
    (folder / "tree").mkdir()
    lines = []
    for number in range(FILES):
        data = noise.randbytes(FILE_SIZE // 3) * 3
        (folder / "tree" / f"f{number}").write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  f{number}\n")
    sums.write_text("".join(lines))
    subprocess.run(
        ["tar", "--zstd", "-C", folder / "tree", "-cf", folder / "packed.tar.zst", "."],
        check=True,
        timeout=60,
    )
    return original, sums


@pytest.fixture
def storm(rofuse: Rofuse) -> Iterator[Storm]:
    storm = Storm(rofuse)
    yield storm
    storm.close()


def _killed(number: int) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


def _starved(pid: int) -> None:
    """Takes from a server all memory that it does not have yet."""
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


ACCIDENTS = {"SIGKILL": _killed(signal.SIGKILL), "SIGSEGV": _killed(signal.SIGSEGV), "RLIMIT_AS": _starved}


@pytest.mark.timeout(60 + 6 * TIMES)
@pytest.mark.parametrize("accident", ACCIDENTS)
def test_servers_die_and_nobody_notices(accident: str, storm: Storm) -> None:
    strike = ACCIDENTS[accident]
    supervisors = [storm.status(mount)["supervisor_pid"] for mount in storm.mounts]
    for _ in range(TIMES):
        time.sleep(random.uniform(0.0, 0.6))
        for supervisor in supervisors:
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            for pid in map(int, children):
                try:
                    strike(pid)
                except (ProcessLookupError, FileNotFoundError):
                    continue
        assert storm.complaints() == []
    if accident != "RLIMIT_AS":
        assert all(storm.status(mount)["restarts"] for mount in storm.mounts)
    storm.finish()


@pytest.mark.timeout(60 + 6 * TIMES)
def test_servers_are_replaced_and_nobody_notices(storm: Storm) -> None:
    for number in range(max(2, TIMES // 10)):
        for mount in storm.mounts:
            result = storm.rofuse("takeover", "--threads", str(1 + number % 5), mount)
            assert result.returncode == 0, result
            assert storm.status(mount)["takeovers"] == number + 1
    storm.finish()
