"""Archives of the kinds that libarchive reads, damaged in any way.

``ROFUSE_MUTATIONS`` says how many there are to be, ``ROFUSE_SEED`` which; the few of an ordinary run are others every
day.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.formats.libarchive_support import ARCHIVES

SEED = os.environ.get("ROFUSE_SEED", time.strftime("%Y-%j"))
_LARGEST = 1 << 20  # bytes of an archive that is tried


def count(usual: int) -> int:
    return int(os.environ.get("ROFUSE_MUTATIONS", usual))


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Its magic is left to it: what is not recognised tries nothing."""
    copy = bytearray(data)
    for _ in range(chance.choice((1, 3, 10))):
        at = _place(copy, chance)
        kind = chance.randrange(5)
        if kind < 2:
            copy[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 2:
            copy[at : at + 8] = chance.choice((b"\xff" * 8, bytes(8), b"\1" + bytes(7), b"\x7f" * 4))
        elif kind == 3:
            copy[at:at] = copy[chance.randrange(len(copy)) :][: chance.randrange(64)]
        elif chance.randrange(3) == 0:
            del copy[at:]
    return bytes(copy)


def _place(data: bytearray, chance: random.Random) -> int:
    """Rather where something is: most of a disk image is zeros."""
    at = chance.randrange(8, max(9, len(data)))
    for _ in range(8):
        if any(data[at : at + 1]):
            break
        at = chance.randrange(8, max(9, len(data)))
    return at


def made(folder: Path, number: int) -> Iterator[Path]:
    """So many files in ``folder``, of all kinds in turn. Each is written when its turn comes."""
    chance = random.Random(SEED)
    seeds = [path for path in ARCHIVES if path.stat().st_size <= _LARGEST]
    chance.shuffle(seeds)
    for index in range(number):
        seed = seeds[index % len(seeds)]
        path = folder / f"{index}-{seed.name}"
        path.write_bytes(mutated(seed.read_bytes(), chance))
        yield path
