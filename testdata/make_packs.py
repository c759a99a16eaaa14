"""Makes the packs of this folder of its tar archives, with ``rofuse-mount pack``: no other tool writes packs.

    python3 -m testdata.make_packs [NAME...]        all, or those whose names contain one of the words

What is expected of ``pack-X.rpack`` is what is expected of ``X.tar``, which another tool found. Those with ``small`` in
their names have blocks of 4 KiB and a dictionary.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

TARS = ("basic-posix", "devices-posix", "hardlinks-posix", "names-posix", "xattrs-posix", "times-posix")
SMALL = ("names-posix", "sparse-oldgnu")


def make(name: str, tar: str, *options: str) -> None:
    command = [sys.executable, "-m", "rofuse_mount", "pack", "--force", "--verify", "--jobs", "1", *options]
    subprocess.run([*command, FOLDER / f"{tar}.tar", FOLDER / f"{name}.rpack"], check=True)
    # What stands in a name before its first dot is the name of what is expected.
    (FOLDER / f"{name}.expected").write_bytes((FOLDER / f"{tar}.expected").read_bytes())


def main(words: list[str]) -> None:
    plans: dict[str, tuple[str, ...]] = {f"pack-{tar.replace('.', '-')}": (tar,) for tar in TARS}
    plans |= {f"pack-small-{tar}": (tar, "--block-size", "4K", "--dictionary") for tar in SMALL}
    for name, plan in plans.items():
        if not words or any(word in name for word in words):
            make(name, *plan)


if __name__ == "__main__":
    main(sys.argv[1:])
