"""Measures rofuse-mount beside its peers: one command, one run, the same archives, in turns.

    python tests/bench/bench.py [--quick | --entries N | --megabytes N] [--rounds N] [--only WORD]... [--work DIR]

In each round every task is done by every peer, one after the other, on a mount of its own; what is shown are medians
over the rounds, and, in brackets, how many times ours that is. Besides the table there is a JSON file with every
single figure. Linux; as root for the kernel's squashfs. Needs tar, zstd, mksquashfs and the peers, which --install
gets where they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from tests.bench.peers import PEERS, MountError, Ours, Peer
from tests.bench.tasks import TASKS, Run, Task
from tests.bench.workload import Workload

Figures = dict[str, dict[str, list[float | None]]]
"""By task and peer: a figure each round; None where it failed or took too long."""


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
    peers = find_peers(arguments, work)
    say("preparing the workload")
    workload = Workload(work, quick=arguments.quick, entries=arguments.entries, megabytes=arguments.megabytes)
    for kind in {peer.archive for peer in peers}:
        workload.archive(kind)
    figures: Figures = {name: {peer.name: [] for peer in peers} for name in tasks}
    try:
        for number in range(arguments.rounds):
            for task in tasks.values():
                for peer in peers:
                    if task.in_kernel or not peer.in_kernel:
                        run = Run(peer, workload, arguments.timeout)
                        figures[task.name][peer.name].append(measure(task, run, number))
    finally:
        report(figures, peers, workload, arguments)


def chosen(tasks: dict[str, Task], words: list[str]) -> dict[str, Task]:
    """The tasks that were asked for: all, where no word names one."""
    named = {name: task for name, task in tasks.items() if any(word in name for word in words)}
    return named or tasks


def find_peers(arguments: argparse.Namespace, work: Path) -> list[Peer]:
    named = [cls for cls in PEERS if any(word in cls.name for word in arguments.only)]
    peers = []
    for cls in named or PEERS:
        peer = cls(work)
        if isinstance(peer, Ours) and arguments.rofuse:
            peer.program = shutil.which(arguments.rofuse)
        if peer.program is None and arguments.install:
            try:
                peer.install()
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{peer.name}: {error}", file=sys.stderr)
        if peer.program is None:
            print(f"{peer.name}: not here, left out", file=sys.stderr)
        else:
            peers.append(peer)
    return peers


def measure(task: Task, run: Run, number: int) -> float | None:
    say(f"round {number + 1}: {task.name}: {run.peer.name}")
    try:
        return task.measure(run)
    except (MountError, subprocess.SubprocessError) as error:
        say()
        print(f"{task.name}: {run.peer.name}: {error}", file=sys.stderr)
        return None


def say(line: str = "") -> None:
    """What is being done, on a line that is written over."""
    if sys.stderr.isatty():
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)


def median(values: list[float | None]) -> float | None:
    """None where any round failed: a figure that is there sometimes is none."""
    good = [value for value in values if value is not None]
    return statistics.median(good) if good and len(good) == len(values) else None


def show(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / (1 << 20):.1f} MiB"
    return (
        f"{value:.2f} s"
        if value >= 1
        else f"{value * 1e3:.1f} ms"
        if value >= 1e-3
        else f"{value * 1e6:.0f} us"
    )


def table(figures: Figures, peers: list[Peer]) -> str:
    rows = [["", *(peer.name for peer in peers)]]
    for name, by_peer in figures.items():
        ours = median(by_peer.get(Ours.name, []))
        row = [name]
        for peer in peers:
            value = median(by_peer[peer.name])
            ratio = f" ({value / ours:.2f})" if value is not None and ours and peer.name != Ours.name else ""
            row.append(show(value, TASKS[name].unit) + ratio)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def report(figures: Figures, peers: list[Peer], workload: Workload, arguments: argparse.Namespace) -> None:
    say()
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "kernel": os.uname().release,
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "rounds": arguments.rounds,
        "workload": workload.describe(),
        "versions": {peer.name: peer.version() for peer in peers},
    }
    for key, value in about.items():
        print(f"{key}: {value}")
    print("\n" + table(figures, peers))
    path = Path(arguments.json or time.strftime("bench-%Y%m%d-%H%M%S.json"))
    path.write_text(json.dumps({**about, "figures": figures}, indent=1) + "\n")
    print(f"\nevery figure: {path}")


if __name__ == "__main__":
    main()
