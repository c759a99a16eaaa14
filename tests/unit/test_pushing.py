"""What is pushed behind a reader of small files, and what is not."""

from __future__ import annotations

import io
import itertools
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rofuse_formats
from rofuse_formats import Archive
from rofuse_mount import pushing
from rofuse_mount.pushing import SMALL, Pusher

FILES = 1000


class Kernel:
    """Takes what is stored, of the inodes it knows."""

    def __init__(self) -> None:
        self.cached: dict[int, bytes] = {}
        self.unknown: set[int] = set()
        self.full = False

    def store(self, ino: int, data: list[memoryview]) -> bool:
        if self.full:
            raise OSError("no memory")
        if ino in self.unknown:
            return False
        self.cached[ino] = b"".join(data)
        return True


class Reader:
    """Reads files as a kernel lets it: those that are cached without a request."""

    def __init__(self, archive: Archive, kernel: Kernel) -> None:
        self.archive, self.kernel = archive, kernel
        self.requests = 0
        self.use(Pusher(archive, lambda node: node, kernel.store))

    def use(self, pusher: Pusher) -> None:
        self.pusher, self.push = pusher, pusher.push

    def later(self) -> Callable[[], None]:
        """Has nothing pushed beside it until what is returned is called."""
        self.push = lambda: None
        return self.pusher.push

    def __call__(self, *nodes: int) -> None:
        for node in nodes:
            if node in self.kernel.cached:
                continue
            self.requests += 1
            self.pusher.claims(node)
            if self.pusher.is_small(node):
                self.pusher.after(node)
            self.kernel.cached[node] = content(self.archive, node)
            self.push()


def content(archive: Archive, node: int) -> bytes:
    return b"".join(archive.read(node, 0, archive.image.size[node - 1]))


