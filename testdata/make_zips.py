"""Makes the zip archives of this folder and what is expected of them, as ``make.py`` makes the tar archives.

    python3 -m testdata.make_zips [NAME...]        all, or those whose names contain one of the words

needs: zip, unzip, p7zip-full (7-Zip), libarchive-tools, zstd, a JDK's jar, python3; as root on Debian.

Names
- ``zip-WHAT-TOOL.zip`` was made by the tool, ``zip-WHAT.zip`` byte by byte by the standard library and ``by_hand``.
- ``.expected`` and ``should-fail-*`` are as in ``make.py``. A judge that cannot tell a time or an owner, because the
  archive does not say it, leaves it unstated: what stands for it is the machine's zone, and who owns the archive.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from testdata import by_hand
from testdata.workshop import MTIME, Source, noise, prose, run
from tests.trees import ROOT, Tree, snapshot, with_directory_links, write_expected

FOLDER = Path(__file__).parent

UNZIP = "unzip -q -o -X -K ARCHIVE -d DIRECTORY"
BSDTAR = "bsdtar -x -p --numeric-owner -f ARCHIVE -C DIRECTORY"
SEVENZIP = "7z x -bd -y -snld20 -oDIRECTORY ARCHIVE"


class Judge(NamedTuple):
    """The command that extracts, and what it cannot know of this archive."""

    command: str = UNZIP
    unstated: tuple[str, ...] = ()
    """Fields of Record."""
    status: int = 0
    notes: tuple[str, ...] = ()

    def tree(self, archive: Path, scratch: Path) -> Tree:
        root = scratch / "judged"
        root.mkdir()
        words = {"ARCHIVE": str(archive), "DIRECTORY": str(root), "-oDIRECTORY": f"-o{root}"}
        stdin = archive.read_bytes() if "-f -" in self.command else b""
        run(
            [words.get(word, word) for word in shlex.split(self.command)], stdin=stdin, statuses=[self.status]
        )
        tree = with_directory_links(snapshot(root))
        shutil.rmtree(root)
        held = held_directories(archive)
        for path, record in tree.items():
            unstated: dict[str, Any] = dict.fromkeys(self.unstated)
            if self.command.startswith("unzip") and (record.kind == "symlink" or path == ROOT):
                unstated["mtime_ns"] = None  # which it does not set
            if record.kind == "dir" and path not in held:
                record = record._replace(mode=0o755, uid=None, gid=None, mtime_ns=None)
            tree[path] = record._replace(**unstated)
        return tree

    def write(self, archive: Path, scratch: Path, expected: Path) -> None:
        tool = shlex.split(self.command)[0]
        option = {"unzip": "-v", "7z": "i", "bsdtar": "--version"}[tool]
        version = next(line for line in run([tool, option]).decode().splitlines() if line.strip())
        made = f"{version}: {self.command.replace('ARCHIVE', archive.name)}"
        write_expected(expected, self.tree(archive, scratch), [made, *self.notes])


def held_directories(archive: Path) -> set[bytes]:
    """The directories that an archive holds as members, by the standard library's word."""
    try:
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
    except zipfile.BadZipFile:
        return set()
    return {os.path.normpath(os.fsencode(name)) or ROOT for name in names if name.endswith("/")}


class Recipe(NamedTuple):
    make: Callable[[Path, Path], None]
    """Called with a directory of its own and the archive to be made."""
    judge: Judge | None


RECIPES: dict[str, Recipe] = {}

NO_OWNER = ("uid", "gid")
NO_TIME = ("mtime_ns",)
DOS = (*NO_OWNER, *NO_TIME)


