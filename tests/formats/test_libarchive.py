"""What libarchive reads: what is claimed, what is loaded, where bytes lie, what is told of what cannot be had."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rofuse_formats import parts
from rofuse_formats.archives import formats
from rofuse_formats.archives.libarchive import FORMAT, cabinet, iso, magic, process, rar, sevenzip
from rofuse_formats.errors import (
    DamagedError,
    FormatError,
    MissingLibraryError,
    SourceError,
    UnsupportedError,
)
from rofuse_formats.image import layout
from rofuse_formats.source import FileSource
from testdata.by_hand_rar import File, rar4, rar4_volumes, rar5, rar5_volumes
from tests.formats.libarchive_support import (
    ARCHIVES,
    TESTDATA,
    content,
    crashing,
    decodings,
    files,
    opened,
    seven,
    texts,
)

HEAD = 1 << 16
KINDS = {
    "7z": "7zip", "a": "ar", "cab": "cab", "cpio": "cpio", "iso": "iso9660", "lzh": "lha", "mtree": "mtree", "rar":
    "", "warc": "warc", "xar": "xar",
}  # fmt: skip


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_an_archive_is_known_by_its_head(path: Path) -> None:
    kind = magic.kind_of(path.read_bytes()[:HEAD])
    assert kind == (KINDS[path.suffix[1:]] or ("rar5" if "rar5" in path.name else "rar"))


def test_what_has_a_format_of_its_own_is_not_asked_for() -> None:
    assert list(formats())[-1] == FORMAT.name
    others = [
        path for path in TESTDATA.iterdir() if path.suffix in (".tar", ".zip", ".py", ".zst", ".expected")
    ]
    assert [path.name for path in others if FORMAT.recognise(path.read_bytes()[:HEAD])] == []


def test_nothing_that_only_looks_like_it_is_claimed() -> None:
    chance = random.Random(7)
    starts = [
        b"",
        b"\xc7\x71",
        b"\x71\xc7",
        b"070701",
        b"070707",
        b"MSCF",
        b"!<arch>\n",
        b"WARC/",
        b"xar!",
        b"7z\xbc\xaf",
    ]
    starts += [b"\x1a\x00-lh5-", b"Rar!", b"#mtr"]
    for start in starts:
        for _ in range(200):
            assert magic.kind_of(start + chance.randbytes(40_000)) is None


def test_other_archives_are_read_without_libarchive() -> None:
    code = """if True:
        import sys, rofuse_formats
        for name in sys.argv[1:]:
            archive = rofuse_formats.open(name, keep=False)
            for path, node in archive.image.walk():
                archive.read(node, 0, 10)
        print(*sorted({"libarchive", "rofuse_formats.libarchive_ffi", "rofuse_formats.archives.libarchive.process",
                       "subprocess"} & set(sys.modules)))
    """
    names = [TESTDATA / "basic-gnu.tar", TESTDATA / "zip-basic-infozip.zip"]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# -- where bytes lie


@pytest.mark.parametrize(
    "name",
    ["la-cpio-newc.cpio", "la-cpio-odc.cpio", "la-ar-gnu.a", "la-iso-rockridge.iso", "la-warc-bsdtar.warc"],
)
def test_what_is_not_compressed_needs_no_libarchive_to_be_read(name: str) -> None:
    archive = opened(TESTDATA / name)
    assert not archive.image.has_members
    assert all(content(archive, path) for path in files(archive))


@pytest.mark.parametrize("name", ["la-7z-stored.7z", "la-rar4-stored.rar", "la-rar5-stored.rar"])
def test_stored_members_come_from_the_archive_and_are_checked(name: str, tmp_path: Path) -> None:
    archive = opened(TESTDATA / name)
    data = content(archive, b"noise")
    members = [archive.image.member(row) for row in range(len(archive.image._members[0]))]
    assert {member.flags for member in members} == {4}
    assert len(members) == len(files(archive))
    whole = bytearray((TESTDATA / name).read_bytes())
    whole[whole.index(data) + 700] ^= 1
    copy = tmp_path / name
    copy.write_bytes(whole)
    with pytest.raises(DamagedError, match="check"):
        content(opened(copy), b"noise")
    assert content(opened(copy, salvage=True), b"noise") != data
    assert content(opened(copy), b"d/one") == b"one\n"


def test_a_file_in_two_places_of_an_image_is_not_taken_for_one(tmp_path: Path) -> None:
    """The directory says another size than what lies there would have."""
    path = TESTDATA / "la-iso-rockridge.iso"
    source = FileSource(path)
    known = iso.files(source.pread)
    archive = opened(path)
    places = {archive.image.data[node - 1] for node in files(archive).values()}
    assert places <= {place for place, _size in known}


# -- 7z and cabinets: what is compressed together


def test_folders_of_7z(tmp_path: Path) -> None:
    tree = texts(6, 1000)
    for options, shape in (
        (["-ms=on"], [6]),
        (["-ms=off"], [1] * 6),
        (["-ms=2f"], [2, 2, 2]),
        (["-ms=on", "-mhc=off"], [6]),
        (["-ms=off", "-mx=0"], [1] * 6),
    ):
        path = seven(tmp_path, tree, *options)
        source = FileSource(path)
        contents = sevenzip.contents(source.pread, source.size)
        assert contents is not None
        found = contents.folders
        assert contents.masked is None
        assert [len(folder.sizes) for folder in found] == shape
        assert all((folder.place >= 0) == ("-mx=0" in options) for folder in found)
        archive = opened(path)
        assert {path: content(archive, path.encode()) for path in tree} == tree
        path.unlink()


def linked(folder: Path, *options: str) -> Path:
    """A solid 7z archive with a symbolic link behind its files."""
    path = seven(folder, texts(3, 50_000))
    path.unlink()
    (folder / "source" / "z").symlink_to("d0/0")
    command = ["7z", "a", "-bd", "-snl", *options, str(path), "@" + str(folder / "names"), "z"]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True, timeout=60)
    return path


@pytest.mark.parametrize(
    "options", [["-ms=on"], ["-ms=off"], ["-mx=0"], ["-ms=on", "-mhc=off"], ["-ms=on", "-m0=bzip2"]]
)
def test_links_in_7z_are_read_when_they_are_asked_for(options: list[str], tmp_path: Path) -> None:
    archive = opened(linked(tmp_path, *options))
    node = archive.image.resolve(b"z")
    assert archive.image.is_packed(node)
    assert (stat.S_ISLNK(archive.image.mode[node - 1]), archive.image.size[node - 1]) == (True, 4)
    assert decodings(archive) == []
    assert archive.target(node) == b"d0/0"
    assert {path: content(archive, path.encode()) for path in texts(3, 50_000)} == texts(3, 50_000)


def test_links_in_7z_are_followed_and_told_by_name(tmp_path: Path) -> None:
    archive = opened(linked(tmp_path, "-ms=on"))
    (path,) = (entry.path for entry in archive.walk() if entry.type == "symlink")
    assert archive.stat(path).target == "d0/0"
    assert archive.stat(path, follow=True).path == path.removesuffix("z") + "d0/0"
    archive.extract(tmp_path / "copy")
    assert os.readlink(tmp_path / "copy" / path) == "d0/0"


def test_a_mount_does_not_decode_up_to_the_last_link(tmp_path: Path) -> None:
    path = linked(tmp_path, "-ms=on", "-mx=1")
    data = bytearray(path.read_bytes())
    for at in range(40, 30_000, 1000):  # of what is compressed; the header lies behind it
        data[at] ^= 0xFF
    path.write_bytes(data)
    archive = opened(path)
    assert archive.report.lines() == []
    assert len(list(archive.image.walk())) == 7
    with pytest.raises(DamagedError):
        archive.target(archive.image.resolve(b"z"))


def test_what_cannot_be_understood_is_no_list() -> None:
    chance = random.Random(3)
    data = (TESTDATA / "la-7z-links.7z").read_bytes()
    cab = (TESTDATA / "la-cab-gcab.cab").read_bytes()
    image = (TESTDATA / "la-iso-joliet.iso").read_bytes()[: 1 << 17]
    old = (TESTDATA / "la-rar4-stored.rar").read_bytes()
    new = (TESTDATA / "la-rar5-stored.rar").read_bytes()
    for _ in range(200):
        for whole in (data, cab, image, old, new):
            copy = bytearray(whole[: chance.choice((len(whole), chance.randrange(len(whole))))])
            for _ in range(3):
                if copy:
                    copy[chance.randrange(min(len(copy), 1 << 16))] = chance.randrange(256)

            def pread(size: int, at: int, copy: bytes = bytes(copy)) -> bytes:
                return copy[at : at + size]

            sevenzip.contents(pread, len(copy))
            cabinet.folders(pread)
            iso.files(pread)
            rar.flags(pread)
            rar.stored_at(pread, chance.randrange(60), 9000)


# -- volumes


@pytest.mark.parametrize("made", [rar4_volumes, rar5_volumes])
def test_volumes_are_joined(made: type, tmp_path: Path) -> None:
    data = random.Random(5).randbytes(50_000)
    volumes: list[bytes] = made(File(b"large", data), 20_000, 35_000)
    for number, volume in enumerate(volumes):
        (tmp_path / f"new.part{number + 1}.rar").write_bytes(volume)
        (tmp_path / ("old.rar" if not number else f"old.r{number - 1:02}")).write_bytes(volume)
    for name in ("new.part1.rar", "new.part3.rar", "old.rar", "old.r00"):
        assert content(opened(tmp_path / name), b"large") == data
    (tmp_path / "new.part1.rar").unlink()
    with pytest.raises(SourceError, match=r"new\.part1\.rar, is missing"):
        parts.opened(tmp_path / "new.part2.rar")


def test_what_is_no_volume_stands_for_itself(tmp_path: Path) -> None:
    for name, made in (("a.part1.rar", rar4), ("a.part2.rar", rar5), ("b.rar", rar5)):
        (tmp_path / name).write_bytes(made(File(name.encode(), b"data\n")))
    (tmp_path / "b.r00").write_bytes(b"something else")
    for name in ("a.part1.rar", "b.rar"):
        assert list(files(opened(tmp_path / name))) == [name.encode()]


def test_a_split_7z_archive_is_joined(tmp_path: Path) -> None:
    tree = texts(5, 30_000)
    data = seven(tmp_path, tree).read_bytes()
    for number, at in enumerate(range(0, len(data), 20_000), 1):
        (tmp_path / f"parts.7z.{number:03}").write_bytes(data[at : at + 20_000])
    archive = opened(tmp_path / "parts.7z.002")
    assert {name: content(archive, name.encode()) for name in tree} == tree


# -- what cannot be had


def test_what_is_encrypted_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="encrypted"):
        opened(seven(tmp_path, texts(2, 100), "-psecret", "-mhe=on"), password=b"secret")
    (tmp_path / "it.7z").unlink()
    archive = opened(seven(tmp_path, texts(2, 100), "-psecret"), password=b"secret")
    with pytest.raises(FormatError):
        content(archive, next(iter(files(archive))))


def test_an_mtree_file_holds_no_bytes(tmp_path: Path) -> None:
    """Also none of those of this machine's files that it names."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret\n")
    path = tmp_path / "it.mtree"
    path.write_text(f"#mtree\n./a type=file size=7 mode=644 time=1.5 contents={secret}\n./b type=dir\n")
    archive = opened(path)
    with pytest.raises(UnsupportedError, match="does not hold it"):
        content(archive, b"a")
    assert archive.image.mtime[archive.image.resolve(b"a") - 1] == 1


