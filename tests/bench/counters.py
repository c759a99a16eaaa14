"""How many requests our server answers for each file that is read, and how much of what it pushed nobody read.

    python -m tests.bench.counters [--work DIR] [--small N]

Of the tree in each of its formats, or of N small files, a thousand in a directory: by ``grep -r`` for what is nowhere
and for what is in many files, and by ``cp -r``. READs are shown apart: a directory takes two READDIRPLUS, whatever it
holds, and of a directory that was just listed the first file is read before another can be pushed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.bench.peers import Ours, Peer
from tests.bench.workload import Workload

KINDS = ("tar", "tar.zst", "tar.gz", "stored.zip", "zip", "rpack")
LIMIT = 600  # seconds for one of them


class Served(NamedTuple):
    requests: int
    reads: int
    pushed: int
    unread: int


def served(peer: Peer, archive: Path, command: list[str]) -> Served:
    """What a mount of its own answers while a command runs in it."""
    with peer.mounted(archive, LIMIT) as mount:
        # grep ends with 1 where it finds nothing
        done = subprocess.run(
            command,
            cwd=mount.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode > 1 or done.stderr:
            raise subprocess.SubprocessError(f"{command[0]}: {done.stderr.decode(errors='replace').strip()}")
        status = subprocess.run(
            [peer.program or peer.tool, "status", "--json", mount.path], capture_output=True, check=True
        )
    told = json.loads(status.stdout)
    counts = {name: each["count"] for name, each in told["requests"].items()}
    pushed = told["pushed"]
    return Served(sum(counts.values()), counts.get("READ", 0), pushed["files"], pushed["unread"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, metavar="DIR", help="work here and keep the archives")
    parser.add_argument("--small", type=int, default=0, metavar="N", help="N small files instead of the tree")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rofuse-bench-") as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        workload = Workload(work, entries=arguments.small)
        files = len(workload.files)
        commands = {
            "grep -r, nowhere": ["grep", "-r", "no such words anywhere", "."],
            "grep -r, in many": ["grep", "-r", "-l", "import", "."],
            "cp -r": ["cp", "-r", ".", f"{temporary}/copy"],
        }
        print(f"{files:,} files\n{'':32} requests a file  READs a file  pushed  of these in vain")
        for kind in KINDS:
            peer = Ours(work, kind)
            for name, command in commands.items():
                seen = served(peer, workload.archive(kind), command)
                subprocess.run(["rm", "-rf", f"{temporary}/copy"], check=True)
                print(
                    f"{kind + ', ' + name:32} {seen.requests / files:15.3f} {seen.reads / files:13.3f}"
                    f" {seen.pushed:7} {seen.unread / max(1, seen.pushed):15.1%}"
                )


if __name__ == "__main__":
    main()
