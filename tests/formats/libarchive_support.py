"""For the tests of what libarchive reads: archives, opened, and helper processes that do what they should not."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_formats import Archive, ScanOptions, Settings
from rofuse_formats.archives.libarchive import process
from rofuse_formats.archives.libarchive.decoding import Decoding
from rofuse_formats.archives.libarchive.reading import LibarchiveMembers
from rofuse_formats.archives.libarchive.sevenzip.header import with_header
from rofuse_formats.archives.libarchive.sevenzip.streams import START

TESTDATA = Path(__file__).parents[2] / "testdata"
ARCHIVES = sorted(path for path in TESTDATA.glob("la-*") if path.suffix not in (".expected", ".zst"))


def opened(path: Path, *, keep: bool = False, password: bytes | None = None, **settings: Any) -> Archive:
    return rofuse_formats.open(path, Settings(ScanOptions(password=password), **settings), keep=keep)


def files(archive: Archive) -> dict[bytes, int]:
    """The nodes of all regular files that have bytes, by path, in the archive's order."""
    image = archive.image
    return {
        path: node
        for path, node in image.walk()
        if stat.S_ISREG(image.mode[node - 1]) and image.size[node - 1]
    }


def content(archive: Archive, path: bytes) -> bytes:
    node = archive.image.resolve(path)
    assert node, path
    return b"".join(bytes(piece) for piece in archive.read(node, 0, archive.image.size[node - 1]))


def decodings(archive: Archive) -> list[Decoding]:
    assert isinstance(archive.contents._members, LibarchiveMembers)
    return list(archive.contents._members._decodings.values())


def helpers(archive: Archive) -> list[process.Helper]:
    """Those that are at work."""
    return [
        one.helper
        for decoding in decodings(archive)
        for one in list(decoding._passes)
        if one.helper is not None
    ]


def program_behind(archive: bytes, start: bytes = b"MZ") -> bytes:
    """What begins as a program does, has the magics of archives in it, and this archive at its end."""
    magics = (b"7z\xbc\xaf\x27\x1c\0\4", b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\1\0", b"MSCF\0\0\0\0\0")
    noise = random.Random(5).randbytes(500_001)
    return start + noise[:250_000] + b"\xff".join(magics) + noise[250_000:] + archive


def seven(folder: Path, tree: dict[str, bytes], *options: str, called: str = "it.7z") -> Path:
    """A 7z archive of these files, in this order."""
    if shutil.which("7z") is None:  # not every system has it; .ci/setup installs it
        pytest.skip("needs 7z (package p7zip-full)")
    source = folder / "source"
    for name, data in tree.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    archive = folder / called
    names = "\n".join(tree).encode() + b"\n"
    (folder / "names").write_bytes(names)
    command = ["7z", "a", "-bd", "-mtc=off", *options, str(archive), "@" + str(folder / "names")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    return archive


def texts(count: int, size: int, seed: int = 1) -> dict[str, bytes]:
    """Files that pack to about half."""
    chance, halved = random.Random(seed), bytes(byte & 15 for byte in range(256))
    return {f"d{n % 3}/{n}": chance.randbytes(size).translate(halved) for n in range(count)}


CRASHING = """
import os, signal, sys
sys.path[:0] = {path!r}
from rofuse_formats.archives.libarchive import helper
WHERE = {where!r}
def decode(self, sender, linear, size, whole=helper.Worker._decode):
    if WHERE[0] <= linear < WHERE[1]:
        os.kill(os.getpid(), signal.SIGSEGV)
    whole(self, sender, linear, size)
helper.Worker._decode = decode
def row(self, warning, whole=helper.Lister._row):
    if WHERE[2] >= 0 and self._count > WHERE[2]:
        os.kill(os.getpid(), signal.SIGSEGV)
    return whole(self, warning)
helper.Lister._row = row
helper.main({descriptor})
"""


def crashing(
    monkeypatch: pytest.MonkeyPatch, *, first: int = -1, last: int = -1, row: int = -1
) -> Callable[[], int]:
    """Has helpers die of SIGSEGV when they decode what begins at [first, last) of the linear stream, or list more than
    ``row`` entries. Returns what counts the helpers that were started."""

    class Code(str):
        __slots__ = ()
        started = 0

        def format(self, *arguments: object, **named: object) -> str:
            Code.started += 1
            return CRASHING.format(where=(first, last, row), **named)

    monkeypatch.setattr(process, "_CODE", Code())
    return lambda: Code.started


def descendants() -> set[int]:
    """Processes that this one has started and that are there still."""
    found = set()
    for process_id in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{process_id}/stat").read_text()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(process_id))
    return found


def headed(archive: bytes, header: bytes) -> bytes:
    """A 7z archive with another header, its checksums corrected."""
    return with_header(archive[:START], len(archive), header) + archive[START:] + header
