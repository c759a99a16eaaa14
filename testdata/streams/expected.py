"""What each stream of this folder holds, as ``EXPECTED`` has it: a line a file, ``NAME SIZE SHA256``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "EXPECTED"


class Expectation(NamedTuple):
    size: int
    digest: str
    """SHA-256, in hex."""


def read_expected() -> dict[str, Expectation]:
    """By file name. Lines that start with ``#`` are comments."""
    found: dict[str, Expectation] = {}
    for line in EXPECTED.read_text().splitlines():
        if not line.startswith("#"):
            name, size, digest = line.split(" ")
            found[name] = Expectation(int(size), digest)
    return found
