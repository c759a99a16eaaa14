"""Archives in parts: zip's disks (``X.z01 ... X.zip``), and files that were simply cut (``X.zip.001 ...``)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Archive, cache
from rofuse_formats.errors import FormatError, LimitError, SourceError, UnsupportedError
from testdata.by_hand import UNIX, Member, archive, local_header
from testdata.workshop import noise, prose
from tests.formats.zip_support import content, opened, paths

FILES = {"noise": noise(1, 150_000), "text": prose(2, 50_000), "tiny": b"tiny\n", "more": noise(3, 90_000)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def made(folder: Path, *command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([*command, *FILES], cwd=folder, check=True, capture_output=True)


def infozip(folder: Path) -> None:
    made(folder, "zip", "-q", "-s", "64k", "it.zip")


def sevenzip(folder: Path) -> None:
    made(folder, "7z", "a", "-bd", "-tzip", "-v50k", "it.zip")


def open_archive(path: Path) -> Archive:
    return rofuse_formats.open(path, keep=False)


def assert_whole(found: Archive) -> None:
    assert sorted(paths(found)) == sorted(name.encode() for name in FILES)
    for name, data in FILES.items():
        assert content(found, name.encode()) == data
    assert found.report.lines() == []


@pytest.mark.parametrize("make", [infozip, sevenzip])
def test_any_part_gives_the_whole(make: Callable[[Path], None], folder: Path) -> None:
    make(folder)
    parts = sorted(folder.glob("it.*"))
    assert len(parts) > 3
    for part in parts:
        assert_whole(open_archive(part))


@pytest.mark.parametrize("make", [infozip, sevenzip])
def test_any_part_has_the_same_index_which_is_stale_when_any_changes(
    make: Callable[[Path], None], folder: Path
) -> None:
    make(folder)
    parts = sorted(folder.glob("it.*"))
    found = open_archive(parts[1])
    known = cache.fingerprint(found.source)
    for part in parts:
        again = open_archive(part)
        assert again.source.path == found.source.path
        assert cache.fingerprint(again.source) == known
    for part in parts:
        status = part.stat()
        os.utime(part, ns=(0, status.st_mtime_ns + 1))
        assert cache.fingerprint(open_archive(parts[0]).source) != known
        os.utime(part, ns=(0, status.st_mtime_ns))
    assert cache.fingerprint(open_archive(parts[0]).source) == known


@pytest.mark.parametrize(
    ("make", "gone", "given"),
    [
        (infozip, "it.z02", "it.zip"),
        (infozip, "it.z01", "it.z03"),
        (infozip, "it.zip", "it.z01"),
        (sevenzip, "it.zip.002", "it.zip.004"),
        (sevenzip, "it.zip.001", "it.zip.002"),
    ],
)
def test_a_missing_part_is_named(make: Callable[[Path], None], gone: str, given: str, folder: Path) -> None:
    make(folder)
    (folder / gone).unlink()
    with pytest.raises(SourceError) as refused:
        open_archive(folder / given)
    assert gone in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("make", [infozip, sevenzip])
def test_a_link_among_the_parts_is_followed_only_for_who_gave_a_link(
    make: Callable[[Path], None], folder: Path
) -> None:
    make(folder)
    parts = sorted(folder.glob("it.*"))
    parts[1].rename(folder / "elsewhere")
    parts[1].symlink_to(folder / "elsewhere")
    with pytest.raises(SourceError, match=parts[1].name):
        open_archive(parts[0])
    assert_whole(open_archive(parts[1]))
    links = folder / "links"
    links.mkdir()
    for part in parts:
        (links / part.name).symlink_to(part)
    assert_whole(open_archive(links / parts[0].name))


def test_a_part_that_is_no_file(folder: Path) -> None:
    sevenzip(folder)
    (folder / "it.zip.002").unlink()
    os.mkfifo(folder / "it.zip.002")
    with pytest.raises(FormatError, match="regular file"):
        open_archive(folder / "it.zip.001")


def test_names_in_capitals(folder: Path) -> None:
    infozip(folder)
    for part in folder.glob("it.*"):
        part.rename(folder / part.name.upper())
    assert_whole(open_archive(folder / "IT.Z02"))
    assert_whole(open_archive(folder / "IT.ZIP"))


def test_any_format_may_be_cut(folder: Path) -> None:
    """And what is compressed is called as without its number."""
    data = subprocess.run(["tar", "-c", *FILES], cwd=folder, check=True, capture_output=True).stdout
    for number in range(4):
        size = -(-len(data) // 4)
        (folder / f"it.tar.{number + 1:03}").write_bytes(data[number * size : (number + 1) * size])
    assert_whole(open_archive(folder / "it.tar.003"))
    import gzip

    packed = gzip.compress(FILES["noise"])
    (folder / "data.gz.001").write_bytes(packed[:50_000])
    (folder / "data.gz.002").write_bytes(packed[50_000:])
    found = open_archive(folder / "data.gz.002")
    assert paths(found) == [b"data"]
    assert content(found, b"data") == FILES["noise"]


def test_numbers_that_are_of_no_parts(folder: Path) -> None:
    """Logs that were rotated, each of them an archive."""
    for number in (1, 2, 3):
        (folder / f"log.zip.{number:03}").write_bytes(archive(Member(b"%d" % number, b"x")))
    for number in (1, 2, 3):
        assert paths(open_archive(folder / f"log.zip.{number:03}")) == [b"%d" % number]
    shutil.copy(folder / "log.zip.003", folder / "alone.365")
    assert paths(open_archive(folder / "alone.365")) == [b"3"]


def test_there_are_not_any_number_of_parts(folder: Path) -> None:
    for number in range(1, 300):
        (folder / f"it.zip.{number:03}").write_bytes(b"")
    with pytest.raises(LimitError, match="parts"):
        open_archive(folder / "it.zip.001")


def test_an_archive_that_claims_many_disks(folder: Path) -> None:
    data = archive(Member(b"one", b"1"))
    at = data.index(b"PK\5\6")
    (folder / "it.zip").write_bytes(data[: at + 4] + b"\xfe\xff" + data[at + 6 :])
    with pytest.raises(SourceError, match=r"it\.z01"):
        open_archive(folder / "it.zip")


# -- zip64: as disks beyond 65,534, or offsets beyond 4 GiB, would be written


def disks(size: int, *members: Member, strange: int | None = None) -> list[bytes]:
    """All numbers in zip64 fields. ``strange``: the disk that the last member is said to be on."""
    found, directory = [bytearray(b"PK\7\10")], bytearray()

    def put(data: bytes, whole: int) -> tuple[int, int]:
        """The first ``whole`` bytes together on one disk."""
        if len(found[-1]) + whole > size:
            found.append(bytearray())
        where = len(found) - 1, len(found[-1])
        while data:
            if len(found[-1]) == size:
                found.append(bytearray())
            room = size - len(found[-1])
            found[-1] += data[:room]
            data = data[room:]
        return where

    for member in members:
        disk, at = put(local_header(member), 30 + len(member.name))
        if strange is not None and member is members[-1]:
            disk = strange
        extra = struct.pack("<HHQQQI", 1, 28, len(member.data), len(member.content()), at, disk)
        fields = (
            b"PK\1\2", UNIX << 8 | 45, 45, 0, member.method, 0, zlib.crc32(member.data), *(0xFFFFFFFF,) * 2,
            len(member.name), len(extra), 0, 0xFFFF, 0, member.attributes, 0xFFFFFFFF,
        )  # fmt: skip
        directory += struct.pack("<4sHHHHIIIIHHHHHII", *fields) + member.name + extra
    disk, at = put(bytes(directory), 46)
    count = len(members)
    where64, at64 = put(b"", 56)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, where64, disk, 0, count, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", where64, at64, where64 + 1)
    full = 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    put(record + locator + struct.pack("<4sHHHHIIH", b"PK\5\6", *full), 98)
    return [bytes(data) for data in found]


def written(folder: Path, parts: list[bytes]) -> Path:
    for number, part in enumerate(parts[:-1], 1):
        (folder / f"wide.z{number:02}").write_bytes(part)
    (folder / "wide.zip").write_bytes(parts[-1])
    return folder / "wide.zip"


MEMBERS = [Member(name.encode(), data, method) for name, data in FILES.items() for method in (0,)]


@pytest.mark.parametrize("size", [1_000, 4_096, 70_000])
def test_zip64(size: int, folder: Path) -> None:
    size = max(size, sum(map(len, FILES.values())) // 150)
    parts = disks(size, *MEMBERS)
    assert len(parts) > 4
    assert_whole(open_archive(written(folder, parts)))


def test_a_disk_that_there_is_not(folder: Path) -> None:
    found = open_archive(written(folder, disks(70_000, *MEMBERS, strange=77)))
    assert len(paths(found)) == len(MEMBERS) - 1
    assert "place" in found.report.lines()[0]


def test_the_last_part_alone_without_a_name(folder: Path) -> None:
    """As standard input would be: nobody knows where its other parts are."""
    with pytest.raises(UnsupportedError, match="split"):
        opened(disks(200_000, *MEMBERS)[-1] + b"")
