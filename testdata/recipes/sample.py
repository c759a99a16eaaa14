"""A small pleasant archive for people to try: a made-up project that counts the fruit of an orchard."""

from __future__ import annotations

import random

from testdata.recipes import recipe
from testdata.workshop import Shop, Source, prose

README = b"""\
Orchard
=======

Counts what grows, year by year: a program, its notes, and six harvests.

    bin/orchard harvest/2021.csv        what each row of trees bore in 2021
    bin/orchard harvest/*.csv           all years together

The notes in docs/ say how the rows are named and when to pick what.
"""

PROGRAM = b"""\
#!/usr/bin/env python3
import sys

sys.path.insert(0, __file__.rpartition("/bin/")[0] + "/lib")

import orchard

orchard.main(sys.argv[1:])
"""

LIBRARY = b"""\
\"\"\"Adds up harvests.\"\"\"

import collections
import csv


def total(paths):
    crates = collections.Counter()
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                crates[row["variety"]] += int(row["crates"])
    return crates


def main(paths):
    for variety, crates in total(paths).most_common():
        print(f"{crates:6} {variety}")
"""

VARIETIES = ("early red", "late red", "russet", "yellow cellar", "winter green", "sweet pear", "small plum")


def harvest(year: int) -> bytes:
    chance = random.Random(year)
    lines = ["day,row,variety,crates"]
    for day in range(240, 300):
        for row in range(1, 13):
            variety = VARIETIES[(row * 5 + row // 3) % len(VARIETIES)]
            lines.append(f"{year}-{day},{row},{variety},{chance.randint(0, 30)}")
    return "\n".join(lines).encode() + b"\n"


def landscape(width: int, height: int) -> bytes:
    """A picture (binary PPM): a hill under a sky, with trees."""
    chance = random.Random(1)
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            hill = height * 0.6 - (x - width / 2) ** 2 / (2.2 * width)
            if y < hill:
                pixels += bytes((130 + y // 2, 180 + y // 4, 235))
            elif chance.random() < 0.03:
                pixels += bytes((170, 40, 40))
            else:
                pixels += bytes((60, 120 + chance.randint(0, 40), 50))
    return b"P6\n%d %d\n255\n" % (width, height) + pixels


def plant(source: Source) -> None:
    source.file(b"README", README)
    source.directory(b"bin")
    source.file(b"bin/orchard", PROGRAM, mode=0o755)
    source.directory(b"lib")
    source.file(b"lib/orchard.py", LIBRARY)
    source.directory(b"docs")
    for number, name in enumerate((b"grafting", b"pruning", b"rows", b"seasons", b"storing")):
        source.file(b"docs/" + name + b".txt", prose(50 + number, 3_000 + 700 * number))
    source.symlink(b"docs/README", b"../README")
    source.file(b"docs/orchard.ppm", landscape(288, 180))
    source.directory(b"harvest")
    for year in range(2018, 2024):
        source.file(b"harvest/%d.csv" % year, harvest(year))
    source.symlink(b"harvest/latest.csv", b"2023.csv")
    source.directory(b"letters", mode=0o750)
    for number in range(1, 13):
        source.file(b"letters/%02d.txt" % number, prose(80 + number, 900 + 150 * number), mode=0o640)
    source.file(b"letters/\xc3\xa0 la carte.txt", prose(99, 500), mode=0o640)
    source.directory(b"seeds")
    for variety in VARIETIES:
        source.file(b"seeds/" + variety.encode().replace(b" ", b"-"), prose(len(variety), 300))
    source.hardlink(b"seeds/favourite", b"seeds/russet")
    source.directory(b"empty-crate")


@recipe()
def sample(shop: Shop, _: str) -> None:
    with shop.source("orchard") as source:
        plant(source)
    shop.gnu_tar("--format=posix", "--pax-option=delete=atime,delete=ctime", "orchard", source=".")
    shop.zstd("", "-19")
