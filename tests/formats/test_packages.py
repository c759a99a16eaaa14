"""deb and rpm: what conformance cannot ask of them. The members as they are, owners that only a header names, the short
form of payloads, and damage, which is never another archive's bytes."""

from __future__ import annotations

import bz2
import io
import lzma
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Settings
from rofuse_formats.archives.deb import FORMAT as DEB
from rofuse_formats.archives.rpm import FORMAT as RPM
from rofuse_formats.archives.rpm import files
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.image import layout
from rofuse_formats.verify import verify
from testdata.workshop import noise, prose
from tests.archive_tree import tree_of
from tests.formats.package_support import (
    ar,
    contents,
    deb,
    headers,
    opened,
    package,
    payload_start,
    read,
    shortened,
)
from tests.trees import difference, read_expected

FLIPS = 60
CHECKED = [
    "deb-xz.deb",
    "deb-old-bzip2.deb",
    "rpm-xz.rpm",
    "rpm-bzip2.rpm",
]  # whose every byte is under a check
PACKED = (b".xz", b".bz2")  # shown where nothing in it can be
ANY = [*CHECKED, "deb-none.deb", "deb-zstd.deb", "deb-old-lzma.deb", "rpm-none.rpm", "rpm-zstd.rpm"]


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


# -- the members as they are


@pytest.mark.parametrize("name", ["deb-xz.deb", "deb-none.deb", "deb-old-lzma.deb"])
def test_raw_shows_the_members_of_a_deb(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(package(name))
    subprocess.run(["ar", "xo", name], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / name).unlink()
    expected = {bytes(path.name, "ascii"): path.read_bytes() for path in tmp_path.iterdir()}
    found = opened(package(name), raw=True)
    assert contents(found) == expected
    assert found.parts == [] and found.report.lines() == []


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("rpm-gzip.rpm", b"payload.cpio.gz"),
        ("rpm-bzip2.rpm", b"payload.cpio.bz2"),
        ("rpm-xz.rpm", b"payload.cpio.xz"),
        ("rpm-lzma.rpm", b"payload.cpio.lzma"),
        ("rpm-zstd.rpm", b"payload.cpio.zst"),
        ("rpm-none.rpm", b"payload.cpio"),
    ],
)
def test_raw_shows_the_parts_of_an_rpm(name: str, payload: bytes) -> None:
    data = package(name)
    signature, header = headers(data)
    assert contents(opened(data, raw=True)) == {
        b"lead": data[:96],
        b"signature": data[96 : signature.end],
        b"header": data[header.start : header.end],
        payload: data[header.end :],
    }


# -- what there is


def test_parts_lie_apart() -> None:
    """The index says where; stored ones are streams of their own, too."""
    data = package("deb-none.deb")
    found = opened(data)
    assert [number for _start, _size, number in found.parts] == [None, None]
    assert all(data[start:][257:262] == b"ustar" for start, _size, _number in found.parts)
    assert found.compression == [] and found.format == "deb"
    node = found.image.resolve(b"data/usr/share/text")
    assert found.image.data[node - 1] >> layout.SPAN_SHIFT == 2
    found = opened(package("deb-xz.deb"))
    assert [number for _start, _size, number in found.parts] == [0, 1]
    found = opened(package("deb-xz.deb.zst"))
    assert [number for _start, _size, number in found.parts] == [1, 2]
    assert found.compression == ["zstd"]


def test_owners_have_the_names_of_the_header() -> None:
    for name in ("rpm-xz.rpm", "rpm-none.rpm"):
        image = opened(package(name)).image
        owner = image.owner[image.resolve(b"usr/share/text") - 1]
        assert image.owner_names(owner) == (b"daemon", b"mail")
        assert image.owner_names(image.owner[image.resolve(b"usr/bin/first") - 1]) == (b"root", b"root")


def test_the_short_form_is_the_same_tree() -> None:
    """Of packages with files beyond 4 GiB."""
    found = opened(shortened(package("rpm-none.rpm")))
    expected = read_expected(Path(__file__).parents[2] / "testdata" / "rpm-none.expected")
    assert difference(expected, tree_of(found)) == []
    assert found.report.lines() == []


