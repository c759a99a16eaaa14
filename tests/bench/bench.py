"""Measures rofuse-mount beside its peers: one command, one run, the same archives, in turns.

    python tests/bench/bench.py [--quick | --entries N | --megabytes N] [--rounds N] [--only WORD]... [--work DIR]
    python tests/bench/bench.py --zip ...     a deflated and a stored zip of the tree, and one of a million entries

In each round every task is done by every peer, one after the other, on a mount of its own; what is shown are medians
over the rounds, and, in brackets, how many times the peer in the first line that is. What takes longer than the limit
is tried once. Besides the table there is a JSON file with every single figure. Linux; as root for the kernel's
file systems. Needs tar, gzip, zstd, mksquashfs, mkfs.erofs, bsdtar (for zip) and the peers, which --install gets where
they are missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from tests.bench.peers import (
    PEERS,
    ZIP_PEERS,
    MountError,
    Ours,
    Peer,
    SquashfuseLowLevel,
    TooSlowError,
)
from tests.bench.tasks import TASKS, Run, Task
from tests.bench.workload import Workload

Figures = dict[str, dict[str, list[float | None]]]
"""By task and peer: a figure each round; None where it failed, infinite where it took too long."""

MILLION = 1_000_000


class Case(NamedTuple):
    """One table. Its first peer is what the others are compared with."""

    workload: Workload
    peers: list[Peer]


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mounts are taken off then, too
    work = Path(arguments.work or tempfile.mkdtemp(prefix="rofuse-bench-")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        bench(arguments, work)
    finally:
        if not arguments.work:
            shutil.rmtree(work)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures rofuse-mount beside its peers.")
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="how often each is measured (default 5)")
    add("--quick", action="store_true", help="a small tree")
    add("--only", action="append", default=[], metavar="WORD", help="tasks or peers with this in their name")
    add(
        "--entries",
        type=int,
        default=0,
        metavar="N",
        help="a generated archive of N entries instead of a tree",
    )
    add(
        "--zip",
        action="store_true",
        help="zip archives: deflated, stored, of a million entries (or --entries)",
    )
    add("--megabytes", type=int, default=0, metavar="N", help="files of N million bytes instead of a tree")
    add(
        "--work",
        metavar="DIR",
        help="work here and keep archives for the next run (default: a temporary directory)",
    )
    add("--timeout", type=float, default=600, metavar="SECONDS", help="for one task (default 600)")
    add(
        "--rofuse",
        metavar="COMMAND",
        help="the rofuse-mount to measure (default: beside this Python, or on PATH)",
    )
    add("--install", action="store_true", help="install peers that are missing (pip, apt-get)")
    add("--json", metavar="FILE", help="where the figures go (default: bench-DATE.json)")
    return parser.parse_args()


def bench(arguments: argparse.Namespace, work: Path) -> None:
    tasks = chosen(TASKS, arguments.only)
    results: list[dict[str, object]] = []
    say("preparing the workload")
    for workload, peers in zip_cases(arguments, work) if arguments.zip else [plain_case(arguments, work)]:
        for kind in {peer.archive for peer in peers}:
            workload.archive(kind)
        figures: Figures = {name: {peer.title: [] for peer in peers} for name in tasks}
        try:
            for number in range(arguments.rounds):
                for task in tasks.values():
                    for peer in peers:
                        if task.in_kernel or not peer.in_kernel:
                            run = Run(peer, workload, arguments.timeout)
                            measure(task, run, number, figures[task.name][peer.title])
        finally:
            results.append(report(figures, peers, workload, arguments))
            write(results, arguments)


def plain_case(arguments: argparse.Namespace, work: Path) -> Case:
    peers = find_peers([cls(work, kind) for cls, kind in PEERS], arguments)
    peers.sort(key=lambda peer: not isinstance(peer, SquashfuseLowLevel))
    sizes = {"entries": arguments.entries, "megabytes": arguments.megabytes}
    return Case(Workload(work, quick=arguments.quick, **sizes), peers)


def zip_cases(arguments: argparse.Namespace, work: Path) -> Iterator[Case]:
    """One after the other: a million entries take their time to be made."""
    for kind, entries in (("zip", 0), ("stored.zip", 0), ("zip", arguments.entries or MILLION)):
        peers = find_peers([cls(work, kind) for cls in ZIP_PEERS], arguments)
        yield Case(Workload(work, quick=arguments.quick and not entries, entries=entries), peers)


def chosen(tasks: dict[str, Task], words: list[str]) -> dict[str, Task]:
    """The tasks that were asked for: all, where no word names one. A word that is a task's name means that alone."""
    named = {
        name: task
        for name, task in tasks.items()
        if any(word == name or (word not in tasks and word in name) for word in words)
    }
    return named or tasks


