"""7z archives described from their own header: as libarchive describes them, or by it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rofuse_formats.archives.libarchive import process
from rofuse_formats.archives.libarchive.sevenzip import scanning
from rofuse_formats.archives.libarchive.sevenzip.header import LARGEST, header_of
from rofuse_formats.archives.libarchive.sevenzip.members import members_of
from rofuse_formats.entry import Builder
from rofuse_formats.errors import FormatError, LimitError
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource, Source
from tests.formats.libarchive_support import ARCHIVES, content, headed, opened, seven, texts

_SECONDS = 60
_EPOCH = 116_444_736_000_000_000


class Told(NamedTuple):
    image: bytes
    lines: list[str]
    by_list: bool
    """Whether it was described from the header."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, bool], Told]:
    """Has an archive described, perhaps by libarchive alone."""
    whole = scanning.scan

    def tell(path: Path, own: bool) -> Told:
        used = []

        def scan(source: Source, start: int, builder: Builder) -> bool:
            used.append(own and whole(source, start, builder))
            return used[0]

        monkeypatch.setattr(scanning, "scan", scan)
        archive = opened(path)
        return Told(bytes(archive.image.buffer), archive.report.lines(), used == [True])

    return tell


def header(path: Path) -> bytes:
    source = FileSource(path)
    return header_of(source.pread, source.size, LARGEST)


def made(folder: Path, *options: str) -> Path:
    """Of all kinds of members."""
    path = seven(folder, texts(3, 1000))
    path.unlink()
    source = folder / "source"
    (source / "z").symlink_to("d0/0")
    (source / "empty").touch()
    (source / "void").mkdir(mode=0o700)
    (source / "grün").write_bytes(b"1\n")
    os.utime(source / "empty", ns=(5 * 10**9, 1_700_000_000_123_456_700))
    command = ["7z", "a", "-bd", "-snl", *options, str(path), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=_SECONDS)
    return path


@pytest.mark.parametrize(
    "path", [path for path in ARCHIVES if path.suffix == ".7z"], ids=lambda path: path.name
)
def test_those_of_testdata_are_told_as_libarchive_tells_them(
    path: Path, told: Callable[[Path, bool], Told]
) -> None:
    own, theirs = told(path, True), told(path, False)
    assert (own.by_list, theirs.by_list) == (True, False)
    assert own[:2] == theirs[:2]


@pytest.mark.parametrize(
    "options",
    [
        ["-mx=0", "-mtm=off"],
        ["-ms=off", "-mtr=off"],
        ["-mtc=on", "-mta=on"],
        ["-mhc=off", "-m0=bzip2"],
        ["-ms=2f", "-m0=bcj2", "-m1=lzma"],
    ],
    ids=" ".join,
)
def test_whatever_is_in_them(options: list[str], tmp_path: Path, told: Callable[[Path, bool], Told]) -> None:
    path = made(tmp_path, *options)
    own, theirs = told(path, True), told(path, False)
    assert own.by_list
    assert own[:2] == theirs[:2]


def test_changed_headers_are_told_as_libarchive_tells_them(
    tmp_path: Path, told: Callable[[Path, bool], Told]
) -> None:
    """Or are left to it; but for times before 1970, which are changed by nobody here."""
    path = made(tmp_path, "-mtm=off", "-mtc=off", "-mta=off")
    data, whole = path.read_bytes(), header(path)
    chance, ours = random.Random(7), 0
    for _ in range(40):
        copy = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            copy[chance.randrange(len(copy) // 2, len(copy))] ^= 1 << chance.randrange(8)
        path.write_bytes(headed(data, bytes(copy)))
        try:
            own = told(path, True)
        except FormatError:
            continue
        if own.by_list:
            ours += 1
            assert own[:2] == told(path, False)[:2]
    assert ours > 5


def test_times_before_1970(tmp_path: Path) -> None:
    path = made(tmp_path, "-mtc=off", "-mta=off")
    moment = (1_700_000_000_123_456_700 // 100 + _EPOCH).to_bytes(8, "little")
    whole = header(path)
    assert whole.count(moment) == 1
    for number, then in ((_EPOCH - 1, (-1, 999_999_900)), (0, (0, 0))):
        path.write_bytes(headed(path.read_bytes(), whole.replace(moment, number.to_bytes(8, "little"))))
        image = opened(path).image
        row = image.resolve(b"empty") - 1
        assert (image.mtime[row], image.mtime_ns[row]) == then


def test_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seven(tmp_path, texts(2, 100), "-mx=0")

    def never(*_arguments: object, **_named: object) -> None:
        raise AssertionError

    monkeypatch.setattr(process.Helper, "__init__", never)
    archive = opened(path)
    assert content(archive, b"d1/1") == texts(2, 100)["d1/1"]


def test_what_is_encrypted_is_left_to_libarchive(tmp_path: Path, told: Callable[[Path, bool], Told]) -> None:
    path = seven(tmp_path, texts(2, 100), "-psecret")
    assert not told(path, True).by_list


def test_more_entries_than_the_user_allows(tmp_path: Path) -> None:
    path = seven(tmp_path, texts(8, 100))
    with pytest.raises(LimitError, match="more than 5 entries"):
        opened(path, limits=Limits(max_entries=5))


def test_links_without_bytes_are_files(tmp_path: Path) -> None:
    path = made(tmp_path, "-mtr=on")
    whole = header(path)
    names = members_of(whole)[1].names
    at = len(whole) - 2 - 4 * (len(names) - names.index(b"empty"))  # attributes come last, and two ends
    changed = whole[:at] + (0o120740 << 16 | 0x8000).to_bytes(4, "little") + whole[at + 4 :]
    path.write_bytes(headed(path.read_bytes(), changed))
    image = opened(path).image
    assert image.mode[image.resolve(b"empty") - 1] == 0o100740