def recipe(judge: Judge | None) -> Callable[[Callable[[Path, Path], None]], Callable[[Path, Path], None]]:
    def register(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        RECIPES[make.__name__.replace("_", "-")] = Recipe(make, judge)
        return make

    return register


def tree(scratch: Path, *, links: bool = True, names: bool = False) -> Path:
    """A directory to be archived."""
    with Source(scratch / "source") as source:
        source.directory(b"d", mode=0o750, owner=(1000, 1001))
        source.directory(b"d/empty", mode=0o700)
        source.file(b"d/one", b"one\n", mode=0o600, owner=(1000, 100))
        source.file(b"d/program", b"#!/bin/sh\n", mode=0o755, owner=(70_000, 80_000))
        source.file(b"empty")
        source.file(b"noise", noise(1, 20_000), mode=0o444)
        source.file(b"old", b"old\n", mtime_ns=1_000_000_001 * 10**9)
        source.file(b"text", prose(2, 150_000))
        source.file(b"zeros", bytes(1_200_000))
        if links:
            source.symlink(b"d/link", b"../text")
            source.symlink(b"dangling", b"no/such/" + b"x" * 200)
        if names:
            source.file("grün".encode(), b"1\n")
            source.file("日本語.txt".encode(), b"2\n")
            source.file(b"with space", b"3\n")
    return scratch / "source"


# -- Info-ZIP


def infozip(source: Path, archive: Path, *options: str) -> None:
    run(["zip", "-q", "-y", *options, "-r", archive, "."], cwd=source)


@recipe(Judge())
def zip_basic_infozip(scratch: Path, archive: Path) -> None:
    infozip(tree(scratch), archive)


@recipe(Judge())
def zip_stored_infozip(scratch: Path, archive: Path) -> None:
    with Source(scratch / "source") as source:
        source.file(b"noise", noise(3, 5_000))
        source.file(b"text", prose(3, 9_000))
        source.file(b"large", prose(4, 1_000) * 1_100)
    infozip(scratch / "source", archive, "-0", "-x", "large")
    infozip(scratch / "source", archive, "-9", "-i", "large")


@recipe(Judge())
def zip_bzip2_infozip(scratch: Path, archive: Path) -> None:
    infozip(tree(scratch), archive, "-Z", "bzip2")


@recipe(Judge())
def zip_names_infozip(scratch: Path, archive: Path) -> None:
    infozip(tree(scratch, names=True), archive)


@recipe(Judge())
def zip_dos_attributes_infozip(scratch: Path, archive: Path) -> None:
    """Without extra fields, and as if made on DOS: what remains are DOS times and attributes."""
    infozip(tree(scratch, links=False), archive, "-X", "-k")


RECIPES["zip-dos-attributes-infozip"] = Recipe(zip_dos_attributes_infozip, Judge(unstated=DOS))


@recipe(Judge())
def zip_streamed_infozip(scratch: Path, archive: Path) -> None:
    """To a pipe: sizes stand behind the data."""
    archive.write_bytes(run(["zip", "-q", "-y", "-r", "-", "."], cwd=tree(scratch)))


@recipe(Judge(unstated=(*DOS, "mode")))
def zip_pipe_infozip(scratch: Path, archive: Path) -> None:
    """From a pipe and to one: zip64 everywhere, for nobody knows what comes."""
    archive.write_bytes(run(["zip", "-q", "-", "-"], stdin=prose(5, 50_000)))


@recipe(Judge(SEVENZIP, (*NO_OWNER, "mode")))
def zip_comment_infozip(scratch: Path, archive: Path) -> None:
    """The archive's comment looks like an end record. (unzip and bsdtar are fooled by it.)"""
    infozip(tree(scratch), archive)
    false = b"PK\5\6" + bytes(4) + b"\1\0\1\0" + b"\x2e\0\0\0" + b"\4\0\0\0" + b"\3\0" + b"end"
    with zipfile.ZipFile(archive, "a") as file:
        file.comment = b"A comment. " + false


@recipe(Judge())
def zip_self_extracting_infozip(scratch: Path, archive: Path) -> None:
    """Behind a script, with offsets that count from the archive's own beginning."""
    plain = scratch / "plain.zip"
    infozip(tree(scratch), plain)
    archive.write_bytes(b"#!/bin/sh\nexec unzip -q $0\n" + noise(6, 3_000) + plain.read_bytes())


RECIPES["zip-self-extracting-infozip"] = Recipe(zip_self_extracting_infozip, Judge(status=1))


@recipe(Judge())
def zip_self_extracting_adjusted_infozip(scratch: Path, archive: Path) -> None:
    """Behind a script, with offsets that count from the file's beginning."""
    zip_self_extracting_infozip(scratch, archive)
    run(["zip", "-q", "-A", archive])


@recipe(Judge(status=1))
def zip_concatenated_infozip(scratch: Path, archive: Path) -> None:
    """Two archives: the second counts."""
    parts = []
    for name in ("first", "second"):
        with Source(scratch / name) as source:
            source.file(name.encode(), prose(7, 2_000))
        infozip(scratch / name, scratch / f"{name}.zip")
        parts.append((scratch / f"{name}.zip").read_bytes())
    archive.write_bytes(b"".join(parts))


@recipe(Judge())
def zip_garbage_behind_infozip(scratch: Path, archive: Path) -> None:
    infozip(tree(scratch), archive)
    archive.write_bytes(archive.read_bytes() + noise(8, 1_000))


# -- the others


@recipe(Judge())
def zip_basic_bsdtar(scratch: Path, archive: Path) -> None:
    run(["bsdtar", "-c", "--format=zip", "--numeric-owner", "-f", archive, "."], cwd=tree(scratch))


@recipe(Judge(SEVENZIP, NO_OWNER))
def zip_basic_7z(scratch: Path, archive: Path) -> None:
    """Times to 100 ns."""
    source = tree(scratch)
    os.utime(source / "text", ns=(MTIME * 10**9, MTIME * 10**9 + 123_456_700))
    run(["7z", "a", "-bd", "-snl", "-mtc=off", archive, "."], cwd=source)


def _methods(name: str, *options: str) -> None:
    def make(scratch: Path, archive: Path) -> None:
        run(["7z", "a", "-bd", "-tzip", *options, archive, "."], cwd=tree(scratch, links=False))

    RECIPES[f"zip-{name}-7z"] = Recipe(make, Judge(SEVENZIP, NO_OWNER))


_methods("deflate64", "-mm=Deflate64")
_methods("lzma", "-mm=LZMA")
_methods("bzip2", "-mm=BZip2")
_methods("ppmd", "-mm=PPMd")


@recipe(Judge(unstated=DOS))
def zip_basic_jar(scratch: Path, archive: Path) -> None:
    run(["jar", "--create", "--file", archive, "."], cwd=tree(scratch, links=False))


@recipe(Judge(BSDTAR, DOS))
def zip_methods_python(scratch: Path, archive: Path) -> None:
    """All of the standard library's methods, a member with zip64, names in UTF-8."""
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(archive, "w") as file:
        for method in methods:
            file.writestr(f"method-{method}", prose(method, 40_000), method)
            file.writestr(f"large-{method}", prose(method, 2_000) * 600, method)
        with file.open("zip64", "w", force_zip64=True) as member:
            member.write(prose(9, 1_000))
        file.writestr("größe/übung", b"umlauts\n")
        file.writestr("empty", b"")


# -- byte by byte


def _by_hand(name: str, judge: Judge, data: Callable[[], bytes]) -> None:
    def make(scratch: Path, archive: Path) -> None:
        archive.write_bytes(data())

    RECIPES[name] = Recipe(make, judge)


_by_hand("zip-xz-and-zstd", Judge(BSDTAR, DOS), by_hand.xz_and_zstd)
_by_hand("zip-cp437", Judge(f"{BSDTAR} --options zip:hdrcharset=CP437", (*DOS, "mode")), by_hand.cp437)
_by_hand("zip-cp932", Judge(f"{BSDTAR} --options zip:hdrcharset=CP932", (*DOS, "mode")), by_hand.cp932)
_by_hand("zip-backslashes", Judge(unstated=DOS, status=1), by_hand.backslashes)
_by_hand("zip-duplicates", Judge(unstated=DOS), by_hand.duplicates)
_by_hand("zip-unclean", Judge(BSDTAR, DOS, status=1), by_hand.unclean)
_by_hand("zip-zip64", Judge(unstated=DOS), by_hand.zip64)
_by_hand("zip-no-directories", Judge(unstated=DOS), by_hand.no_directories)


@recipe(None)
def zip_empty_python(scratch: Path, archive: Path) -> None:
    zipfile.ZipFile(archive, "w").close()


# -- damaged

STREAMED = "bsdtar -x --numeric-owner -f - -C DIRECTORY"
REBUILT = Judge(
    STREAMED, ("mode", *NO_OWNER), status=1, notes=("rule: permissions lie in the directory that is lost",)
)


@recipe(REBUILT)
def should_fail_zip_no_directory(scratch: Path, archive: Path) -> None:
    infozip(tree(scratch, links=False), archive)
    data = archive.read_bytes()
    archive.write_bytes(data[: data.index(b"PK\1\2")])


@recipe(REBUILT)
def should_fail_zip_no_directory_streamed(scratch: Path, archive: Path) -> None:
    archive.write_bytes(run(["zip", "-q", "-r", "-", "."], cwd=tree(scratch, links=False)))
    data = archive.read_bytes()
    archive.write_bytes(data[: data.index(b"PK\1\2")])


@recipe(None)
def should_fail_zip_nothing_in_it(scratch: Path, archive: Path) -> None:
    archive.write_bytes(b"PK\3\4" + noise(10, 3_000))


def make(name: str, scratch: Path) -> None:
    archive = FOLDER / f"{name}.zip"
    archive.unlink(missing_ok=True)
    recipe = RECIPES[name]
    recipe.make(scratch, archive)
    if recipe.judge is not None:
        recipe.judge.write(archive, scratch, FOLDER / f"{name}.expected")
    if name == "zip-basic-infozip":
        (FOLDER / f"{name}.zip.zst").write_bytes(run(["zstd", "-qc", "-19", archive]))


def main(words: list[str]) -> None:
    os.umask(0o022)
    for name in sorted(RECIPES):
        if not words or any(word in name for word in words):
            print(name, flush=True)
            with tempfile.TemporaryDirectory(prefix="testdata-") as scratch:
                make(name, Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
