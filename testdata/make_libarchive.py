"""Makes the archives of this folder that libarchive reads, and what is expected of them.

    python3 -m testdata.make_libarchive [NAME...]        all, or those whose names contain one of the words

needs: p7zip-full, genisoimage, xorriso, cpio, binutils, gcab, jlha-utils, libarchive-tools, zstd, python3; as root on
Debian.

Names
- ``la-KIND-WHAT.SUFFIX`` was made by the kind's own tool, or by bsdtar where Debian has none (xar, WARC, mtree), or
  byte by byte (``by_hand_rar``).
- ``.expected`` is what bsdtar extracts; ``should-fail-*`` are as in ``make.py``. What an archive does not say is
  unstated.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from testdata.by_hand_rar import File, rar4, rar5
from testdata.workshop import Source, noise, prose, run
from tests.trees import ROOT, Tree, snapshot, with_directory_links, write_expected

FOLDER = Path(__file__).parent

BSDTAR = "bsdtar -x -p --numeric-owner -f ARCHIVE -C DIRECTORY"
SEVENZIP = "7z x -bd -y -oDIRECTORY ARCHIVE"
NO_OWNER = ("uid", "gid")
NO_TIME = ("mtime_ns",)


class Judge(NamedTuple):
    """The command that extracts, and what it cannot know of this archive."""

    command: str = BSDTAR
    unstated: tuple[str, ...] = ()
    """Fields of Record."""
    implied: bool = False
    """Whether the archive holds no directories."""
    notes: tuple[str, ...] = ()
    status: int = 0

    def tree(self, archive: Path, scratch: Path) -> Tree:
        root = scratch / "judged"
        root.mkdir()
        words = {"ARCHIVE": str(archive), "DIRECTORY": str(root), "-oDIRECTORY": f"-o{root}"}
        run([words.get(word, word) for word in shlex.split(self.command)], statuses=[self.status])
        tree = with_directory_links(snapshot(root))
        run(["chmod", "-R", "u+w", root])
        shutil.rmtree(root)
        for path, record in tree.items():
            unstated: dict[str, Any] = dict.fromkeys(self.unstated)
            if record.kind == "dir" and (self.implied or path == ROOT):
                unstated |= dict.fromkeys((*NO_OWNER, *NO_TIME))
                record = record._replace(mode=0o755 if self.implied else None)
            tree[path] = record._replace(**unstated)
        return tree

    def write(self, archive: Path, scratch: Path, expected: Path) -> None:
        tool = shlex.split(self.command)[0]
        option = {"7z": "i", "bsdtar": "--version"}[tool]
        version = next(line for line in run([tool, option]).decode().splitlines() if line.strip())
        made = f"{version}: {self.command.replace('ARCHIVE', archive.name)}"
        write_expected(expected, self.tree(archive, scratch), [made, *self.notes])


class Recipe(NamedTuple):
    suffix: str
    make: Callable[[Path, Path], None]
    """Called with a directory of its own and the archive to be made."""
    judge: Judge | None


RECIPES: dict[str, Recipe] = {}
_Maker = Callable[[Path, Path], None]


def recipe(suffix: str, judge: Judge | None) -> Callable[[_Maker], _Maker]:
    def register(make: _Maker) -> _Maker:
        RECIPES[make.__name__.replace("_", "-")] = Recipe(suffix, make, judge)
        return make

    return register


def tree(scratch: Path, *, links: bool = True, special: bool = False, devices: bool = False) -> Path:
    """A directory to be archived."""
    with Source(scratch / "source") as source:
        source.directory(b"d", mode=0o750, owner=(1000, 1001))
        source.directory(b"d/empty", mode=0o700)
        source.file(b"d/one", b"one\n", mode=0o600, owner=(1000, 100))
        source.file(b"d/program", b"#!/bin/sh\n", mode=0o755, owner=(1000, 1001))
        source.file(b"empty")
        source.file(b"noise", noise(1, 9_000), mode=0o444)
        source.file(b"old", b"old\n", mtime_ns=1_000_000_001 * 10**9)
        source.file(b"text", prose(2, 40_000))
        source.file(b"zeros", bytes(300_000))
        if links:
            source.symlink(b"d/link", b"../text")
            source.symlink(b"dangling", b"no/such/" + b"x" * 80)
            source.hardlink(b"hard", b"text")
        if special:
            source.node(b"fifo", stat.S_IFIFO)
            source.file("grün".encode(), b"1\n")
            source.file(b"latin\xe9", b"2\n")
        if devices:
            source.node(b"null", stat.S_IFCHR, (1, 3))
            source.node(b"disk", stat.S_IFBLK, (8, 1))
    return scratch / "source"


def names(source: Path) -> bytes:
    return b"\n".join(sorted(run(["find", ".", "-mindepth", "1"], cwd=source).splitlines())) + b"\n"


# -- 7z

OF_7Z = ("rule: owners are not in a 7z archive",)


def seven(source: Path, archive: Path, *options: str) -> None:
    run(["7z", "a", "-bd", "-mtc=off", *options, archive, "."], cwd=source)


@recipe("7z", Judge(unstated=NO_OWNER, notes=OF_7Z))
def la_7z_solid(scratch: Path, archive: Path) -> None:
    source = tree(scratch, links=False)
    os.utime(source / "text", ns=(10**9, 1_700_000_000_123_456_700))
    seven(source, archive, "-mx=5")


@recipe("7z", Judge(unstated=NO_OWNER, notes=OF_7Z))
def la_7z_links(scratch: Path, archive: Path) -> None:
    """Symbolic links are compressed with the files. Hard links are files of their own."""
    seven(tree(scratch), archive, "-snl", "-ms=2f", "-m0=bzip2")


@recipe("7z", Judge(unstated=NO_OWNER, notes=OF_7Z))
def la_7z_stored(scratch: Path, archive: Path) -> None:
    source = tree(scratch, links=False)
    (source / "zeros").unlink()
    seven(source, archive, "-mx=0")


# -- ISO 9660


def iso(source: Path, archive: Path, *options: str) -> None:
    run(["genisoimage", "-quiet", "-no-pad", *options, "-o", archive, "."], cwd=source)


@recipe("iso", Judge())
def la_iso_rockridge(scratch: Path, archive: Path) -> None:
    iso(tree(scratch, special=True), archive, "-R", "-input-charset", "utf-8")


@recipe("iso", Judge(unstated=("mode", *NO_OWNER)))
def la_iso_joliet(scratch: Path, archive: Path) -> None:
    iso(tree(scratch, links=False), archive, "-J", "-input-charset", "utf-8")


@recipe("iso", Judge())
def la_iso_zisofs(scratch: Path, archive: Path) -> None:
    """Without zeros: of a file with a block of them libarchive 3.6 gives what is before it."""
    source = tree(scratch)
    (source / "zeros").unlink()
    os.utime(source, (1_700_000_000, 1_700_000_000))
    command = ["-outdev", archive, "-map", source, "/", "-set_filter_r", "--zisofs", "/", "--"]
    run(["xorriso", "-padding", "0", *command])


# -- cpio


def cpio(source: Path, archive: Path, form: str) -> None:
    archive.write_bytes(run(["cpio", "--quiet", "-o", "-H", form], cwd=source, stdin=names(source)))


@recipe("cpio", Judge())
def la_cpio_newc(scratch: Path, archive: Path) -> None:
    """The bytes of a file with two names come with the last."""
    cpio(tree(scratch, special=True, devices=True), archive, "newc")
    (FOLDER / "la-cpio-newc.cpio.zst").write_bytes(run(["zstd", "-qc", "-19", archive]))


@recipe("cpio", Judge())
def la_cpio_odc(scratch: Path, archive: Path) -> None:
    """The bytes of a file with two names come with each."""
    cpio(tree(scratch, special=True, devices=True), archive, "odc")


@recipe("cpio", Judge())
def la_cpio_bin(scratch: Path, archive: Path) -> None:
    cpio(tree(scratch), archive, "bin")


# -- others


@recipe("a", Judge(status=1, notes=("rule: what the table of long names is called is no member",)))
def la_ar_gnu(scratch: Path, archive: Path) -> None:
    source = tree(scratch, links=False)
    (source / "a name that is longer than sixteen bytes").write_bytes(b"long\n")
    os.utime(source / "a name that is longer than sixteen bytes", (10**9, 10**9))
    members = ["noise", "text", "empty", "a name that is longer than sixteen bytes"]
    run(["ar", "rcU", archive, *members], cwd=source)


@recipe("cab", Judge(unstated=(*NO_OWNER, *NO_TIME), implied=True))
def la_cab_gcab(scratch: Path, archive: Path) -> None:
    members = ["d/one", "noise", "text", "zeros", "old"]
    run(["gcab", "-c", "-n", "-z", archive, *members], cwd=tree(scratch, links=False))


@recipe("xar", Judge())
def la_xar_bsdtar(scratch: Path, archive: Path) -> None:
    run(["bsdtar", "-c", "--format=xar", "--numeric-owner", "-f", archive, "."], cwd=tree(scratch))


@recipe("lzh", Judge(unstated=NO_OWNER, implied=True))
def la_lha_jlha(scratch: Path, archive: Path) -> None:
    run(["jlha", "-aq", archive, "d/one", "noise", "text", "zeros"], cwd=tree(scratch, links=False))


@recipe("warc", Judge(unstated=("mode", *NO_OWNER), implied=True))
def la_warc_bsdtar(scratch: Path, archive: Path) -> None:
    source, members = tree(scratch, links=False), ["d/one", "noise", "text"]
    run(["bsdtar", "-c", "--format=warc", "-f", archive, *members], cwd=source)


@recipe("mtree", Judge())
def la_mtree_bsdtar(scratch: Path, archive: Path) -> None:
    with Source(scratch / "source") as source:
        source.directory(b"d", mode=0o750, owner=(1000, 1001), mtime_ns=1_700_000_000_123_456_789)
        source.file(b"d/empty", mode=0o600, owner=(1000, 100))
        source.symlink(b"link", b"d/empty")
        source.node(b"null", stat.S_IFCHR, (1, 3))
    run(["bsdtar", "-c", "--format=mtree", "-f", archive, "."], cwd=scratch / "source")


def _files() -> list[File]:
    return [
        File(b"d", mode=stat.S_IFDIR | 0o750),
        File(b"d/one", b"one\n", stat.S_IFREG | 0o600, nanoseconds=123_456_700),
        File(b"noise", noise(1, 9_000)),
        File("grün".encode(), b"1\n"),
        File(b"empty"),
        File(b"link", mode=stat.S_IFLNK | 0o777, target=b"d/one"),
    ]


@recipe("rar", Judge(unstated=(*NO_OWNER, *NO_TIME)))
def la_rar4_stored(scratch: Path, archive: Path) -> None:
    archive.write_bytes(rar4(*_files()))


@recipe("rar", Judge(unstated=NO_OWNER))
def la_rar5_stored(scratch: Path, archive: Path) -> None:
    archive.write_bytes(rar5(*_files()))


# -- damaged


@recipe("cpio", None)
def should_fail_la_cpio_cut(scratch: Path, archive: Path) -> None:
    """In the data of its last member."""
    cpio(tree(scratch), archive, "newc")
    judge = Judge(notes=("rule: the whole one's; what is cut off cannot be read",))
    found = judge.tree(archive, scratch)
    found[b"zeros"] = found[b"zeros"]._replace(digest=None)
    write_expected(FOLDER / "should-fail-la-cpio-cut.expected", found, judge.notes)
    archive.write_bytes(archive.read_bytes()[:-100_000])


@recipe("7z", None)
def should_fail_la_7z_header(scratch: Path, archive: Path) -> None:
    seven(tree(scratch, links=False), archive)
    data = archive.read_bytes()
    archive.write_bytes(data[:-40] + bytes(40))


def make(name: str, scratch: Path) -> None:
    made = RECIPES[name]
    archive = FOLDER / f"{name}.{made.suffix}"
    archive.unlink(missing_ok=True)
    made.make(scratch, archive)
    if made.judge is not None:
        made.judge.write(archive, scratch, FOLDER / f"{name}.expected")


def main(words: list[str]) -> None:
    os.umask(0o022)
    for name in sorted(RECIPES):
        if not words or any(word in name for word in words):
            print(name, flush=True)
            with tempfile.TemporaryDirectory(prefix="testdata-") as scratch:
                make(name, Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
