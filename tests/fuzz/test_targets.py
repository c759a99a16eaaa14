"""The fuzzers' targets, without the fuzzer: their seeds, what was once found, and a few damaged copies of each seed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets

FINDS = Path(__file__).parent / "finds"
FOUND = sorted(path for path in FINDS.glob("*/*") if path.is_file())
COPIES = 120


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A copy that was cut, or had some of its bytes changed or moved."""
    copy = bytearray(data)
    for _ in range(chance.choice((1, 2, 8))):
        if not copy:
            break
        at = chance.randrange(len(copy))
        kind = chance.randrange(4)
        if kind == 0:
            copy[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            copy[at : at + 8] = chance.choice((b"\xff" * 8, bytes(8), b"\1" + bytes(7)))
        elif kind == 2:
            del copy[at:]
        else:
            copy[at:at] = copy[chance.randrange(len(copy)) :][: chance.randrange(64)]
    return bytes(copy)


@pytest.mark.parametrize("name", targets.names())
def test_a_target_holds_for_its_seeds_and_damaged_copies(name: str) -> None:
    target, chance = targets.target(name), random.Random(name)
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.fuzz(seed)
    for _ in range(COPIES):
        data = damaged(chance.choice(seeds), chance)
        try:
            target.fuzz(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data.hex()}") from error


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}-{path.name}" for path in FOUND])
def test_what_was_found_is_found_no_more(path: Path) -> None:
    targets.target(path.parent.name).fuzz(path.read_bytes())


def test_the_fuzzer_knows_its_targets() -> None:
    command = [sys.executable, str(Path(__file__).parent / "run.py"), "nothing"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "no such target: nothing" in result.stderr