def test_a_long_stream_within_has_its_place_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text, path = prose(1, 100_000) * 120, tmp_path / "long.deb"
    path.write_bytes(deb(tar(control=b"Package: long\n"), tar(first=noise(1, 100), text=text, last=b"end\n")))
    with rofuse_formats.open(path, keep=False) as found:
        assert found.spool is not None
        node = found.image.resolve(b"data/text")
        for offset in (11_900_000, 5_000_000, 0):
            assert b"".join(found.read(node, offset, 70_000)) == text[offset : offset + 70_000]
        assert read(found, b"data/last") == b"end\n"
        assert read(found, b"control/control") == b"Package: long\n"
    with rofuse_formats.open(path, Settings(spool=False), keep=False) as found:
        assert found.spool is None
        assert read(found, b"data/last") == b"end\n"


def test_what_is_no_tar_is_shown_as_it_is() -> None:
    data = ar(("debian-binary", b"2.0\n"), ("control.tar", tar(control=b"")), ("data.tar.new", b"?" * 999))
    found = opened(data)
    assert read(found, b"data.tar.new") == b"?" * 999
    assert "holds no tar archive" in found.report.damage[0][0]


def test_what_is_missing_is_said() -> None:
    found = opened(ar(("debian-binary", b"2.0\n"), ("control.tar/", tar(control=b"x"))))
    assert read(found, b"control/control") == b"x"
    assert [message for message, _at in found.report.damage] == ["the package has no data.tar"]


@pytest.mark.parametrize(
    "data",
    [
        ar(("lib.o", b"2.0\n")),
        ar(("debian-binary", b"3.0\n")),
        ar(("debian-binary2", b"2.0\n")),
        ar(("debian-binary", b"2.0\n")).replace(b"`", b"'"),
        b"!<arch>\n",
    ],
)
def test_any_other_ar_archive_is_none(data: bytes) -> None:
    """It is what libarchive reads, or nothing."""
    assert not DEB.recognise(data)


def test_a_lead_alone_is_no_rpm() -> None:
    assert RPM.recognise(package("rpm-xz.rpm"))
    assert not RPM.recognise(package("rpm-xz.rpm")[:96] + bytes(100))


# -- damage


def test_a_file_that_claims_more_is_not_given_what_follows() -> None:
    """Not of the next member, not of the next archive, however far the claim goes."""
    for claim in (b"00000100000\0", b"77777777777\0", b"\x80" + (1 << 61).to_bytes(11, "big")):
        control = bytearray(tar(control=b"x" * 600)[:1536])
        control[124:136] = claim
        control[148:156] = b" " * 8
        control[148:156] = b"%06o\0 " % sum(control[:512])
        found = opened(deb(bytes(control), tar(secret=b"s" * 5_000)))
        assert found.report.damage
        node = found.image.resolve(b"control/control")
        size = found.image.size[node - 1]
        for offset in (1024, size - 10, (1 << 56) - 2_000, (1 << 56) + 512, 1 << 57):
            if 600 < offset < size:
                with pytest.raises(DamagedError):
                    found.read(node, offset, 100)
        assert read(found, b"data/secret") == b"s" * 5_000


