"""One tree as a tar in every stream it comes in: made once by the real tools, kept, and used again.

A new row is a new line of ``ROWS``.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.bench.workload import new
from tests.trees import snapshot, with_directory_links, write_expected

TAR = ("tar", "-c", "--sort=name", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--xattrs")
UNTAR = ("tar", "-x", "-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*")


class Row(NamedTuple):
    """One way to compress the tar."""

    name: str
    suffix: str
    command: tuple[str, ...] = ()
    """Reads the tar's path as last argument and writes to standard output; none: the tar as it is."""

    @property
    def shown(self) -> str:
        return f"{self.suffix} {shlex.join(self.command)}".strip()


ROWS = (
    Row("tar", ".tar"),
    Row("gzip", ".tar.gz", ("gzip", "-c")),
    Row("pigz", ".tar.gz", ("pigz", "-c")),
    Row("bgzip", ".tar.gz", ("bgzip", "-c", "-@2")),
    Row("bzip2", ".tar.bz2", ("bzip2", "-c")),
    Row("lbzip2", ".tar.bz2", ("lbzip2", "-c")),
    Row("xz-one-block", ".tar.xz", ("xz", "-c", "-T1")),
    Row("xz-T2", ".tar.xz", ("xz", "-c", "-T2")),
    Row("lz4", ".tar.lz4", ("lz4", "-q", "-c")),
    Row("lz4-BD", ".tar.lz4", ("lz4", "-q", "-c", "-BD")),
    Row("zstd", ".tar.zst", ("zstd", "-q", "-c")),
    Row("pzstd", ".tar.zst", ("pzstd", "-q", "-c")),
    Row("zstd-long27", ".tar.zst", ("zstd", "-q", "-c", "--long=27")),
    Row("zstd-19", ".tar.zst", ("zstd", "-q", "-c", "-19", "-T0")),
)


class Archives:
    """The archives of ``tree`` in the directory ``work``, each made when it is first asked for."""

    def __init__(self, tree: Path, work: Path) -> None:
        self.tree, self.work = tree.resolve(), work
        work.mkdir(parents=True, exist_ok=True)

    def archive(self, row: Row) -> Path:
        """The archive of this row. Raises CalledProcessError, OSError where its tool fails or is not here."""
        path = self.work / f"{row.name}{row.suffix}"
        if not path.exists():
            with new(path) as part:
                self._make(row, part)
        return path

    def _make(self, row: Row, path: Path) -> None:
        if not row.command:
            subprocess.run([*TAR, "-f", path, "-C", self.tree, "."], check=True)
            return
        with open(path, "wb") as output:
            subprocess.run([*row.command, self.archive(ROWS[0])], stdout=output, check=True)

    def expected(self) -> Path:
        """The tree as GNU tar takes it out of the archive, as text (see ``tests/trees.py``): what a mount of any of
        them must look like. Needs the room for it while it is made, and to be root for its owners."""
        path = self.work / "expected.tree"
        if not path.exists():
            root = self.work / "extracted"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            subprocess.run([*UNTAR, "-f", self.archive(ROWS[0]), "-C", root], check=True)
            with new(path) as part:
                write_expected(part, with_directory_links(snapshot(root)))
            shutil.rmtree(root)
        return path

    def sample(self, count: int, seed: int) -> list[bytes]:
        """Paths of ``count`` regular files, the same for the same tree and seed."""
        root = os.fsencode(self.tree)
        files = [
            os.path.relpath(os.path.join(folder, name), root)
            for folder, _folders, names in os.walk(root)
            for name in names
        ]
        regular = sorted(path for path in files if _is_regular(os.path.join(root, path)))
        return random.Random(seed).sample(regular, min(count, len(regular)))


def _is_regular(path: bytes) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)