def tar(path: Path, sizes: list[int]) -> Archive:
    with tarfile.open(path, "w") as archive:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"{number:06}")
            info.size = size
            archive.addfile(info, io.BytesIO(number.to_bytes(4, "big") * (size // 4 + 1)))
    return rofuse_formats.open(path, keep=False)


@pytest.fixture
def many(tmp_path: Path) -> Reader:
    """Of an archive of ``FILES`` files, inodes 2 and on."""
    return Reader(tar(tmp_path / "a.tar", [100 + n % 50 for n in range(FILES)]), Kernel())


def test_one_who_reads_all_asks_for_few(many: Reader) -> None:
    many(*range(2, FILES + 2))
    assert many.requests <= 12
    assert many.pusher.files >= FILES - 12 and many.pusher.unread == 0
    for node, cached in many.kernel.cached.items():
        assert cached == content(many.archive, node)


def test_one_file_or_files_anywhere_push_nothing(many: Reader) -> None:
    many(*range(2, FILES, 7), *reversed(range(6, FILES, 7)))
    assert many.pusher.figures() == {"files": 0, "bytes": 0, "unread": 0}


def test_what_is_pushed_behind_a_file_that_cannot_be_read_counts_as_unread(many: Reader) -> None:
    """Its reader has come to its tripwire, but nobody knows whether it goes on."""
    many(2, 3)
    assert many.kernel.cached.keys() == {*range(2, 8), *range(9, 13)}
    assert many.pusher.claims(8)
    many.pusher.disclaim()
    assert many.pusher.unread == 4
    assert not many.pusher._planned and not many.pusher._awaited


def test_what_the_kernel_does_not_know_ends_a_push(many: Reader) -> None:
    many.kernel.unknown.update(range(50, FILES + 2))
    many(*range(2, 50))
    assert many.requests <= 8
    many.kernel.unknown.clear()  # a directory was listed
    pushed = many.pusher.files
    many(50, 51, 52)
    assert many.pusher.files > pushed  # its reader has come back


def test_a_kernel_that_takes_nothing_costs_nothing_but_the_push(many: Reader) -> None:
    many.kernel.full = True
    many(*range(2, 100))
    assert many.requests == 98 and many.pusher.files == 0


def test_pushes_that_nobody_came_back_for_are_told_and_make_it_wary(many: Reader) -> None:
    for node in range(2, FILES - 11, 11):  # two of every eleven
        many.kernel.cached.clear()
        many(node, node + 1)
    assert many.pusher.unread > 0
    pushed = many.pusher.files
    many.kernel.cached.clear()
    many(2, 3, 4)
    assert many.pusher.files == pushed  # three in order convince no more
    many(5)
    assert many.pusher.files > pushed


def test_pushing_takes_a_claim_of_the_same_thread(many: Reader) -> None:
    """Who did not claim has not given up the turn, and must not wait."""
    many(2)
    many.pusher.after(3)
    assert not many.kernel.cached.keys() - {2, 3}
    many.pusher.after(4)
    assert many.pusher.claims(5)
    other = threading.Thread(target=many.pusher.after, args=(5,))
    other.start()
    other.join()
    assert many.pusher.files == 0


def test_one_thread_pushes_at_a_time(many: Reader) -> None:
    within, go_on = threading.Event(), threading.Event()
    store = many.kernel.store

    def slowly(ino: int, data: list[memoryview]) -> bool:
        within.set()
        assert go_on.wait(20)
        return store(ino, data)

    many.use(Pusher(many.archive, lambda node: node, slowly))
    many(2)
    first = threading.Thread(target=many, args=(3,))
    first.start()
    assert within.wait(20)
    many(500, 501, 502)  # would wait for ever
    assert many.kernel.cached.keys() == {2, 500, 501, 502}
    go_on.set()
    first.join()
    assert many.kernel.cached.keys() >= {4, 7, 9, 12, 503, 506}  # of both readers, by the one who pushes


def test_a_batch_lies_ahead_of_its_reader_always(many: Reader) -> None:
    many(2, 3)
    tripwires = 0
    for node in range(4, FILES // 2):
        if node not in many.kernel.cached:
            tripwires += 1
            ahead = [after for after in range(node + 1, FILES) if after not in many.kernel.cached]
            many(node)
            assert ahead[0] > node + 4  # what it has to do meanwhile, while ...
            assert ahead[1] in many.kernel.cached  # ... that is stored
    assert tripwires >= 4


def test_a_reader_who_is_faster_than_the_push_gets_a_batch_before_its_answer(many: Reader) -> None:
    many(2)
    push = many.later()
    many(3)
    assert many.kernel.cached.keys() == {2, *range(3, 8)}  # at once; 8 is the tripwire
    many(8)
    assert max(many.kernel.cached) == 8
    many(9)
    assert many.kernel.cached.keys() == {*range(2, 18)}
    push()
    assert many.kernel.cached.keys() == {*range(2, 18), *range(19, 27)}  # nothing of what it has read
    many(18)
    assert many.pusher.unread == 0 and len(many.pusher._awaited) == 1


def test_what_a_reader_has_passed_is_not_stored(many: Reader) -> None:
    many(2)
    push = many.later()
    many(3, 8)  # behind 8, 9 to 12 are planned, and 14 to 21 behind 13
    many(13)
    push()
    assert many.kernel.cached.keys() == {*range(2, 9), 13, *range(14, 22), *range(23, 31)}
    assert not many.pusher._planned


def test_behind_what_cannot_be_stored_nothing_is_tried(many: Reader) -> None:
    tried: list[int] = []

    def store(ino: int, data: list[memoryview]) -> bool:
        tried.append(ino)
        return many.kernel.store(ino, data)

    many.use(Pusher(many.archive, lambda node: node, store))
    many.kernel.unknown.update(range(30, FILES + 2))
    many(*range(2, 30))
    assert max(tried) == 30 and tried.count(30) == 1
    assert many.pusher._awaited.keys() == {30}


class Walker:
    """Reads a tree as ``grep -r`` does: the files of a directory, when the kernel knows them because it listed it."""

    def __init__(self, tmp_path: Path, folders: list[int]) -> None:
        """``folders``: with so many files each."""
        with tarfile.open(tmp_path / "a.tar", "w") as made:
            for number, files in enumerate(folders):
                for file in range(files):
                    info = tarfile.TarInfo(f"{number:03}/{file:03}")
                    info.size = 100
                    made.addfile(info, io.BytesIO(b"%100d" % file))
        self.archive = rofuse_formats.open(tmp_path / "a.tar", keep=False)
        self.kernel = Kernel()
        self.reader = Reader(self.archive, self.kernel)
        image = self.archive.image
        self.folders = [number for number in self._children(1) if image.is_directory(number)]
        self.kernel.unknown = set(range(1, image.inode_count + 1))

    def _children(self, node: int) -> list[int]:
        rows = self.archive.image.dirents(node)
        return list(self.archive.image.child[rows.start : rows.stop])

    def lists(self, folder: int) -> list[int]:
        """Its files. The kernel asks once more behind what it was given first."""
        files = self._children(folder)
        self.kernel.unknown.difference_update(files)
        if self.reader.pusher.claims_listed(folder):
            self.reader.pusher.listed(folder)
            self.reader.push()
        return files

    def __call__(self, *folders: int) -> None:
        for folder in folders:
            self.reader(*self.lists(folder))


def test_the_files_of_a_directory_that_its_reader_comes_to_are_stored_when_it_is_listed(
    tmp_path: Path,
) -> None:
    walker = Walker(tmp_path, [3] * 200)
    walker(*walker.folders)
    assert walker.reader.requests < 200 // 4  # not one in each
    assert walker.reader.pusher.unread == 0
    for node, cached in walker.kernel.cached.items():
        assert cached == content(walker.archive, node)


def test_who_lists_and_does_not_read_is_given_but_a_little(tmp_path: Path) -> None:
    walker = Walker(tmp_path, [3] * 200)
    walker(*walker.folders[:2])
    before = walker.reader.pusher.files
    for folder in walker.folders[2:]:
        walker.lists(folder)
    assert walker.reader.pusher.files - before <= 8


def test_a_directory_is_listed_as_often_as_one_likes(tmp_path: Path) -> None:
    walker = Walker(tmp_path, [40, 40])
    walker(walker.folders[0])
    walker.lists(walker.folders[1])
    pushed = walker.reader.pusher.files
    for folder in walker.folders * 3:
        walker.lists(folder)
    assert walker.reader.pusher.files == pushed
    walker(walker.folders[1])
    assert walker.kernel.cached.keys() == set(range(4, 84)) and walker.reader.pusher.unread == 0


def test_what_is_no_directory_or_is_damaged_is_listed_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walker = Walker(tmp_path, [3, 3, 3])
    walker(*walker.folders[:2])
    assert not walker.reader.pusher.claims_listed(walker.archive.image.inode_count)
    monkeypatch.setattr(walker.archive.image, "dirents", lambda node: range(1 << 60, 1 << 61))
    assert not walker.reader.pusher.claims_listed(walker.folders[2])


def test_who_only_lists_is_given_nothing(tmp_path: Path) -> None:
    walker = Walker(tmp_path, [3] * 20)
    for folder in walker.folders:
        walker.lists(folder)
    assert walker.reader.pusher.files == 0


def test_who_reads_what_is_just_being_stored_begins_anew_with_the_next_file(many: Reader) -> None:
    """And is no other reader. It would go on to ask for everything that is just being stored."""

    def meanwhile(ino: int, data: list[memoryview]) -> bool:
        if ino == 6:
            assert not many.pusher.claims(6)
            assert many.pusher.after(6) == 0
        return many.kernel.store(ino, data)

    many.use(Pusher(many.archive, lambda node: node, meanwhile))
    many(2, 3)
    assert many.kernel.cached.keys() >= {2, 3, 4, 5, 6} and 7 not in many.kernel.cached
    many(7)
    assert many.kernel.cached.keys() >= {8, 9, 10, 11}
    assert len(many.pusher._awaited) == 1 and many.pusher.unread == 0


def test_who_stores_and_who_drops_may_meet(many: Reader) -> None:
    class Raced(dict[int, Any]):
        """Somebody else takes what was just looked at."""

        def get(self, key: int, default: Any = None) -> Any:
            return self.pop(key, default)

    many(2)
    many.later()
    many(3)
    many.pusher._planned = Raced(many.pusher._planned)
    many.pusher._await(8, many.pusher._awaited[8])  # drops what another was to have
    assert not many.pusher._planned


def test_nobody_waits_twice_for_a_push_that_takes_its_time(many: Reader) -> None:
    """And what is planned meanwhile does not grow."""
    many.pusher._pushing.acquire()
    many(*range(2, FILES + 2))
    assert many.requests == FILES and many.pusher._is_held_up
    assert len(many.pusher._batches) <= 64 and len(many.pusher._planned) <= 64
    many.pusher._pushing.release()
    many.pusher.push()
    assert not many.pusher._is_held_up and not many.pusher._batches


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_reader_waits_but_a_moment_for_what_is_decoded_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(99):
            info = tarfile.TarInfo(f"{number:06}")
            info.size = 5000
            archive.addfile(info, io.BytesIO(b"%d" % number * 5000))
    monkeypatch.setattr(pushing, "monotonic", itertools.count(0, int(is_slow)).__next__)
    many = Reader(rofuse_formats.open(path, keep=False), Kernel())
    push = many.later()
    content(many.archive, 2)
    at_hand = max(node for node in range(2, 100) if many.archive.is_at_hand(node, 0, 5000))
    assert at_hand < 60
    for node in range(2, at_hand + 1):
        many(node)
    assert any(node > at_hand for node in many.kernel.cached) == (not is_slow)
    many.push = push
    many(*range(at_hand + 1, 101))
    assert many.requests < 30 and many.pusher.files > 70
    assert all(many.kernel.cached[node] == content(many.archive, node) for node in range(2, 101))


def test_between_large_files_no_more_is_decoded_ahead_than_is_kept(tmp_path: Path) -> None:
    """Each small file lies a megabyte behind the one before: a batch of them would be all of the archive."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        for number in range(40):
            info = tarfile.TarInfo(f"{number:06}")
            info.size = 20 if number % 2 else 1 << 20
            made.addfile(info, io.BytesIO(bytes(info.size)))
    archive = rofuse_formats.open(tmp_path / "a.tar.gz", keep=False)
    small = range(3, 42, 2)
    assert not archive.follows(small[1], small[0])  # nothing stands there to go on
    content(archive, small[0])
    assert archive.follows(small[1], small[0])
    for node in small[1:]:
        content(archive, node)
    near = [
        node
        for node in small[1:]
        if archive.image.data[node - 1] - archive.image.data[small[0] - 1] < 5 << 20
    ]
    assert not any(archive.follows(node, small[0]) for node in small[1:] if node not in near)


def test_a_store_that_fails_in_any_way_is_not_the_end(many: Reader) -> None:
    def broken(ino: int, data: list[memoryview]) -> bool:
        raise ValueError("a bug")

    many.use(Pusher(many.archive, lambda node: node, broken))
    many(*range(2, 20))
    assert many.requests == 18


def test_what_cannot_even_be_looked_at_ends_a_push_without_a_word(
    many: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: int) -> bool:
        raise ValueError("a bug")

    monkeypatch.setattr(many.archive, "is_at_hand", broken)
    monkeypatch.setattr(pushing, "monotonic", itertools.count().__next__)  # late from the first file on
    many(*range(2, 20))
    assert many.requests == 18 and not many.pusher._storing


def test_empty_and_large_files_and_directories_are_passed_over(tmp_path: Path) -> None:
    sizes = [10, 10, 0, SMALL + 1, 10, SMALL, 10]
    many = Reader(tar(tmp_path / "a.tar", sizes), Kernel())
    many(2, 3)
    assert many.kernel.cached.keys() == {2, 3, 6, 8}  # 64 KiB are the most at first
    many(7)
    assert {node: len(data) for node, data in many.kernel.cached.items()} == {
        node: sizes[node - 2] for node in (2, 3, 6, 7, 8)
    }


def test_a_damaged_file_ends_a_push_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(9):
            archive.writestr(f"{number}", b"content %d" % number * 20)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("5").header_offset + 30 + 1
    data[at + 3] ^= 0xFF
    path.write_bytes(data)
    opened = rofuse_formats.open(path, keep=False)
    lines: list[str] = []
    opened.log = lines.append
    many = Reader(opened, Kernel())
    many(2, 3)
    assert many.kernel.cached.keys() == {2, 3, 4, 5, 6} and not lines
    assert many.pusher._awaited.keys() == {7}  # its reader is told


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(2, 61), st.integers(1, 20)), max_size=30),
    st.sets(st.integers(2, 61), max_size=5),
)
def test_what_is_cached_is_right_whatever_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    runs: list[tuple[int, int]],
    unknown: set[int],
) -> None:
    many = Reader(tar(tmp_path_factory.mktemp("any") / "a.tar", sizes), Kernel())
    many.kernel.unknown |= unknown
    for start, count in runs:
        many(*(node for node in range(start, start + count) if node < len(sizes) + 2))
    pushed = many.pusher.figures()
    assert pushed["files"] + many.requests >= len(many.kernel.cached)
    assert 0 <= pushed["unread"] <= pushed["files"]
    for node, cached in many.kernel.cached.items():
        assert cached == content(many.archive, node)
