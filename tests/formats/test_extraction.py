"""Extraction: the tree that another tool makes of an archive, and nothing outside of the destination, ever."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_formats import Archive, ExtractOptions, Settings, index
from rofuse_formats.extraction import places
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.source import FileSource
from tests.formats.test_conformance import DAMAGED, SHOWN, expectation, names, opened, settings
from tests.tars import write_tar
from tests.trees import ROOT, Tree, difference, read_expected, snapshot

INTACT = [path for path in SHOWN if path not in DAMAGED]
# An ordinary user cannot make what is compared here; what he gets instead is tested in tests/mount/test_extract.py.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")

Members = dict[str, dict[str, Any]]
FILE: dict[str, Any] = {"content": b"new"}
DIRECTORY: dict[str, Any] = {"type": tarfile.DIRTYPE, "mode": 0o755}


def link(target: str | Path) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": str(target)}


def hard(target: str | Path) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": str(target)}


Make = Callable[..., Archive]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make((name, fields)...)``: an archive of these members, in this order, names as they are."""

    def archive(*members: tuple[str, dict[str, Any]]) -> Archive:
        path = write_tar(tmp_path / "a.tar", members, mtime=1_700_000_000)
        return rofuse_formats.open(path, keep=False)

    return archive


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the destination, which must be as it was when the test is over."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_text("old")
    before = snapshot(folder)
    yield folder
    assert difference(before, snapshot(folder)) == []
    assert set(os.listdir(tmp_path)) <= {"outside", "dest", "a.tar"}


class Told:
    """Extracts to ``dest`` beside ``outside``, and keeps what was told."""

    def __init__(self, archive: Archive, dest: Path, *paths: str, **options: Any) -> None:
        self.errors: dict[str, str] = {}
        self.done: list[str] = []
        self.warnings: list[str] = []
        chosen = ExtractOptions(tell=self.tell, warn=self.warnings.append, **options)
        self.result = archive.extract(dest, paths, chosen)

    def tell(self, path: str, error: Exception | None) -> None:
        if error is None:
            self.done.append(path)
        else:
            self.errors[path] = str(error)


@as_root
@pytest.mark.parametrize("path", INTACT, ids=names(INTACT))
def test_it_is_the_tree_that_another_tool_extracts(path: Path, tmp_path: Path) -> None:
    told = Told(opened(path), tmp_path / "dest")
    assert (told.errors, told.result.failed) == ({}, 0)
    assert difference(_without_root(read_expected(expectation(path))), _of(tmp_path / "dest")) == []


def _of(dest: Path) -> Tree:
    return _without_root(snapshot(dest))


def _without_root(tree: Tree) -> Tree:
    """What an archive says of its root is not always what a tool makes of it."""
    return {path: record for path, record in tree.items() if path != ROOT}


@pytest.mark.parametrize("path", DAMAGED, ids=names(DAMAGED))
def test_what_is_damaged_is_told_and_not_left_behind(path: Path, tmp_path: Path) -> None:
    try:
        archive = rofuse_formats.open(path, settings(path), keep=False)
    except rofuse_formats.errors.FormatError:
        return
    told = Told(archive, tmp_path / "dest")
    for name in told.errors:
        assert not (tmp_path / "dest" / name).exists() or "attributes" in told.errors[name]
    for entry in archive.walk():
        if entry.is_file and entry.path not in told.errors:
            with archive.open(entry.path) as file:
                assert file.read() == (tmp_path / "dest" / entry.path).read_bytes()


def test_holes_stay_holes(make: Make, tmp_path: Path) -> None:
    archive = opened(next(path for path in SHOWN if path.name.startswith("sparse")))
    Told(archive, tmp_path / "dest")
    sparse = [entry for entry in archive.walk() if entry.is_file and entry.size > 1 << 20]
    assert sparse
    for entry in sparse:
        status = os.stat(tmp_path / "dest" / entry.path)
        assert status.st_size == entry.size
        assert status.st_blocks * 512 < entry.size


ATTACKS: dict[str, Callable[[Path], list[tuple[str, dict[str, Any]]]]] = {
    "an absolute name": lambda outside: [(f"{outside}/victim", FILE)],
    "a name that climbs": lambda outside: [("../outside/victim", FILE)],
    "a name that climbs in the middle": lambda outside: [("d/../../outside/victim", FILE)],
    "a link, then a file through it": lambda outside: [("d", link(outside)), ("d/victim", FILE)],
    "a relative link, then a file through it": lambda outside: [
        ("d", link("../outside")),
        ("d/victim", FILE),
    ],
    "a file, then a link for its directory": lambda outside: [("d/victim", FILE), ("d", link(outside))],
    "a directory, replaced by a link, then a file": lambda outside: [
        ("d", DIRECTORY),
        ("d", link(outside)),
        ("d/victim", FILE),
        ("d/more", FILE),
    ],
    "a link, replaced by a directory": lambda outside: [
        ("d", link(outside)),
        ("d", DIRECTORY),
        ("d/victim", FILE),
    ],
    "a link to a file, then that file": lambda outside: [
        ("victim", link(outside / "victim")),
        ("victim", FILE),
    ],
    "links in a row": lambda outside: [
        ("a", link(".")),
        ("a/b", link("..")),
        ("a/b/outside/victim", FILE),
    ],
    "a hard link outside": lambda outside: [
        ("victim", hard(outside / "victim")),
        ("victim", FILE),
    ],
    "a hard link that climbs": lambda outside: [("v", hard("../outside/victim")), ("v", FILE)],
    "a hard link to a link, then through it": lambda outside: [
        ("l", link(outside / "victim")),
        ("h", hard("l")),
        ("h", FILE),
    ],
    "a hard link through a link": lambda outside: [
        ("d", link(outside)),
        ("h", hard("d/victim")),
        ("h", FILE),
    ],
    "the destination as a link": lambda outside: [(".", link(outside)), ("victim", FILE)],
    "a mode for a link's target": lambda outside: [("victim", link(outside / "victim") | {"mode": 0o777})],
}


