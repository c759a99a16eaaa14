"""Archives behind a program that unpacks them: 7z, rar, cab. What is one, what is none, and that all is found in it."""

from __future__ import annotations

import random
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from rofuse_formats.archives.libarchive import FORMAT, magic
from rofuse_formats.detect import HEAD, PROGRAM, TAIL
from rofuse_formats.errors import UnknownFormatError
from rofuse_formats.indexing import write_index
from rofuse_formats.settings import Settings
from rofuse_formats.source import FileSource
from rofuse_formats.verify import verify
from testdata.by_hand_rar import File, rar4, rar5
from tests.archive_tree import tree_of
from tests.formats.libarchive_support import TESTDATA, content, opened, program_behind, seven, texts
from tests.trees import difference, read_expected

ARCHIVES = ["la-7z-solid.7z", "la-7z-stored.7z", "la-7z-links.7z", "la-rar4-stored.rar", "la-rar5-stored.rar"]
ARCHIVES += ["la-cab-gcab.cab"]
STUBS = Path("/usr/lib/p7zip/7zCon.sfx"), Path("/usr/lib/7zip/7zCon.sfx")


@pytest.mark.parametrize(
    ("name", "start"), [*((name, b"MZ") for name in ARCHIVES), (ARCHIVES[0], b"\x7fELF")]
)
def test_it_is_the_tree_of_the_archive(name: str, start: bytes, tmp_path: Path) -> None:
    """Also with a signature behind it, as signed installers have it."""
    path, bare = tmp_path / "setup.exe", TESTDATA / name
    path.write_bytes(program_behind(bare.read_bytes(), start) + bytes(500))
    found = opened(path)
    assert difference(read_expected(bare.with_suffix(".expected")), tree_of(found)) == []
    assert found.report.lines() == opened(bare).report.lines() and found.kind == opened(bare).kind
    assert [finding for finding in verify(found) if finding.error] == []


@pytest.mark.parametrize("name", ["la-7z-solid.7z", "la-7z-stored.7z", "la-rar5-stored.rar"])
def test_compressed_as_a_whole(name: str, tmp_path: Path) -> None:
    path, bare = tmp_path / "setup.exe.zst", TESTDATA / name
    path.write_bytes(zstandard.compress(program_behind(bare.read_bytes())))
    found = opened(path)
    assert found.compression == ["zstd"]
    assert difference(read_expected(bare.with_suffix(".expected")), tree_of(found)) == []


def test_members_that_are_stored_come_from_the_map(tmp_path: Path) -> None:
    path = tmp_path / "setup.exe"
    bare = (TESTDATA / "la-7z-stored.7z").read_bytes()
    path.write_bytes(program_behind(bare))
    before, image = len(program_behind(b"")), opened(TESTDATA / "la-7z-stored.7z").image
    found = opened(path).image
    assert [one.at for one in found.members()] == [one.at + before for one in image.members()] != []


# The programs that 7-Zip puts before an archive come with it; .ci/setup installs it.
@pytest.mark.skipif(not any(stub.exists() for stub in STUBS), reason="needs p7zip-full")
def test_as_7z_makes_it(tmp_path: Path) -> None:
    tree = texts(4, 100_000)
    archive = seven(tmp_path, tree, "-mx=1", "-sfx7zCon.sfx", called="it.exe")
    found = opened(archive)
    assert {name: content(found, name.encode()) for name in tree} == tree
    assert found.kind == "7z"


def test_encrypted(tmp_path: Path) -> None:
    """What is told by libarchive, not by us."""
    archive = seven(tmp_path, texts(2, 5_000), "-psecret")
    path = tmp_path / "setup.exe"
    path.write_bytes(program_behind(archive.read_bytes()))
    assert opened(path).report.lines() == opened(archive).report.lines()


def test_a_zip_stays_one(tmp_path: Path) -> None:
    """Whatever else there is in its program, or in it."""
    path = tmp_path / "setup.exe"
    path.write_bytes(program_behind((TESTDATA / "la-7z-solid.7z").read_bytes()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("file", b"zipped")
    found = opened(path)
    assert found.format == "zip" and content(found, b"file") == b"zipped"


def test_a_tar_of_programs_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    (tmp_path / "setup.exe").write_bytes(program_behind((TESTDATA / "la-7z-solid.7z").read_bytes()))
    subprocess.run(["tar", "-cf", path, "-C", tmp_path, "setup.exe"], check=True)
    assert opened(path).format == "tar"


# -- what is none


def seven_head(offset: int, size: int, checksum: int = 0) -> bytes:
    lies = struct.pack("<QQI", offset, size, checksum)
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(lies)) + lies


NONE = {
    "the magic alone": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(200),
    "a wrong checksum": seven_head(5, 6)[:-1] + b"\1" + bytes(99),
    "an empty archive": seven_head(0, 0) + bytes(99),
    "rar, the magic alone": b"Rar!\x1a\x07\0" + bytes(99) + b"Rar!\x1a\x07\1\0" + bytes(99),
    "rar 4, a wrong checksum": rar4(File(b"a", b"a")).replace(b"\x73", b"\x72", 1),
    "rar 5, a wrong checksum": rar5(File(b"a", b"a"))[:8] + bytes(4) + rar5(File(b"a", b"a"))[12:],
    "cab, the magic alone": b"MSCF" + bytes(60),
}


@pytest.mark.parametrize("name", NONE)
def test_what_only_looks_like_it(name: str) -> None:
    start = program_behind(NONE[name])
    assert magic.place_within(start) is None and not FORMAT.recognise_within(start)
    behind = start + bytes(50) + (TESTDATA / "la-7z-solid.7z").read_bytes()
    assert magic.place_within(behind) == magic.Place("7zip", len(start) + 50)


def test_it_is_searched_as_far_as_it_is_read() -> None:
    assert (magic.HEAD, magic.PROGRAM) == (HEAD, PROGRAM)


def test_noise_is_none() -> None:
    chance = random.Random(3)
    for head in (b"7z\xbc\xaf\x27\x1c\0", b"Rar!\x1a\x07\1\0", b"Rar!\x1a\x07\0", b"MSCF\0\0\0\0"):
        for _ in range(500):
            assert magic.place_within(b"MZ" + head + chance.randbytes(60)) is None


class Counting(FileSource):
    read = 0

    def pread(self, size: int, offset: int, /) -> bytes:
        self.read += size
        return super().pread(size, offset)


@pytest.mark.parametrize("start", [b"MZ", b"#!"])
def test_the_search_is_bounded(start: bytes, tmp_path: Path) -> None:
    """What lies further on is not found, however large the file is; what is no program is not searched."""
    path = tmp_path / "large.exe"
    with path.open("wb") as file:
        file.write(start + bytes(1000))
        file.seek(PROGRAM + 100)
        file.write((TESTDATA / "la-7z-solid.7z").read_bytes())
        file.truncate(8 << 30)
    source = Counting(path)
    with (tmp_path / "index").open("wb") as index, pytest.raises(UnknownFormatError):
        write_index(source, index.fileno(), Settings())
    assert source.read <= 4 * HEAD + TAIL + (PROGRAM if start == b"MZ" else 0) + (1 << 20)
