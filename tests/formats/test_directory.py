"""A directory as an archive: what every archive must be, what it was when it was scanned, and nothing outside of it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_formats import Archive, ScanOptions, Settings
from rofuse_formats.directory import attributes, paths, scanning
from rofuse_formats.directory.in_order import FilesInOrder
from rofuse_formats.errors import ChangedError, LimitError, SourceError
from rofuse_formats.limits import Limits
from tests.archive_tree import tree_of
from tests.formats import test_conformance as conformance
from tests.formats.directory_support import odd_tree
from tests.trees import difference, snapshot, with_directory_links

PATHS = (b"a", b"d/b", b"d/e/c")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_tree(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small one, to be changed."""
    root = tmp_path / "tree"
    (root / "d" / "e").mkdir(parents=True)
    (root / "a").write_text("one")
    (root / "d" / "b").write_text("two")
    (root / "d" / "e" / "c").write_bytes(bytes(range(256)) * 1024)
    return root


def opened(root: Path, **options: Any) -> Archive:
    return rofuse_formats.open(root, Settings(ScanOptions(**options)))


def names(archive: Archive) -> list[str]:
    return [os.fsdecode(path) for path, _node in archive.image.walk()]


def content(archive: Archive, path: str) -> bytes:
    node = archive.image.resolve(os.fsencode(path))
    return b"".join(archive.read(node, 0, archive.image.size[node - 1]))


# -- what holds for every archive ----------------------------------------------------------------------------


def test_it_is_the_tree_that_system_calls_find(odd: Path) -> None:
    archive = opened(odd)
    assert difference(with_directory_links(snapshot(odd)), tree_of(archive)) == []
    assert archive.report.lines() == []


@pytest.mark.parametrize(
    "law",
    [
        conformance.test_it_opens_strictly,
        conformance.test_its_dump_gives_the_same_image_back,
        conformance.test_its_image_is_the_same_every_time,
        conformance.test_reads_anywhere_by_many_at_once,
    ],
)
def test_the_laws_of_archives_hold(law: Callable[[Path], None], odd: Path) -> None:
    law(odd)


def test_owners_have_their_names(odd: Path) -> None:
    image = opened(odd).image
    assert image.owner_names(image.owner[0])[0] == os.fsencode(pwd.getpwuid(odd.stat().st_uid).pw_name)


