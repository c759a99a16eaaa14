"""Large files: a stored one read with dd, and readers of different files that lie in one zstd frame.

    python -m tests.bench.large [--rounds N] [--work DIR]

Rates are medians over the rounds, in each of which all take turns, on mounts of their own. Readers are dd's, each with
a file of its own; on *one processor* they, the mount and its decoders have that one together. What more processors give
them stands beside what they give the zstd program, run once on each: so much can be hoped for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench.peers import Ours, Peer, Ratarmount
from tests.bench.workload import Workload, new

READERS = 4
STORED = 2_000_000_000  # bytes
LIMIT = 600  # seconds for one measurement
SETTLE = 0.8  # seconds in which a mount does what it puts off until after its start


class Files:
    """In ``work``: a stored file and its tar; parts of the workload's tar, and one frame of a tar of them."""

    def __init__(self, work: Path) -> None:
        self.folder = work / "large"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source = Workload(work).archive("tar")
        self.part_size = self.source.stat().st_size // READERS
        self.parts = [f"part{number}" for number in range(READERS)]
        self.stored, self.tar = self.folder / "stored", self.folder / "stored.tar"
        self.zst = self.folder / "parts.tar.zst"
        if not self.tar.exists():
            self._make_stored()
        if not self.zst.exists():
            self._make_parts()

    def _make_stored(self) -> None:
        with open(self.stored, "wb") as stored:
            while stored.tell() < STORED:
                with open(self.source, "rb") as source:
                    shutil.copyfileobj(source, stored, 1 << 20)
            stored.truncate(STORED)
        self._pack(self.tar, [self.stored.name])

    def _make_parts(self) -> None:
        with open(self.source, "rb") as source:
            for name in self.parts:
                (self.folder / name).write_bytes(source.read(self.part_size))
        tar = self.folder / "parts.tar"
        self._pack(tar, self.parts)
        with new(self.zst) as made:
            subprocess.run(["zstd", "-q", "-3", tar, "-o", made], check=True)
        for path in (tar, *(self.folder / name for name in self.parts)):
            path.unlink()

    def _pack(self, tar: Path, names: Iterable[str]) -> None:
        with new(tar) as made:
            subprocess.run(["tar", "-c", "-f", made, "-C", self.folder, *names], check=True)


class Rates:
    """Bytes a second, one a round, by what was measured."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}

    def add(self, name: str, size: int, seconds: float) -> None:
        self._rates.setdefault(name, []).append(size / seconds)

    def show(self, title: str, base: str) -> None:
        """Medians, and how many times the one of ``base`` each is."""
        print(title)
        first = statistics.median(self._rates[base])
        for name, rates in self._rates.items():
            rate = statistics.median(rates)
            print(f"  {name:44} {rate / 1e6:8.0f} MB/s {rate / first:7.2f}")


@contextmanager
def processors(chosen: Iterable[int]) -> Iterator[None]:
    """What is started within has these alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def together(*programs: partial[subprocess.Popen[bytes]]) -> float:
    """Seconds until all that are started at once have ended."""
    began = time.perf_counter()
    started = [program() for program in programs]
    for each in started:
        if each.wait(LIMIT):
            raise subprocess.SubprocessError(f"{each.args!r}: exit status {each.returncode}")
    return time.perf_counter() - began


def reader(path: Path) -> partial[subprocess.Popen[bytes]]:
    return partial(subprocess.Popen, ["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"])


def decoder(archive: Path, processor: int) -> partial[subprocess.Popen[bytes]]:
    command = ["taskset", "-c", str(processor), "zstd", "-dc", str(archive)]
    return partial(subprocess.Popen, command, stdout=subprocess.DEVNULL)


def mounted(peer: Peer, archive: Path, names: Iterable[str]) -> float:
    """Seconds in which all of these files are read, at once, through a mount of an archive that is in memory."""
    together(reader(archive))
    with peer.mounted(archive, LIMIT) as mount:
        time.sleep(SETTLE)
        return together(*(reader(mount.path / name) for name in names))


def measure_stored(files: Files, peers: list[Peer], rounds: int) -> None:
    rates, direct = Rates(), "from the page cache"
    for _ in range(rounds):
        together(reader(files.stored))
        rates.add(direct, STORED, together(reader(files.stored)))
        for peer in peers:
            rates.add(peer.name, STORED, mounted(peer, files.tar, [files.stored.name]))
    rates.show(f"a stored file of {STORED:,} bytes", direct)


def measure_readers(files: Files, ours: Peer, rounds: int) -> None:
    mounted(ours, files.zst, [])  # its index is not measured here
    every = sorted(os.sched_getaffinity(0))
    rates = Rates()
    for _ in range(rounds):
        for chosen in (every[:1], every):
            place = f"{len(chosen)} processors" if len(chosen) > 1 else "one processor"
            size = files.part_size * READERS * len(chosen)
            rates.add(f"zstd -dc, {place}", size, together(*(decoder(files.zst, each) for each in chosen)))
            for count in (1, READERS):
                with processors(chosen):
                    seconds = mounted(ours, files.zst, files.parts[:count])
                rates.add(f"readers: {count}, {place}", files.part_size * count, seconds)
    rates.show(
        f"{READERS} files of {files.part_size:,} bytes in one zstd frame",
        f"readers: {READERS}, one processor",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--work", type=Path, metavar="DIR", help="work here and keep the archives")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rofuse-bench-") as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        files, ours = Files(work), Ours(work)
        others = [peer for peer in (Ratarmount(work, "tar"),) if peer.program]
        measure_stored(files, [ours, *others], arguments.rounds)
        measure_readers(files, ours, arguments.rounds)


if __name__ == "__main__":
    main()
