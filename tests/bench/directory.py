"""Reads a large file as it lies, and through a mount of its directory, in turns.

    python -m tests.bench.directory [--size MIB] [--rounds N] [--folder DIR]

Prints the median rate of each in GB/s, and their ratio: from the page cache, and, for root, from the disk. Without
passthrough (before Linux 6.9, or without privileges) the server reads the file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_BUFFER = 1 << 20
_COMMAND = (sys.executable, "-m", "rofuse_mount")


def rate(path: Path) -> float:
    """Bytes a nanosecond, which are GB/s."""
    buffer, size = bytearray(_BUFFER), 0
    fd = os.open(path, os.O_RDONLY)
    try:
        began = time.perf_counter_ns()
        while count := os.readv(fd, [buffer]):
            size += count
        return size / (time.perf_counter_ns() - began)
    finally:
        os.close(fd)


def compare(name: str, direct: Path, mounted: Path, rounds: int, before: Callable[[], None]) -> None:
    rates: dict[Path, list[float]] = {direct: [], mounted: []}
    for number in range(rounds):
        for path in (direct, mounted) if number % 2 else (mounted, direct):
            before()
            rates[path].append(rate(path))
    own, ours = (statistics.median(rates[path]) for path in (direct, mounted))
    print(f"{name:12} direct {own:6.2f} GB/s   mounted {ours:6.2f} GB/s   {ours / own:.2f}")


def forget_pages() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        tree, mountpoint = Path(folder, "tree"), Path(folder, "mounted")
        tree.mkdir()
        with (tree / "file").open("wb") as file:
            for _ in range(arguments.size):
                file.write(os.urandom(1 << 20))
        subprocess.run([*_COMMAND, tree, mountpoint], check=True)
        try:
            rate(tree / "file")
            pair = tree / "file", mountpoint / "file"
            compare("page cache", *pair, arguments.rounds, lambda: None)
            if os.geteuid() == 0:
                compare("disk", *pair, max(2, arguments.rounds // 2), forget_pages)
            subprocess.run([*_COMMAND, "status", mountpoint], check=True)
        finally:
            subprocess.run([*_COMMAND, "umount", "--wait", mountpoint], check=True)


if __name__ == "__main__":
    main()
