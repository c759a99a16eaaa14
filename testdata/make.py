"""Makes the archives of this folder and what is expected of them, with real tools, as root on Debian.

    python3 -m testdata.make [NAME...]        all, or those whose names contain one of the words

needs: tar, libarchive-tools, zstd, git, util-linux, python3.

Names
- ``STEM.tar`` is an archive, ``STEM.tar.zst`` and ``STEM.VARIANT.tar.zst`` the same one compressed.
- ``STEM.expected`` is the tree that each of them must be mounted as: text as in ``tests/trees.py``, made by the
  tool and the command that its first line names, never by rofuse-mount. Lines ``# rule:`` say where our rule is
  not that tool's, or where the two refuse alike.
- ``should-fail-*`` are damaged or not wanted: refused under ``--strict``. Those with an ``.expected`` are otherwise
  mounted as far as they are intact, the others never.
- ``*-ignore-zeros*`` are read with ``--ignore-zeros``.
- ``sample.tar.zst`` is for people to try.

The recipes are in ``recipes.py``; the same versions of the tools make the same bytes again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from testdata.recipes import RECIPES, recipes
from testdata.workshop import Shop, run

FOLDER = Path(__file__).parent


def make(name: str, scratch: Path) -> None:
    recipe = RECIPES[name]
    shop = Shop(name, scratch, FOLDER)
    recipe.make(shop, recipe.parameter)
    if recipe.judge is None:
        return
    recipe.judge.write(shop.archive, scratch, FOLDER / f"{name}.expected", f"{name}.tar")
    if not name.startswith("should-fail-"):
        for path in FOLDER.glob(f"{name}.*tar.zst"):
            if run(["zstd", "-dqc", "--long=31", path]) != shop.archive.read_bytes():
                raise SystemExit(f"{path}: not what was compressed")


def main(words: list[str]) -> None:
    os.umask(0o022)
    for name in sorted(recipes()):
        if not words or any(word in name for word in words):
            print(name, flush=True)
            with tempfile.TemporaryDirectory(prefix="testdata-") as scratch:
                make(name, Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
