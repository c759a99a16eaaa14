"""Measures every stream a tar comes in, beside ratarmount: one tree, compressed by each tool, mounted in turns.

    python -m tests.bench.streams --tree DIR --work DIR --out JSON [--rows WORD]... [--rounds N] [--verify]

The archives are made in the work directory and kept there for the next run. In each round, for each row, each peer
mounts the archive for the first time (nothing kept from before), then again, and then a hundred random files are read.
Of several rounds the median is shown; a figure behind ``>`` is the time after which it was stopped.

``first mount`` has the archive in the page cache. Before ``remount`` and what follows it, the archive and what the peer
keeps of it are dropped from the page cache. Memory is that of ``tests/bench/memory.py``: resident, of the largest
process and of all together, from the start of the first mount to the end of the random reads.

``--verify`` measures nothing: it compares mounts of ours with the tree that GNU tar extracts, every attribute and every
byte, after the first mount, after a remount, and by four readers at once. As root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rofuse_formats.cache import BESIDE_SUFFIX
from tests.bench.memory import Watch
from tests.bench.peers import Mount, MountError, Ours, Peer, Ratarmount
from tests.bench.stream_archives import ROWS, Archives, Row
from tests.bench.stream_table import Figures, table

CHECKOUT = Path(__file__).parents[2]
RANDOM_FILES, SEED = 100, 20
READERS = 4


class OursHere(Ours):
    """This checkout, run by this Python."""

    def _find(self) -> str | None:
        return sys.executable

    def version(self) -> str:
        command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return [sys.executable, "-m", "rofuse_mount", str(archive), str(mountpoint)]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'formats'}"}

    def unmount(self, mountpoint: Path) -> None:
        command = [sys.executable, "-m", "rofuse_mount", "umount", str(mountpoint)]
        environment = {**os.environ, **self.environment()}
        try:
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        finally:
            super().unmount(mountpoint)


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mounts are taken off then, too
    archives = Archives(arguments.tree, arguments.work.resolve())
    rows = [row for row in ROWS if not arguments.rows or any(word in row.name for word in arguments.rows)]
    for row in rows:
        say(f"making {row.name}")
        archives.archive(row)
    if arguments.verify:
        sys.exit(verify(arguments, archives, rows))
    bench(arguments, archives, rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.bench.streams", description="Measures every stream a tar comes in."
    )
    add = parser.add_argument
    add("--tree", type=Path, required=True, metavar="DIR", help="what is in the archives")
    add("--work", type=Path, required=True, metavar="DIR", help="where archives are kept, and mounts made")
    add("--out", type=Path, metavar="JSON", help="where every figure goes")
    add("--rows", action="append", default=[], metavar="WORD", help="rows with this in their name")
    add("--rounds", type=int, default=1, metavar="N", help="how often each is measured (default 1)")
    add("--limit", type=float, default=300, metavar="SECONDS", help="for the random files (default 300)")
    add("--mount-limit", type=float, default=1800, metavar="SECONDS", help="for a mount (default 1800)")
    add("--ratarmount", metavar="COMMAND", help="the one to measure (default: on PATH)")
    add("--alone", action="store_true", help="without ratarmount")
    add("--verify", action="store_true", help="compare mounts with the tree instead")
    return parser.parse_args()


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


# Measuring


def bench(arguments: argparse.Namespace, archives: Archives, rows: list[Row]) -> None:
    peers = find_peers(arguments, archives.work)
    sample = archives.sample(RANDOM_FILES, SEED)
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "machine": f"{os.cpu_count()} x {platform.machine()}, Linux {platform.release()}",
        "peers": {peer.name: peer.version() for peer in peers},
        "rounds": arguments.rounds,
        "limit": arguments.limit,
    }
    figures: list[Figures] = []
    try:
        for number in range(arguments.rounds):
            for row in rows:
                for peer in peers:
                    say(f"round {number + 1}: {row.name}: {peer.name}")
                    figures.append(measure(peer, row, archives.archive(row), sample, arguments))
    finally:
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        print(f"\n{table(figures, [row.name for row in rows], [peer.name for peer in peers])}")
        if arguments.out:
            found = [asdict(figure) for figure in figures]
            arguments.out.write_text(json.dumps({**about, "figures": found}, indent=1) + "\n")


def find_peers(arguments: argparse.Namespace, work: Path) -> list[Peer]:
    ours = OursHere(work)
    if arguments.alone:
        return [ours]
    other = Ratarmount(work)
    other.program = shutil.which(arguments.ratarmount) if arguments.ratarmount else other.program
    if other.program is None:
        sys.exit("ratarmount is not here: --ratarmount says where it is, --alone does without")
    return [ours, other]


def measure(
    peer: Peer, row: Row, archive: Path, sample: list[bytes], arguments: argparse.Namespace
) -> Figures:
    figures = Figures(row.name, peer.name, archive.stat().st_size)
    try:
        peer.forget()
        drop_or_load([archive], load=True)
        with watched(peer, archive, arguments.mount_limit, figures) as mount:
            figures.first = mount.seconds
        figures.index, figures.spool = kept(peer)
        drop_or_load([archive, *files_below(peer.kept)], load=False)
        with watched(peer, archive, arguments.mount_limit, figures) as mount:
            figures.again = mount.seconds
            figures.files, figures.stopped = read_files(mount.path, sample, arguments.limit)
    except (MountError, OSError, subprocess.SubprocessError) as error:
        say(str(error))
        figures.error = str(error)
    finally:
        peer.forget()
    return figures


@contextmanager
def watched(peer: Peer, archive: Path, limit: float, figures: Figures) -> Iterator[Mount]:
    mark = uuid.uuid4().hex
    with Watch(mark) as watch, peer.mounted(archive, limit, mark) as mount:
        try:
            yield mount
        finally:
            watch.look()
            figures.largest = max(figures.largest, watch.largest, mount.peak())
            figures.together = max(figures.together, watch.together, figures.largest)


def read_files(root: Path, sample: list[bytes], limit: float) -> tuple[float, bool]:
    """Reads the files whole, one after the other, by programs of their own; the seconds, and whether it was stopped."""
    paths = b"\0".join(os.path.join(os.fsencode(root), path) for path in sample)
    started = time.perf_counter()
    reading = subprocess.Popen(
        ["xargs", "-0", "cat", "--"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        reading.communicate(paths, timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(reading.pid, signal.SIGKILL)
        reading.wait()
        return limit, True
    if reading.returncode:
        raise subprocess.CalledProcessError(reading.returncode, "xargs cat")
    return time.perf_counter() - started, False


def drop_or_load(paths: list[Path], *, load: bool) -> None:
    """Has the files in the page cache, or none of them."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            if load:
                while file.read(1 << 20):
                    pass
            else:
                os.fsync(file.fileno())  # what is not written yet cannot be dropped
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kept(peer: Peer) -> tuple[int, int]:
    """Bytes of what a peer keeps of the archive: its index, and decoded data. What is no index of ours is the latter;
    of another's, all is index."""
    sizes = [(path.suffix, path.stat().st_blocks * 512) for path in files_below(peer.kept)]
    every = sum(size for _suffix, size in sizes)
    index = (
        sum(size for suffix, size in sizes if suffix == BESIDE_SUFFIX) if isinstance(peer, Ours) else every
    )
    return index, every - index


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Verifying


