"""Fuzzes, guided by coverage: ``python tests/fuzz/run.py [--seconds N] [--corpus DIR] [TARGET...]``, all by default.

Each target runs in a process of its own, one after the other. The corpus grows in DIR/TARGET (default: ``.fuzz`` in the
checkout, not kept in the repository), beginning with the target's own seeds; an input that was found to fail lies in
DIR/TARGET.finds. A find that was repaired is kept in ``tests/fuzz/finds/TARGET``, where the tests try it ever after.

Needs atheris (``pip install .[fuzz]``). Exit status: 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MIB = 2048  # of memory that a target may use
_SLOW = 10  # seconds of one input that are a find
_PROGRESS = re.compile(r"#(\d+)\s+[A-Zp][A-Za-z]+ .*cov: (\d+) ft: (\d+)")  # of libFuzzer
_SAID_ANYWAY = ("INFO: ", "#", "Done ", '"', "WARNING: Failed to find function", "######")


def main() -> int:
    sys.path[:0] = [str(ROOT), str(ROOT / "formats")]
    from tests.fuzz import targets

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target [60]")
    parser.add_argument(
        "--corpus", type=Path, default=ROOT / ".fuzz", help="where inputs are collected [.fuzz]"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets.names()))
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(targets.names())
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if arguments.here:
        _fuzz_here(arguments.targets[0], arguments.seconds, arguments.corpus)
    try:
        importlib.import_module("atheris")
    except ImportError:
        sys.exit("run.py: atheris is missing: pip install atheris")
    failed = [
        name
        for name in arguments.targets or targets.names()
        if _fuzz_apart(name, arguments.seconds, arguments.corpus)
    ]
    for name in failed:
        print(f"{name}: FOUND something, see {arguments.corpus / name}.finds")
    return 1 if failed else 0


def _fuzz_apart(name: str, seconds: int, corpus: Path) -> int:
    print(f"==> {name}, {seconds} s", flush=True)
    command = [sys.executable, __file__, "--here", "--seconds", str(seconds), "--corpus", str(corpus), name]
    executions, edges, features = "0", "?", "?"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="backslashreplace") as process:
        for line in process.stderr or ():
            if found := _PROGRESS.match(line):
                executions, edges, features = found.groups()
            elif not line.startswith(_SAID_ANYWAY):
                sys.stderr.write(line)
    print(f"{name}: {int(executions):,} executions, {edges} edges covered, {features} features", flush=True)
    return process.returncode


def _fuzz_here(name: str, seconds: int, corpus: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["rofuse_formats", "rofuse_mount"]):
        from tests.fuzz import targets

        target = targets.target(name)
        seeds = list(target.seeds())
        for seed in seeds[:10]:  # what is imported late is imported here
            target.fuzz(seed)
    inputs, finds = corpus / name, corpus / f"{name}.finds"
    for folder in (inputs, finds):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (inputs / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup(
        [
            name,
            str(inputs),
            f"-max_total_time={seconds}",
            f"-max_len={target.MAX_LEN}",
            f"-rss_limit_mb={_MIB}",
            f"-timeout={_SLOW}",
            f"-artifact_prefix={finds}/",
            "-print_final_stats=0",
        ],
        target.fuzz,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