def test_attributes_are_the_same_however_they_are_asked_for(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = opened(odd)
    monkeypatch.setattr(attributes, "_listxattrat", lambda: None)
    image = opened(odd).image
    assert bytes(image.buffer) == bytes(asked.image.buffer)
    assert (b"user.odd", b"1\0\xff") in image.xattrs(image.resolve(b"a"))
    assert (b"user.directory", b"") in image.xattrs(image.resolve(b"d"))


def test_holes_are_known(odd: Path) -> None:
    image = opened(odd).image
    runs = [(e.logical, e.length) for e in image.extents(image.resolve(b"sparse"))]
    assert (1 << 20, 4096 * 3) in runs and len(runs) == 2
    assert image.extents(image.resolve(b"hole")) == []


def test_what_a_file_has_too_many_holes_for_are_bytes(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_MOST_EXTENTS", 0)
    archive = opened(odd)
    node = archive.image.resolve(b"sparse")
    *_, last = archive.image.extents(node)
    assert last.logical + last.length == 1 << 32 and last.length > 1 << 30
    assert b"".join(archive.read(node, (1 << 32) - 5, 5)) == b"\0\0end"


def test_the_order_is_that_of_the_names_and_not_of_the_disk(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in sorted(os.listdir(tree), reverse=True):
        (shutil.copytree if (tree / name).is_dir() else shutil.copy2)(tree / name, copy / name)
    assert names(opened(copy)) == names(opened(tree)) == ["a", "d", "d/b", "d/e", "d/e/c"]


def test_paths_may_be_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    fd = os.open(root, os.O_PATH)
    for _level in range(400):
        os.mkdir("y" * 30, dir_fd=fd)
        below = os.open("y" * 30, os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    bottom = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(bottom, b"at the bottom")
    os.close(bottom)
    os.close(fd)
    archive = opened(root)
    *_, (path, node) = archive.image.walk()
    assert len(path) > 12_000
    assert b"".join(archive.read(node, 0, 100)) == b"at the bottom"
    _remove(root)


def _remove(root: Path) -> None:
    """``shutil.rmtree`` calls itself for every level."""
    subprocess.run(["rm", "-r", root], check=True)


def test_descriptors_are_few(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "file").write_text(str(number))
    before = len(os.listdir("/proc/self/fd"))
    archive = opened(tmp_path)
    for number in range(400):
        assert content(archive, f"d{number}/file") == str(number).encode()
    assert len(os.listdir("/proc/self/fd")) < before + 350
    del archive
    assert len(os.listdir("/proc/self/fd")) == before


# -- what is left out ----------------------------------------------------------------------------------------


def test_excluded_is_what_the_patterns_mean(tree: Path) -> None:
    assert names(opened(tree, exclude=["e"])) == ["a", "d", "d/b"]
    assert names(opened(tree, exclude=["/b", "/a"])) == ["d", "d/b", "d/e", "d/e/c"]
    assert names(opened(tree, exclude=["d/**"])) == ["a", "d"]
    assert names(opened(tree, exclude=["a/", "c"])) == ["a", "d", "d/b", "d/e"]
    with pytest.raises(ValueError, match="pattern"):
        opened(tree, exclude=[""])


def test_more_entries_than_allowed(tree: Path) -> None:
    with pytest.raises(LimitError, match="--max-entries"):
        rofuse_formats.open(tree, Settings(limits=Limits(max_entries=3)))


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A directory for a user who may not read all; who that is while the test goes on."""
    with tempfile.TemporaryDirectory(prefix="rofuse-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        os.seteuid(os.getuid())


def test_what_cannot_be_read_is_told_and_left_out(ordinary: Path, tree: Path) -> None:
    shutil.copytree(tree, ordinary / "tree")
    tree = ordinary / "tree"
    (tree / "a").chmod(0)
    (tree / "d" / "e").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    archive = opened(tree)
    os.seteuid(os.getuid())
    (tree / "d" / "e").chmod(0o755)
    assert names(archive) == ["d", "d/b", "d/e"]
    assert {path for path, _reason in archive.report.skipped} == {b"a", b"d/e"}


@pytest.mark.parametrize("what", ["stat", "scandir", "readlink", "listxattr"])
def test_what_vanishes_meanwhile_is_no_failure(what: str, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third call finds nothing."""
    real, calls = getattr(os, what), [0]

    def vanishing(*words: object, **more: object) -> object:
        calls[0] += 1
        if calls[0] % 3 == 2:
            raise FileNotFoundError(2, "No such file or directory")
        return real(*words, **more)

    monkeypatch.setattr(os, what, vanishing)
    monkeypatch.setattr(attributes, "_listxattrat", lambda: None)
    archive = opened(odd)
    monkeypatch.undo()
    assert calls[0] >= 3
    if what != "listxattr":
        assert "vanished while the directory was read" in archive.report.skipped_counts
    assert tree_of(archive)


def test_a_directory_that_is_gone_or_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        opened(tmp_path / "missing")
    archive = opened(tmp_path)
    assert names(archive) == []


# -- what has changed, and what lies elsewhere -----------------------------------------------------------------


def test_what_has_changed_is_not_given_out(tree: Path) -> None:
    archive = opened(tree)
    assert content(archive, "d/b") == b"two"
    (tree / "d" / "b").write_text("TWO")
    (tree / "a").unlink()
    with (tree / "d" / "e" / "c").open("r+b") as file:
        file.truncate(10)
    for path in "a", "d/b", "d/e/c":
        with pytest.raises(ChangedError):
            content(archive, path)
    assert archive.image.size[archive.image.resolve(b"d/e/c") - 1] == 1 << 18


def test_what_changes_while_it_is_read_is_not_given_out(tree: Path) -> None:
    archive = opened(tree)
    assert len(content(archive, "d/e/c")) == 1 << 18
    with (tree / "d" / "e" / "c").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ChangedError, match="modification time"):
        content(archive, "d/e/c")


def test_a_file_that_was_put_in_the_place_of_another_is_found_out(tree: Path) -> None:
    archive = opened(tree)
    before = (tree / "a").stat()
    (tree / "new").write_text("ONE")
    os.utime(tree / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "new").rename(tree / "a")
    with pytest.raises(ChangedError, match="another file"):
        content(archive, "a")


@pytest.mark.parametrize("openat2", [True, False])
@pytest.mark.parametrize("follow", [True, False])
def test_nothing_leads_out_of_the_tree(
    follow: bool, openat2: bool, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not openat2:
        monkeypatch.setattr(paths, "_openat2", lambda: None)
    outside = tmp_path / "outside"
    shutil.copytree(tree / "d", outside)
    archive = rofuse_formats.open(tree, Settings(follow=follow))
    shutil.rmtree(tree / "d")
    (tree / "d").symlink_to(outside)
    (tree / "a").unlink()
    (tree / "a").symlink_to("/etc/passwd")
    for path in "a", "d/b", "d/e/c":
        with pytest.raises(ChangedError):
            content(archive, path)


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tree: Path) -> None:
    archive = rofuse_formats.open(tree, Settings(follow=True))
    (tree / "a").unlink()
    os.mkfifo(tree / "a")
    with pytest.raises(ChangedError, match="no longer a file"):
        content(archive, "a")


def test_what_has_changed_is_not_given_out_in_order_either(tree: Path, tmp_path: Path) -> None:
    (tree / "link").hardlink_to(tree / "d" / "b")
    archive = opened(tree)
    assert archive.files is not None
    reading, nodes = FilesInOrder(archive.files), {name: archive.image.resolve(name) for name in PATHS}
    assert [reading.read(nodes[name], 0, 3) for name in PATHS] == [b"one", b"two", b"\0\1\2"]
    (tree / "a").unlink()
    (tree / "a").symlink_to("link")
    (tree / "d" / "b").write_text("TWO")
    (tree / "d" / "e" / "c").unlink()
    os.mkfifo(tree / "d" / "e" / "c")
    for name in PATHS:
        with pytest.raises(ChangedError):
            reading.read(nodes[name], 0, 3)
            FilesInOrder(archive.files).read(nodes[name], 0, 3)  # the last one is still open, and what it was


def test_follow_reads_what_is_there_now(tree: Path) -> None:
    archive = rofuse_formats.open(tree, Settings(follow=True))
    (tree / "a").write_text("1 1")
    (tree / "d").rename(tree / "old")
    shutil.copytree(tree / "old", tree / "d")
    (tree / "d" / "b").write_text("TWO")
    assert content(archive, "a") == b"1 1"
    assert content(archive, "d/b") == b"TWO"


@pytest.mark.parametrize("openat2", [True, False])
def test_links_are_not_followed_when_it_is_scanned(
    openat2: bool, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not openat2:
        monkeypatch.setattr(paths, "_openat2", lambda: None)
    (tree / "loop").symlink_to("d")
    archive = opened(tree)
    node = archive.image.resolve(b"loop")
    assert stat.S_ISLNK(archive.image.mode[node - 1])
    assert content(archive, "d/e/c")[:3] == b"\0\1\2"