def test_of_ar_the_table_of_symbols_is_no_member(tmp_path: Path) -> None:
    if shutil.which("as") is None:  # no system must have a compiler's tools; .ci/setup installs them
        pytest.skip("needs as and ar (package binutils)")
    (tmp_path / "it.s").write_text(".globl it\nit:\n")
    for command in (["as", "-o", "it.o", "it.s"], ["ar", "rc", "it.a", "it.o"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    archive = opened(tmp_path / "it.a")
    assert list(files(archive)) == [b"it.o"]
    assert content(archive, b"it.o") == (tmp_path / "it.o").read_bytes()


def test_names_in_another_code_page() -> None:
    from rofuse_formats import ScanOptions, Settings
    from rofuse_formats import open as open_archive

    path = TESTDATA / "la-cpio-odc.cpio"
    assert b"latin\xe9" in files(opened(path))
    archive = open_archive(path, Settings(ScanOptions(encoding="ISO-8859-1")), keep=False)
    assert "latiné".encode() in files(archive)


def test_a_crash_while_it_is_listed_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    started = crashing(monkeypatch, row=0)
    with pytest.raises(DamagedError, match="signal 11"):
        opened(TESTDATA / "la-cpio-odc.cpio")
    assert started() == 2


@pytest.mark.parametrize("name", ["la-7z-solid.7z", "la-cpio-odc.cpio"])
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the archive is opened, also where its list is read without."""
    monkeypatch.setattr(process, "_path", lambda: [str(Path(process.__file__).parents[3])])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match="libarchive-c"):
        opened(TESTDATA / name)
    monkeypatch.undo()
    monkeypatch.setenv("LIBARCHIVE", "/no/such/library.so")
    with pytest.raises(MissingLibraryError, match="libarchive13"):
        opened(TESTDATA / name)


def test_members_are_found_where_the_archive_is_compressed_as_a_whole(tmp_path: Path) -> None:
    """Then a helper has no descriptor, and asks for its bytes."""
    import gzip

    path = tmp_path / "it.7z.gz"
    path.write_bytes(gzip.compress((TESTDATA / "la-7z-solid.7z").read_bytes()))
    archive = opened(path)
    assert archive.compression == ["gzip"]
    assert archive.image.data[archive.image.resolve(b"text") - 1] >> layout.DATA_SHIFT == layout.DATA_MEMBER
    whole = opened(TESTDATA / "la-7z-solid.7z")
    assert all(content(archive, name) == content(whole, name) for name in files(whole))