@pytest.mark.parametrize("name", ANY)
def test_cut_anywhere(name: str) -> None:
    """What can be read is what was there, and that something is missing is said."""
    whole = package(name)
    expected = contents(opened(whole))
    least = payload_start(whole) if name.endswith("rpm") else 100
    for size in range(least, len(whole) - 2, len(whole) // 25):
        try:
            found = opened(whole[:size])
        except FormatError as error:
            assert "\n" not in str(error) and name.endswith("rpm")
            continue
        assert found.report.damage, size
        for path, data in contents(found).items():
            assert data is None or path not in expected or data == expected[path], (path, size)


@pytest.mark.parametrize("name", ANY)
def test_flipped_anywhere(name: str) -> None:
    whole, chance = package(name), random.Random(name)
    expected = contents(opened(whole))
    for _ in range(FLIPS):
        copy = bytearray(whole)
        at = chance.randrange(len(copy))
        copy[at] ^= 1 << chance.randrange(8)
        try:
            found = opened(bytes(copy))
        except FormatError as error:
            assert "\n" not in str(error)
            continue
        inside = any(start <= at < start + size for start, size, _number in found.parts)
        for path, data in contents(found).items():
            if name in CHECKED and inside and not path.endswith(PACKED):
                assert data is None or data == expected.get(path), (path, at)


def test_damage_of_one_part_leaves_the_other_alone() -> None:
    whole = package("deb-xz.deb")
    sound = opened(whole)
    (control, size, _number), _data = sound.parts
    broken = bytearray(whole)
    broken[control + size // 2] ^= 0x10
    found = opened(bytes(broken))
    assert any("control.tar.xz: " in message for message, _at in found.report.damage)
    expected = contents(sound)
    after = contents(found)
    assert {path: data for path, data in after.items() if path.startswith(b"data/")} == {
        path: data for path, data in expected.items() if path.startswith(b"data/")
    }
    assert None in after.values() or len(after) < len(expected)


def test_verify_finds_what_is_damaged_within() -> None:
    data = tar(first=noise(1, 5_000), second=noise(2, 5_000))
    compressed = lzma.compress(data[:6_144]) + lzma.compress(data[6_144:])  # two streams, cut behind "first"
    whole = ar(("debian-binary", b"2.0\n"), ("control.tar", tar(control=b"")), ("data.tar.xz", compressed))
    assert [finding for finding in verify(opened(whole)) if finding.error] == []
    broken = bytearray(whole)
    broken[-3_000] ^= 1
    found = opened(bytes(broken))
    assert found.report.damage
    assert [finding.path for finding in verify(found) if finding.error] == [b"data/second"]
    assert read(found, b"data/first") == noise(1, 5_000)


@pytest.mark.parametrize("stored", [True, False])
def test_damage_around_it(stored: bool) -> None:
    """What of a stored part lies elsewhere can be read; of a compressed one, nothing behind the damage need be."""
    files = {f"n{number}": noise(number, 30_000) for number in range(10)}
    control, data = tar(control=b"x"), tar(**files)
    whole = ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", data))
    packed = bytearray(bz2.compress(whole if stored else deb(control, data), 1))
    for at, bit in ((len(packed) // 2, 1), (len(packed) * 9 // 10, 8)):
        broken = bytearray(packed)
        broken[at] ^= bit
        found = opened(bytes(broken))
        assert found.report.damage
        assert read(found, b"control/control") == b"x"
        read_all = {path.removeprefix(b"data/"): data for path, data in contents(found).items()}
        good = [name for name in files if read_all.get(name.encode()) is not None]
        assert all(read_all[name.encode()] == files[name] for name in good)
        assert good or not stored


def test_a_payload_goes_on_behind_damage() -> None:
    """But for the other names of what was lost with it."""
    whole = bytearray(package("rpm-none.rpm"))
    at = whole.index(b"./usr/bin/third") - 110
    whole[at + 3] ^= 1
    found = opened(bytes(whole))
    assert "are passed over" in found.report.damage[0][0]
    assert found.image.resolve(b"usr/bin/first") == 0
    assert found.report.skipped_counts["a name of a file whose data is lost"] == 2
    assert read(found, b"usr/share/text") == prose(1, 30_000)


def test_a_header_whose_files_are_damaged_costs_just_that() -> None:
    whole = bytearray(package("rpm-none.rpm"))
    signature, header = headers(bytes(whole))
    entry = whole.index((1116).to_bytes(4, "big"), header.start)  # DIRINDEXES
    whole[entry + 12 : entry + 16] = b"\xff" * 4
    found = opened(bytes(whole))
    assert "1116" in found.report.damage[0][0]
    assert read(found, b"usr/share/text") == prose(1, 30_000)
    short = opened(shortened(package("rpm-none.rpm")).replace(b"07070X00", b"07070X7f", 1))
    assert short.report.damage and short.image.resolve(b"usr/share/text")
    assert signature.end <= header.start


def test_paths_that_are_larger_together_than_any_header_are_not_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder has its name once in the header, however many files say that they lie in it."""
    _signature, header = headers(package("rpm-none.rpm"))
    whole = sum(map(len, files.paths_of(header)))
    monkeypatch.setattr(files, "LARGEST", whole)
    assert sum(map(len, files.paths_of(header))) == whole
    monkeypatch.setattr(files, "LARGEST", whole - 1)
    with pytest.raises(DamagedError, match=f"paths of {whole} bytes"):
        files.paths_of(header)