@pytest.mark.parametrize("overwrite", [False, True], ids=["once", "overwriting"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_written_outside(
    attack: str, overwrite: bool, make: Make, outside: Path, tmp_path: Path
) -> None:
    archive = make(*ATTACKS[attack](outside))
    dest = tmp_path / "dest"
    Told(archive, dest, overwrite=overwrite)
    Told(archive, dest, overwrite=overwrite)  # over its own links
    for entry in os.scandir(dest):
        assert (
            not entry.is_file(follow_symlinks=False)
            or entry.stat().st_nlink == 1
            or attack.startswith("a hard")
        )


def test_links_that_wait_at_the_destination_are_not_followed(
    make: Make, outside: Path, tmp_path: Path
) -> None:
    archive = make(("d/victim", FILE), ("victim", FILE), ("e/f/victim", FILE))
    dest = tmp_path / "dest"
    (dest / "e").mkdir(parents=True)
    (dest / "d").symlink_to(outside)
    (dest / "victim").symlink_to(outside / "victim")
    (dest / "e" / "f").symlink_to(outside)
    told = Told(archive, dest)
    assert set(told.errors) == {"d", "victim", "e/f"}
    assert all("exists already" in error for error in told.errors.values())
    again = Told(archive, dest, overwrite=True)
    assert again.errors == {}
    assert (dest / "d" / "victim").read_text() == (dest / "victim").read_text() == "new"
    assert not (dest / "d").is_symlink()
    assert not (dest / "victim").is_symlink()


def test_a_file_that_is_there_is_never_written_into(make: Make, outside: Path, tmp_path: Path) -> None:
    archive = make(("f", FILE))
    dest = tmp_path / "dest"
    dest.mkdir()
    os.link(outside / "victim", dest / "f")
    assert "exists already" in Told(archive, dest).errors["f"]
    Told(archive, dest, overwrite=True)
    assert (dest / "f").read_text() == "new"
    assert os.stat(outside / "victim").st_nlink == 1


def test_directories_are_joined_and_full_ones_not_replaced(make: Make, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / "d").mkdir(parents=True)
    (dest / "d" / "mine").write_text("mine")
    (dest / "f").mkdir()
    (dest / "f" / "mine").write_text("mine")
    (dest / "g").mkdir()
    archive = make(("d/f", FILE), ("f", FILE), ("g", FILE))
    told = Told(archive, dest, overwrite=True)
    assert set(told.errors) == {"f"}
    assert sorted(os.listdir(dest / "d")) == ["f", "mine"]
    assert (dest / "g").read_text() == "new"


class Swapping(places.Places):
    """Somebody puts a link in the place of a directory just after it was entered."""

    outside: Path

    def enter(self, parent: places.Directory, name: bytes) -> places.Directory:
        found = super().enter(parent, name)
        if name == b"d":
            path = os.fsdecode(os.readlink(f"/proc/self/fd/{self.fd(found)}"))
            os.rename(path, path + ".moved")
            os.symlink(self.outside, path)
        return found


def test_a_directory_that_is_swapped_meanwhile(
    make: Make, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Swapping.outside = outside
    monkeypatch.setattr("rofuse_formats.extraction.Places", Swapping)
    told = Told(make(("d/victim", FILE), ("d/e/f", FILE), ("z", hard("d/victim"))), tmp_path / "dest")
    assert (tmp_path / "dest" / "d.moved" / "victim").read_text() == "new"
    assert set(told.errors) == {"z"}  # its first name is where nobody put it


def test_a_directory_that_is_opened_again_must_be_the_same(tmp_path: Path) -> None:
    with places.Places(tmp_path / "dest") as found:
        inner = found.enter(found.enter(found.root, b"a"), b"b")
        assert inner.parent is not None
        found.leave(inner)
        found.leave(inner.parent)
        assert os.path.samestat(os.fstat(found.fd(inner)), os.stat(tmp_path / "dest/a/b"))
        found.leave(inner)
        os.rename(tmp_path / "dest/a/b", tmp_path / "dest/a/c")
        os.mkdir(tmp_path / "dest/a/b")
        with pytest.raises(OSError, match="replaced") as refused:
            found.fd(inner)
        assert refused.value.errno == errno.ESTALE


@pytest.mark.parametrize("name", [b"..", b"./", b"a/", b"a\0"], ids=repr)
def test_names_that_no_builder_lets_through(name: bytes, outside: Path, tmp_path: Path) -> None:
    """An index may say anything."""
    builder = ImageBuilder()
    builder.add(b"XY", stat.S_IFREG | 0o644, builder.owner(0, 0), 0, 0, 0, 0)
    builder.add(b"ZZ/victim", stat.S_IFREG | 0o644, builder.owner(0, 0), 0, 0, 0, 0)
    image = b"".join(bytes(piece) for piece in builder.finish())
    image = image.replace(b"XY", name).replace(b"ZZ", b"..")
    meta = {"format": "x", "codecs": [], "frames": [], "suspect": [], "outer": 0, "parts": []}
    meta["report"] = builder.report.to_json()
    (tmp_path / "a.tar").write_bytes(b"x")
    fd = os.memfd_create("index")
    index.write(fd, meta, [image], [])
    archive = Archive(FileSource(tmp_path / "a.tar"), index.Index(fd), Settings())
    os.close(fd)
    told = Told(archive, tmp_path / "dest")
    assert told.result == (0, 2, 0)
    assert os.listdir(tmp_path / "dest") == []


def test_deeper_than_descriptors_go(make: Make, tmp_path: Path) -> None:
    deep = "/".join("d" * 300)
    members = [(f"{deep}/f", FILE), ("d/d/z", hard(f"{deep}/f")), ("d/d/d/last", FILE)]
    told = Told(make(*members), tmp_path / "dest")
    assert told.errors == {}
    assert (tmp_path / "dest" / "d" / "d" / "z").stat().st_nlink == 2


def test_directories_that_keep_their_owner_out_come_last(make: Make, tmp_path: Path) -> None:
    archive = make(
        ("d", DIRECTORY | {"mode": 0o000}),
        ("d/f", FILE),
        ("d/e", DIRECTORY | {"mode": 0o111}),
        ("h", hard("d/f")),
    )
    told = Told(archive, tmp_path / "dest")
    assert told.errors == {}
    status = os.stat(tmp_path / "dest" / "d")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0, 1_700_000_000)
    assert os.stat(tmp_path / "dest" / "h").st_nlink == 2
    os.chmod(tmp_path / "dest" / "d", 0o755)


def test_what_is_chosen_and_the_directories_above_it(make: Make, tmp_path: Path) -> None:
    archive = make(
        ("a/b/one", FILE), ("a/b/two", FILE), ("a/c/three", FILE), ("l", link("a/b")), ("h", hard("a/b/one"))
    )
    assert Told(archive, tmp_path / "dest", "/a/b/one", "l/two").result.entries == 4
    assert sorted(os.listdir(tmp_path / "dest" / "a" / "b")) == ["one", "two"]
    assert os.listdir(tmp_path / "dest") == ["a"]
    assert Told(archive, tmp_path / "other", "h").result == (1, 0, 3)
    assert (tmp_path / "other" / "h").read_text() == "new"
    with pytest.raises(FileNotFoundError):
        archive.extract(tmp_path / "third", ["no/such"])
    assert not (tmp_path / "third").exists()


def test_without_root_there_are_no_owners_no_setuid_and_no_devices(make: Make, tmp_path: Path) -> None:
    archive = make(
        ("setuid", FILE | {"mode": 0o6777, "uid": 12, "pax_headers": {"SCHILY.xattr.security.x": "no"}}),
        ("dir", DIRECTORY | {"mode": 0o3777}),
    )
    mask = os.umask(0o027)
    try:
        told = Told(archive, tmp_path / "dest", owners=False, permissions=False)
    finally:
        os.umask(mask)
    assert told.errors == {}
    status = os.stat(tmp_path / "dest" / "setuid")
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o750, os.geteuid())
    assert stat.S_IMODE(os.stat(tmp_path / "dest" / "dir").st_mode) == 0o750
    assert not any(name.startswith("security.x") for name in os.listxattr(tmp_path / "dest" / "setuid"))


@as_root
def test_setuid_goes_where_its_owner_cannot_be_given(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    told = Told(make(("f", FILE | {"mode": 0o4755, "uid": 12})), tmp_path / "dest")
    assert "attributes" in told.errors["f"]
    assert stat.S_IMODE(os.stat(tmp_path / "dest" / "f").st_mode) == 0o755


def test_a_full_disk_ends_it(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", refuse)
    with pytest.raises(OSError, match="No space left"):
        make(("f", FILE), ("g", FILE)).extract(tmp_path / "dest")
    assert os.listdir(tmp_path / "dest") == []


def test_without_hard_links_each_name_is_a_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    told = Told(make(("f", FILE), ("g", hard("f"))), tmp_path / "dest")
    assert (told.errors, (tmp_path / "dest" / "g").read_text()) == ({}, "new")
