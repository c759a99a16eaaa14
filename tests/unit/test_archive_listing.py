"""Listings that are made before they are asked for: the same bytes, and only for who walks."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from errno import EIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rofuse_formats
from rofuse_formats.image.reader import Image
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.archive_listing import LEAST_ROOM, Listings
from rofuse_mount.records import Context
from rofuse_mount.view import View
from tests.tars import write_tar

Member = tuple[str, dict[str, Any]]

CONTEXT = Context()
ROOM = 4096  # a page, so that some directories take several requests
DIRECTORIES = ["a", "a/b", "a/b/c", "a/d", "e", "e/f/g", "empty", "h"]


@pytest.fixture(scope="module")
def filesystem(tmp_path_factory: pytest.TempPathFactory) -> ArchiveFilesystem:
    """Files before, between and behind directories, and one directory that takes several requests."""
    path = tmp_path_factory.mktemp("listing") / "a.tar"
    directories: list[Member] = [(name, {"type": tarfile.DIRTYPE}) for name in DIRECTORIES]
    files: list[Member] = [(f"{name}/{n}", {}) for name in DIRECTORIES if name != "empty" for n in range(3)]
    many: list[Member] = [(f"h/{n:0100}", {}) for n in range(70)]
    archive = rofuse_formats.open(write_tar(path, [*files, *directories, *many, ("z/last", {})]), keep=False)
    return ArchiveFilesystem(archive, View(subdir=b""))


class Counted(Listings):
    """``made``: the directories whose listings were made by ``prepare``, and their offsets."""

    def __init__(self, filesystem: ArchiveFilesystem) -> None:
        of = filesystem
        super().__init__(of.archive.image, of._node, of._attr, of._valid, of._touch)
        self.made: list[tuple[int, int]] = []

    def prepare(self) -> None:
        before = self._prepared
        super().prepare()
        if self._prepared is not before:
            self.made.append(self._prepared[0][:2])


def walk(listings: Listings, image: Image, node: int = 1) -> Iterator[tuple[int, int, bytes]]:
    """As ``find`` does it: a directory to its end, then its directories, depth first. Each request's answer."""
    offset = 0
    while records := listings.reply(node, offset, ROOM):
        yield node, offset, records
        listings.prepare()
        offset = listings._more or len(image.dirents(node)) + 2
    listings.prepare()
    for row in image.dirents(node):
        if image.is_directory(image.child[row]):
            yield from walk(listings, image, image.child[row])


def test_who_walks_finds_every_listing_made_but_the_first_two(filesystem: ArchiveFilesystem) -> None:
    listings, image = Counted(filesystem), filesystem.archive.image
    asked = [(node, offset) for node, offset, _records in walk(listings, image)]
    assert listings.made == asked[2:]
    assert sum(offset > 0 for _node, offset in asked) >= 2  # more of the same directory, too


@given(data=st.data())
@settings(deadline=None)
def test_in_any_order_the_answers_are_those_of_nothing_prepared(
    filesystem: ArchiveFilesystem, data: st.DataObject
) -> None:
    image = filesystem.archive.image
    directories = [node for node in range(1, image.inode_count + 1) if image.is_directory(node)]
    request = st.tuples(
        st.sampled_from(directories), st.integers(0, 80), st.sampled_from([LEAST_ROOM, 1000, ROOM])
    )
    walked = [(node, offset, ROOM) for node, offset, _records in walk(Counted(filesystem), image)]
    start = data.draw(st.integers(0, len(walked)))
    listings = Counted(filesystem)
    for asked in [*walked[start:], *data.draw(st.lists(request, max_size=8)), *walked]:
        assert listings.reply(*asked) == Counted(filesystem).reply(*asked)
        if data.draw(st.booleans()):
            listings.prepare()


def test_who_looks_here_and_there_has_nothing_made(filesystem: ArchiveFilesystem) -> None:
    listings, image = Counted(filesystem), filesystem.archive.image
    for path in (b"h", b"a", b"e", b"a/b/c", b"z"):
        listings.reply(image.resolve(path), 0, ROOM)
        listings.prepare()
    assert listings.made == []


def test_the_filesystem_lists_a_subdirectory_as_the_root(filesystem: ArchiveFilesystem) -> None:
    shown = ArchiveFilesystem(filesystem.archive, View(subdir=b"a"))
    image = filesystem.archive.image
    inner = image.resolve(b"a/b")
    asked = [(1, 0), (inner, 0), (image.resolve(b"a/b/c"), 0), (image.resolve(b"a/d"), 0)]
    walked = []
    for ino, offset in asked:
        walked.append(shown.readdirplus(CONTEXT, ino, 0, offset, ROOM))
        shown.prepare()
    again = ArchiveFilesystem(filesystem.archive, View(subdir=b"a"))
    assert walked == [again.readdirplus(CONTEXT, ino, 0, offset, ROOM) for ino, offset in asked]


def test_a_damaged_listing_is_an_error_for_who_asks_and_for_nobody_before(
    filesystem: ArchiveFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings, image = Counted(filesystem), filesystem.archive.image
    damaged = image.resolve(b"a/b/c")
    attr_of = listings._attr_of

    def broken(node: int) -> tuple[int, ...]:
        if image.parent[node - 1] == damaged:
            raise OSError(EIO, "damaged")
        return attr_of(node)

    monkeypatch.setattr(listings, "_attr_of", broken)
    walked = walk(listings, image)
    nodes = [next(walked)[0] for _ in range(3)]
    assert nodes == [1, image.resolve(b"a"), image.resolve(b"a/b")]
    with pytest.raises(OSError, match="damaged"):
        next(walked)