def find_peers(known: list[Peer], arguments: argparse.Namespace) -> list[Peer]:
    named = [peer for peer in known if any(word in peer.title for word in arguments.only)]
    found = []
    for peer in named or known:
        if isinstance(peer, Ours) and arguments.rofuse:
            peer.program = shutil.which(arguments.rofuse)
        if peer.program is None and arguments.install:
            try:
                peer.install()
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{peer.title}: {error}", file=sys.stderr)
        if peer.program is None:
            print(f"{peer.title}: not here, left out", file=sys.stderr)
        else:
            found.append(peer)
    return found


def measure(task: Task, run: Run, number: int, figures: list[float | None]) -> None:
    """Adds a figure. What took too long once is not tried again."""
    if math.inf in figures:
        return
    say(f"round {number + 1}: {task.name}: {run.peer.title}")
    try:
        figures.append(task.measure(run))
    except (TooSlowError, subprocess.TimeoutExpired):
        figures[:] = [math.inf]
    except (MountError, subprocess.SubprocessError) as error:
        say()
        print(f"{task.name}: {error}", file=sys.stderr)
        figures.append(None)


def say(line: str = "") -> None:
    """What is being done, on a line that is written over."""
    if sys.stderr.isatty():
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)


def median(values: list[float | None]) -> float | None:
    """None where any round failed: a figure that is there sometimes is none."""
    good = [value for value in values if value is not None]
    return statistics.median(good) if good and len(good) == len(values) else None


def show(value: float | None, unit: str, limit: float) -> str:
    if value is None:
        return "-"
    if value == math.inf:
        return f"> {limit:g} s"
    if unit == "B":
        return f"{value / (1 << 20):.1f} MiB"
    return (
        f"{value:.2f} s"
        if value >= 1
        else f"{value * 1e3:.1f} ms"
        if value >= 1e-3
        else f"{value * 1e6:.0f} us"
    )


def table(figures: Figures, peers: list[Peer], limit: float) -> str:
    rows = [["", *figures]]
    for peer in peers:
        row = [peer.title]
        for name, by_peer in figures.items():
            value, first = median(by_peer[peer.title]), median(by_peer[peers[0].title])
            known = value is not None and value != math.inf and first and peer is not peers[0]
            ratio = f" ({value / first:.2f})" if known and value and first else ""
            row.append(show(value, TASKS[name].unit, limit) + ratio)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def report(
    figures: Figures, peers: list[Peer], workload: Workload, arguments: argparse.Namespace
) -> dict[str, object]:
    """Prints what was measured, and returns all of it."""
    say()
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "kernel": os.uname().release,
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "interpreter's start": f"{interpreter_start() * 1e3:.1f} ms",
        "archives": sorted({peer.archive for peer in peers}),
        "rounds": arguments.rounds,
        "workload": workload.describe(),
        "versions": {peer.name: peer.version() for peer in peers},
    }
    for key, value in about.items():
        print(f"{key}: {value}")
    print("\n" + table(figures, peers, arguments.timeout) + "\n")
    kept = {
        task: {
            peer: [f"> {arguments.timeout:g} s" if value == math.inf else value for value in values]
            for peer, values in by_peer.items()
        }
        for task, by_peer in figures.items()
    }
    return {**about, "figures": kept}


def interpreter_start() -> float:
    """Seconds that a Python without anything to do takes from its start to its end."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", ""], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def write(results: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    path = Path(arguments.json or f"bench-{results[0]['date']}.json".replace(" ", "-").replace(":", ""))
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"every figure: {path}\n")


if __name__ == "__main__":
    main()
