"""Archives that were damaged in any way: no crash but a helper's, no hang, no file that is longer than it claims.

``ROFUSE_MUTATIONS`` says how many there are to be; the few of an ordinary run are others every day.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rofuse_formats.errors import FormatError
from tests.formats.libarchive_support import ARCHIVES, files, opened

COUNT = int(os.environ.get("ROFUSE_MUTATIONS", "40"))
SEED = os.environ.get("ROFUSE_SEED", time.strftime("%Y-%j"))
_LARGEST = 60_000  # bytes of an archive that is tried
_READ = 6  # files of each


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Its magic is left to it: what is not recognised tries nothing."""
    copy = bytearray(data)
    for _ in range(chance.choice((1, 3, 10))):
        at = chance.randrange(8, max(9, len(copy)))
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


def attempt(path: Path) -> None:
    try:
        archive = opened(path, spool=False)
    except FormatError as error:
        assert "\n" not in str(error)
        return
    for node in list(files(archive).values())[:_READ]:
        size = min(archive.image.size[node - 1], 1 << 20)
        try:
            assert sum(map(len, archive.read(node, 0, size))) == size
        except FormatError as error:
            assert "\n" not in str(error)
    archive.close()


def test_damaged_archives(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    seeds = [path for path in ARCHIVES if path.stat().st_size <= _LARGEST or path.suffix == ".cpio"]
    made = []
    for number in range(COUNT):
        seed = seeds[number % len(seeds)]
        path = tmp_path / f"{number}-{seed.name}"
        path.write_bytes(mutated(seed.read_bytes(), chance))
        made.append(path)
    with ThreadPoolExecutor(2) as pool:
        for path, outcome in [(path, pool.submit(attempt, path)) for path in made]:
            error = outcome.exception(timeout=240)
            if error is not None:
                raise AssertionError(f"ROFUSE_SEED={SEED} ROFUSE_MUTATIONS={COUNT}: {path.name}") from error
            path.unlink()