def verify(arguments: argparse.Namespace, archives: Archives, rows: list[Row]) -> int:
    peer = OursHere(archives.work)
    say("extracting the tree with GNU tar")
    expected = archives.expected()
    failures = 0
    for row in rows:
        peer.forget()
        for title, readers in (("first mount", 1), ("remount", 1), (f"{READERS} readers", READERS)):
            took = ""
            try:
                with peer.mounted(archives.archive(row), arguments.mount_limit) as mount:
                    started = time.perf_counter()
                    differences = compare(expected, mount.path, readers, arguments.mount_limit)
                    read = time.perf_counter() - started
                    took = f" (mounted in {mount.seconds:.1f} s, read in {read:.1f} s)"
            except MountError as error:
                differences = [str(error)]
            verdict = "DIFFERS" if differences else "the same"
            print(f"{row.name}: {title}: {verdict}{took}", *differences, sep="\n  ", flush=True)
            failures += bool(differences)
    peer.forget()
    return 1 if failures else 0


def compare(expected: Path, mountpoint: Path, readers: int, limit: float) -> list[str]:
    """What differs, as each of so many readers at once finds it."""
    command = [sys.executable, "-m", "tests.bench.verify", str(expected), str(mountpoint)]
    running = [
        subprocess.Popen(
            [*command, str(number)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(readers)
    ]
    deadline = time.monotonic() + limit
    lines: list[str] = []
    for reader in running:
        try:
            output, _ = reader.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            reader.kill()
            lines.append("not done in time")
            continue
        lines += output.splitlines() or ([f"exit status {reader.returncode}"] if reader.returncode else [])
    return lines


if __name__ == "__main__":
    main()
