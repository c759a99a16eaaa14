"""Measures packs beside squashfs: making them, and reading them through a mount. One command, one run, in turns.

    python tests/bench/packs.py [--tree DIR] [--rounds N] [--level N]... [--only WORD]... [--work DIR] [--json FILE]

The tree (by default copies of what the machine has) is made into packs by ``rofuse-mount pack`` and into squashfs files
by mksquashfs, with zstd at the same level, blocks of 128 KiB and the same cores: from the directory, and from its tar.
The smallest level's are then mounted and read: by rofuse-mount, squashfuse_ll and the kernel's squashfs, on a mount of
its own each: *cold* when nothing of the file is in memory, *warm* when all of it is, *again* on the same mount as warm.

What is shown are medians over the rounds and, in brackets, how many times ours that is. Linux, as root; needs tar,
mksquashfs (4.5 or later) and, to be compared, squashfuse_ll.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from tests.bench.peers import KernelSquashfs, MountError, Ours, Peer, SquashfuseLowLevel
from tests.bench.workload import Workload

LEVELS = (3, 9, 15)
RANDOM_FILES, SEED = 100, 20
SECONDS = 600  # for anything
ABSENT = "what no file of the tree has in it 4711"
Figures = dict[str, dict[str, list[float]]]
"""Seconds, or bytes, each round; by what was done, and by whom."""


class Pack(NamedTuple):
    """The same tree in each form."""

    tree: Path
    tar: Path
    packs: Path
    """Where what is made of it goes."""

    def made(self, peer: str, level: int) -> Path:
        return self.packs / f"{level}.{'rpack' if peer == Ours.name else 'squashfs'}"


def main() -> None:
    arguments = parse_arguments()
    with ExitStack() as stack:
        work = Path(
            arguments.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="rofuse-packs-"))
        )
        work.mkdir(parents=True, exist_ok=True)
        pack = prepare(arguments.tree, work.resolve())
        figures: Figures = {}
        for _ in range(arguments.rounds):
            bring_in(pack.tree)  # who comes first would read it from the disk for all others
            for level in arguments.level or LEVELS:
                for name, command in makings(pack, level):
                    if wanted(f"{name[0]}, level {level}", arguments.only):
                        make(pack, level, name, command, figures)
            for what, peer, seconds in readings(pack, min(arguments.level or LEVELS), work, arguments.only):
                figures.setdefault(what, {}).setdefault(peer, []).append(seconds)
        about = {
            "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            "kernel": os.uname().release,
            "processors": len(os.sched_getaffinity(0)),
            "tree": measure(pack.tree),
        }
        print(json.dumps(about), "\n\n" + table(figures), sep="\n")
        if arguments.json:
            Path(arguments.json).write_text(json.dumps({**about, "figures": figures}, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--tree", type=Path, help="the tree (default: copies of the machine's files)")
    add("--rounds", type=int, default=3)
    add("--level", type=int, action="append", default=[], help=f"zstd's (default: {LEVELS})")
    add("--only", action="append", default=[], metavar="WORD", help="tasks with this in their name")
    add("--work", metavar="DIR", help="work here and keep archives for the next run")
    add("--json", metavar="FILE", help="where every figure goes")
    return parser.parse_args()


def wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def prepare(tree: Path | None, work: Path) -> Pack:
    tar, packs = work / "tree.tar", work / "packs"
    packs.mkdir(exist_ok=True)
    if tree is None:
        tree = work / "files"
        if not tree.exists():
            tree.mkdir()
            archive = Workload(work).archive("tar")
            subprocess.run(["tar", "-x", "--xattrs", "-p", "-f", archive, "-C", tree], check=True)
    if not tar.exists():
        options = ["--sort=name", "--format=posix", "--xattrs", "--pax-option=delete=atime,delete=ctime"]
        subprocess.run(["tar", "-c", "-f", tar, *options, "-C", tree, "."], check=True)
    return Pack(tree, tar, packs)


# -- making ------------------------------------------------------------------------------------------------------


def makings(pack: Pack, level: int) -> Iterator[tuple[tuple[str, str], list[str | Path]]]:
    """What is made and by whom; the commands, to which what they make is added."""
    ours: list[str | Path] = [
        sys.executable,
        "-m",
        "rofuse_mount",
        "pack",
        "--quiet",
        "--force",
        "--level",
        str(level),
    ]
    theirs = [
        "-comp",
        "zstd",
        "-Xcompression-level",
        str(level),
        "-b",
        "128K",
        "-quiet",
        "-no-progress",
        "-noappend",
    ]
    # mksquashfs takes longer to read a tar; both of ours are beside its faster way.
    yield ("make, of the directory", Ours.name), [*ours, pack.tree]
    yield (
        ("make, of the directory", "mksquashfs"),
        ["mksquashfs", pack.tree, pack.made("mksquashfs", level), *theirs],
    )
    yield ("make, of the tar", Ours.name), [*ours, pack.tar]
    yield (
        ("make, of the tar", "mksquashfs"),
        ["mksquashfs", "-", pack.made("mksquashfs", level), "-tar", *theirs],
    )


def make(pack: Pack, level: int, name: tuple[str, str], command: list[str | Path], figures: Figures) -> None:
    what, who = name
    made = pack.made(who, level)
    made.unlink(missing_ok=True)
    os.sync()
    with pack.tar.open("rb") as stream, tempfile.TemporaryDirectory() as cache:
        seconds = timed(
            [*command, made] if who == Ours.name else command,
            stdin=stream.fileno(),
            env={**os.environ, "XDG_CACHE_HOME": cache},
        )
    figures.setdefault(f"{what}, level {level}", {}).setdefault(who, []).append(seconds)
    figures.setdefault(f"{what}, level {level}, bytes", {}).setdefault(who, []).append(made.stat().st_size)


# -- reading -----------------------------------------------------------------------------------------------------


def tasks(pack: Pack) -> dict[str, Callable[[Path], float]]:
    files = sorted(path for path in walk(pack.tree) if not os.path.islink(path) and os.path.isfile(path))
    names = [os.path.relpath(path, os.fsencode(pack.tree)) for path in files]
    some = b"\0".join(random.Random(SEED).sample(names, min(RANDOM_FILES, len(names))))
    return {
        "find -printf %s": lambda root: timed(["find", ".", "-printf", "%s\\n"], cwd=root),
        "cat of all": lambda root: timed(["find", ".", "-type", "f", "-exec", "cat", "{}", "+"], cwd=root),
        f"{RANDOM_FILES} random files": lambda root: timed(["xargs", "-0", "cat", "--"], cwd=root, data=some),
        "grep -r": lambda root: timed(["grep", "-rF", ABSENT, "."], cwd=root, good=(0, 1)),
    }


def walk(tree: Path) -> Iterator[bytes]:
    for folder, _folders, names in os.walk(os.fsencode(tree)):
        yield from (os.path.join(folder, name) for name in names)


def readings(pack: Pack, level: int, work: Path, only: list[str]) -> Iterator[tuple[str, str, float]]:
    """What was done, by whom, in how many seconds."""
    peers: list[Peer] = [Ours(work), SquashfuseLowLevel(work), KernelSquashfs(work)]
    for name, task in tasks(pack).items():
        for state in "cold", "warm":
            for peer in peers:
                archive = pack.made(peer.name, level)
                if peer.program is None or not wanted(f"{name}, {state}", only) or not archive.exists():
                    continue
                bring_in_or_forget(archive, state)
                try:
                    with peer.mounted(archive, SECONDS) as mount:
                        bring_in_or_forget(archive, state)
                        yield f"{name}, {state}", peer.name, task(mount.path)
                        if state == "warm":
                            yield f"{name}, again", peer.name, task(mount.path)
                except (MountError, subprocess.SubprocessError) as error:
                    print(f"{name}: {peer.name}: {error}", file=sys.stderr)


def bring_in(tree: Path) -> None:
    timed(["find", tree, "-type", "f", "-exec", "cat", "{}", "+"])


def bring_in_or_forget(archive: Path, state: str) -> None:
    """Has all of a file in memory, or nothing of any file."""
    if state == "warm":
        with archive.open("rb") as file:
            while file.read(1 << 20):
                pass
    else:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")


def timed(
    command: list[str | Path],
    *,
    cwd: Path | None = None,
    data: bytes = b"",
    stdin: int | None = None,
    env: dict[str, str] | None = None,
    good: tuple[int, ...] = (0,),
) -> float:
    """Seconds that a program took. Raises SubprocessError where it failed."""
    source: dict[str, Any] = {"input": data} if stdin is None else {"stdin": stdin}
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
        **source,
    )
    seconds = time.perf_counter() - started
    if done.returncode not in good:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise subprocess.SubprocessError(f"{command[0]}: exit status {done.returncode}: {last}")
    return seconds


# -- telling -----------------------------------------------------------------------------------------------------


def measure(tree: Path) -> dict[str, int]:
    sizes = [os.lstat(path).st_size for path in walk(tree)]
    return {"files": len(sizes), "bytes": sum(sizes)}


def table(figures: Figures) -> str:
    peers = list(dict.fromkeys(peer for by_peer in figures.values() for peer in by_peer))
    rows = [["", *peers]]
    for name, by_peer in figures.items():
        medians = {peer: statistics.median(values) for peer, values in by_peer.items()}
        ours = medians.get(Ours.name)
        row = [name]
        for peer in peers:
            value = medians.get(peer)
            shown = (
                "" if value is None else f"{value:.3f} s" if not name.endswith("bytes") else f"{value:.0f}"
            )
            known = ours and value is not None and peer != Ours.name
            row.append(shown + (f" ({value / ours:.2f})" if known and ours and value is not None else ""))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


if __name__ == "__main__":
    main()
