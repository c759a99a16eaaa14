"""What is measured: one function for each task, on a mount that is fresh but for what the task says.

A task is a function of a Run that returns its figure: seconds, unless ``unit`` says bytes. Whatever touches the mount
is a program of its own with a time limit, so that a server that hangs costs a task and not the benchmark. The archive
itself is in the page cache for everybody (it was just written, or just read by the peer before).

A new task is a new function here under ``@task``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.peers import Peer
from tests.bench.workload import Workload

RANDOM_FILES = 100
STATS = 20_000
RANDOM_READS, RANDOM_READS_SECONDS = 200, 30
SEED = 20


class Run(NamedTuple):
    peer: Peer
    workload: Workload
    timeout: float

    @property
    def archive(self) -> Path:
        return self.workload.archive(self.peer.archive)


class Task(NamedTuple):
    name: str
    measure: Callable[[Run], float]
    unit: str
    in_kernel: bool
    """Whether it makes sense where no process serves the mount."""


TASKS: dict[str, Task] = {}


def task(
    name: str, unit: str = "s", in_kernel: bool = True
) -> Callable[[Callable[[Run], float]], Callable[[Run], float]]:
    def register(measure: Callable[[Run], float]) -> Callable[[Run], float]:
        TASKS[name] = Task(name, measure, unit, in_kernel)
        return measure

    return register


@task("first mount")
def first_mount(run: Run) -> float:
    """Nothing kept from before: the index is built."""
    run.peer.forget()
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return mount.seconds


@task("memory, first", unit="B", in_kernel=False)
def first_memory(run: Run) -> float:
    run.peer.forget()
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return mount.peak()


@task("again")
def mount_again(run: Run) -> float:
    """The index is ready, for whoever keeps one."""
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return mount.seconds


@task("find")
def find(run: Run) -> float:
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return _timed(["find", mount.path, "-printf", "%s\\n"], run.timeout)


@task("cat all")
def read_all(run: Run) -> float:
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return _cat(mount.path, run.workload.files, run.timeout)


@task("cat, found")
def read_found(run: Run) -> float:
    """All files, when all of them were listed before on the same mount: as it is after a ``find``."""
    with run.peer.mounted(run.archive, run.timeout) as mount:
        _timed(["find", mount.path, "-printf", "%s\\n"], run.timeout)
        return _cat(mount.path, run.workload.files, run.timeout)


@task("find, cat all")
def found_all(run: Run) -> float:
    """As people do it: what is read was listed before."""
    with run.peer.mounted(run.archive, run.timeout) as mount:
        command = ["sh", "-c", "find . -type f -print0 | xargs -0 cat --"]
        return _timed(command, run.timeout, cwd=mount.path)


@task("grep -r")
def grep(run: Run) -> float:
    """For what is nowhere."""
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return _timed(
            ["grep", "-r", "-F", "-l", "no such words anywhere", "."], run.timeout, mount.path, found=False
        )


@task(f"stat of {STATS:,}")
def stat_names(run: Run) -> float:
    """Of known names, one after the other, in no order."""
    names = b"\0".join(run.workload.sample(STATS, SEED))
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return _timed(["xargs", "-0", "stat", "-c", "%s", "--"], run.timeout, mount.path, names)


@task("memory, read", unit="B", in_kernel=False)
def read_memory(run: Run) -> float:
    with run.peer.mounted(run.archive, run.timeout) as mount:
        _cat(mount.path, run.workload.files, run.timeout)
        return mount.peak()


@task(f"{RANDOM_FILES} files")
def random_files(run: Run) -> float:
    """Chosen at random. With the mount's own time: what a user waits who wants a few files."""
    with run.peer.mounted(run.archive, run.timeout) as mount:
        return mount.seconds + _cat(mount.path, run.workload.sample(RANDOM_FILES, SEED), run.timeout)


@task("4 KiB")
def random_reads(run: Run) -> float:
    """The median. Places anywhere in all files together, each byte as likely as any other, as many as can be read in
    half a minute; the time of pread(2) alone."""
    reads = run.workload.places(RANDOM_READS, SEED)
    script = Path(__file__).with_name("preads.py")
    with run.peer.mounted(run.archive, run.timeout) as mount:
        done = subprocess.run(
            [sys.executable, script, mount.path, str(RANDOM_READS_SECONDS)],
            input=json.dumps([[os.fsdecode(path), offset] for path, offset in reads]).encode(),
            stdout=subprocess.PIPE,
            timeout=run.timeout,
            check=True,
        )
        return float(done.stdout)


def _cat(root: Path, files: list[bytes], timeout: float) -> float:
    return _timed(["xargs", "-0", "cat", "--"], timeout, cwd=root, stdin=b"\0".join(files))


def _timed(
    command: Sequence[str | Path],
    timeout: float,
    cwd: Path | None = None,
    stdin: bytes = b"",
    *,
    found: bool = True,
) -> float:
    """``found``: whether the command finds what it looks for; else it is to end with 1."""
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,  # its end tells of the program's at once: without a pipe it is asked for every 50 ms
        timeout=timeout,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode != (not found):
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise subprocess.SubprocessError(f"{command[0]}: exit status {done.returncode}: {last}")
    return seconds
