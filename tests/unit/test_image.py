"""The inode image: what a builder is told is what a reader finds, in canonical bytes, through a dump and back."""

from __future__ import annotations

import stat
from array import array
from typing import TypeAlias
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rofuse_formats.entry import Extent, PackedColumns, Time
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.image import batch, checking
from rofuse_formats.image import builder as image_builder
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.dump import dump, load
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import Limits

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def image_of(builder: ImageBuilder) -> Image:
    return Image(b"".join(bytes(piece) for piece in builder.finish()))


def add(
    builder: ImageBuilder, path: bytes, mode: int = FILE, size: int = 0, data: int = 0, mtime: int = 0
) -> int:
    return builder.add(path, mode, builder.owner(0, 0), size, mtime, 0, data)


def paths(image: Image) -> list[bytes]:
    return [path for path, _node in image.walk()]


def test_fields_come_back() -> None:
    builder = ImageBuilder()
    owner = builder.owner(1000, 100, b"ann", b"users")
    member = builder.add(b"a/b", FILE, owner, 5, -3, 999_999_999, 512)
    builder.times(member, atime=Time(1, 2), btime=Time(-1, 5))
    builder.xattrs(member, [(b"user.z", b"\0\xff"), (b"user.a", b"")])
    image = image_of(builder)
    node = image.resolve(b"/a//./b")
    row = node - 1
    assert (image.mode[row], image.size[row], image.mtime[row], image.mtime_ns[row]) == (
        FILE,
        5,
        -3,
        999_999_999,
    )
    assert (image.uid[image.owner[row]], image.gid[image.owner[row]]) == (1000, 100)
    assert image.owner_names(image.owner[row]) == (b"ann", b"users")
    assert image.extents(node) == [Extent(0, 5, 512)]
    assert image.times(node) == (Time(1, 2), None, Time(-1, 5))
    assert image.xattrs(node) == [(b"user.a", b""), (b"user.z", b"\0\xff")]
    assert image.xattrs(1) == []
    assert image.times(1) == (None, None, None)


def test_missing_parents_are_made_with_the_archive_s_own_attributes() -> None:
    builder = ImageBuilder(mtime=(77, 8), uid=5, gid=6)
    add(builder, b"x/y/z")
    image = image_of(builder)
    for path in (b"", b"x", b"x/y"):
        row = image.resolve(path) - 1
        assert image.mode[row] == DIRECTORY
        assert (image.mtime[row], image.mtime_ns[row]) == (77, 8)
        assert (image.uid[image.owner[row]], image.gid[image.owner[row]]) == (5, 6)


def test_a_directory_s_own_member_counts_even_after_its_entries() -> None:
    builder = ImageBuilder()
    add(builder, b"d/f")
    add(builder, b"d/", stat.S_IFDIR | 0o700, mtime=9)
    image = image_of(builder)
    assert image.mode[image.resolve(b"d") - 1] == stat.S_IFDIR | 0o700
    assert image.mtime[image.resolve(b"d") - 1] == 9


def test_link_counts() -> None:
    builder = ImageBuilder()
    add(builder, b"d/e/f")
    add(builder, b"d/g/")
    builder.hardlink(b"h", b"d/e/f")
    builder.hardlink(b"d/i", b"h")
    image = image_of(builder)
    assert image.nlink[0] == 3
    assert image.nlink[image.resolve(b"d") - 1] == 3
    assert image.nlink[image.resolve(b"h") - 1] == 3
    assert image.resolve(b"h") == image.resolve(b"d/e/f") == image.resolve(b"d/i")


def test_the_later_of_two_wins_and_stands_at_its_own_place() -> None:
    builder = ImageBuilder()
    for name, size in ((b"a", 1), (b"b", 2), (b"a", 3)):
        add(builder, name, size=size)
    image = image_of(builder)
    assert paths(image) == [b"b", b"a"]
    assert image.size[image.resolve(b"a") - 1] == 3
    assert image.inode_count == 3


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([(b"x", FILE), (b"x", DIRECTORY)], DIRECTORY),
        ([(b"x", DIRECTORY), (b"x", FILE)], FILE),
        ([(b"x/y", FILE), (b"x", FILE)], DIRECTORY),  # extractors do not replace a directory that has entries
        ([(b"x", FILE), (b"x/y", FILE)], DIRECTORY),
        ([(b"x", DIRECTORY), (b"x", FILE), (b"x", DIRECTORY)], DIRECTORY),
        ([(b"x", FILE), (b"x", DIRECTORY), (b"x", FILE)], FILE),
    ],
)
def test_a_file_and_a_directory_of_one_name(names: list[tuple[bytes, int]], kind: int) -> None:
    builder = ImageBuilder()
    for name, mode in names:
        add(builder, name, mode)
    image = image_of(builder)
    assert image.mode[image.resolve(b"x") - 1] == kind
    assert image.nlink[0] == 2 + stat.S_ISDIR(kind)


def test_hard_links_mean_what_the_name_meant_then() -> None:
    builder = ImageBuilder()
    builder.hardlink(b"forward", b"late")
    add(builder, b"f", size=1, data=512)
    builder.hardlink(b"first", b"./f")
    add(builder, b"f", size=2, data=1024)
    builder.hardlink(b"second", b"/f")
    add(builder, b"late", size=3, data=2048)
    image = image_of(builder)
    sizes = {path: image.size[node - 1] for path, node in image.walk()}
    assert sizes == {b"forward": 3, b"late": 3, b"first": 1, b"f": 2, b"second": 2}
    assert image.nlink[image.resolve(b"first") - 1] == 1
    assert image.nlink[image.resolve(b"f") - 1] == 2


def test_hard_links_that_mean_nothing_are_dropped_and_counted() -> None:
    builder = ImageBuilder()
    add(builder, b"keep")
    builder.hardlink(b"keep", b"nothing")
    builder.hardlink(b"one", b"two")
    builder.hardlink(b"two", b"one")
    builder.hardlink(b"self", b"self")
    builder.hardlink(b"up", b"../x")
    add(builder, b"d", DIRECTORY)
    builder.hardlink(b"dir", b"d")
    image = image_of(builder)
    assert paths(image) == [b"keep", b"d"]
    assert sum(builder.report.skipped_counts.values()) == 6


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/etc/passwd", b"etc/passwd"),
        (b"./a//b/./c", b"a/b/c"),
        (b"a/../b", None),
        (b"../a", None),
        (b"..", None),
        (b".", None),
        (b"", None),
        (b"n" * 255, b"n" * 255),
        (b"n" * 256, None),
        (b"d" * 256 + b"/f", None),
        (b"a\0b", None),
        (b"a\0b/c", None),
        (b"f/", b"f"),
        (b"g/.", b"g"),
    ],
)
def test_names(path: bytes, shown: bytes | None) -> None:
    builder = ImageBuilder()
    number = add(builder, path)
    image = image_of(builder)
    files = [found for found, node in image.walk() if stat.S_ISREG(image.mode[node - 1])]
    assert files == ([] if shown is None else [shown])
    assert (number < 0) == (shown is None) == bool(builder.report.skipped)


@pytest.mark.parametrize("length", [0, 1, 4095, 4096])
def test_symlink_targets(length: int) -> None:
    builder = ImageBuilder()
    add(builder, b"link", LINK, size=3, data=builder.text(b"t" * length))
    image = image_of(builder)
    node = image.resolve(b"link")
    if 0 < length <= 4095:
        assert image.target(node) == b"t" * length
        assert image.size[node - 1] == length
    else:
        assert node == 0


def test_a_symlink_to_no_text_is_refused() -> None:
    builder = ImageBuilder()
    assert add(builder, b"link", LINK, data=builder.text(b"a\0b")) == -1


def test_times_of_a_directory_s_earlier_member_do_not_count() -> None:
    builder = ImageBuilder()
    builder.times(add(builder, b"d", DIRECTORY), atime=Time(1))
    builder.times(add(builder, b"e", DIRECTORY), atime=Time(2))
    add(builder, b"d", DIRECTORY)
    builder.times(add(builder, b"e", DIRECTORY), ctime=Time(3))
    image = image_of(builder)
    assert image.times(image.resolve(b"d")) == (None, None, None)
    assert image.times(image.resolve(b"e")) == (None, Time(3), None)


def test_attributes_that_cannot_be_kept_are_told() -> None:
    builder = ImageBuilder(limits=Limits(max_xattrs=10))
    for attributes in ([(b"user.a", b"12345")], [(b"", b"1")], [(b"u" * 256, b"")]):
        builder.xattrs(add(builder, b"f"), attributes)
    assert sum(builder.report.skipped_counts.values()) == 3
    assert not image_of(builder).has_xattrs


def test_limits() -> None:
    builder = ImageBuilder(limits=Limits(max_entries=3, max_path=10))
    assert add(builder, b"d/" * 20 + b"f") == -1
    add(builder, b"a")
    add(builder, b"b")
    with pytest.raises(LimitError, match="--max-entries"):
        add(builder, b"c")


def test_what_is_left_out_names_the_option() -> None:
    builder = ImageBuilder(limits=Limits(max_path=20, max_name=5, max_depth=2, max_target=3, max_xattrs=4))
    assert add(builder, b"d/e/f") > 0
    assert add(builder, b"d/e/dir", DIRECTORY) < 0
    assert add(builder, b"d/e/g/h") < 0
    assert add(builder, b"longer") < 0
    assert add(builder, b"n" * 256) < 0
    assert add(builder, b"p/" * 12 + b"q") < 0
    for name, target in ((b"ok", b"123"), (b"link", b"1234")):
        builder.add(name, LINK, 0, len(target), 0, 0, builder.text(target))
    builder.xattrs(add(builder, b"x"), [(b"user.a", b"1")])
    told = [reason.partition(", which ") for reason in builder.report.skipped_counts]
    assert {reason: option for reason, _which, option in told} == {
        "in more than 2 directories": "--max-depth raises",
        "a name of more than 5 bytes": "--max-name raises",
        "a name of more than 255 bytes": "",
        "a path of more than 20 bytes": "--max-path raises",
        "a symbolic link whose target is over 3 bytes": "--max-target raises",
        "extended attributes of over 4 bytes": "--max-xattrs raises",
    }
    assert paths(image_of(builder)) == [b"d", b"d/e", b"d/e/f", b"ok", b"x"]


@pytest.mark.parametrize("depth", [2, 3])
def test_a_batch_is_held_to_the_depth(depth: int) -> None:
    """Members that are told column by column."""
    names = [b"a/", b"a/b/", b"a/b/c/", *(b"a/b/c/%d" % number for number in range(20))]
    modes = array("H", [DIRECTORY] * 3 + [FILE] * 20)
    zeros = {code: array(code, [0] * len(names)) for code in "IQqH"}
    columns = (zeros["Q"], zeros["Q"], zeros["I"], zeros["H"], zeros["H"])
    builder = ImageBuilder(limits=Limits(max_depth=depth))
    builder.owner(0, 0)
    builder.add_packed(PackedColumns(names, modes, zeros["I"], zeros["Q"], zeros["q"], columns))
    add(builder, b"a/b/c/d/e")
    assert image_of(builder).inode_count == (3 if depth == 2 else 24)


def test_a_chain_of_hard_links_is_followed_once() -> None:
    """Each names the one that follows; all but the last come before what they name."""
    builder = ImageBuilder()
    for number in range(20_000):
        builder.hardlink(b"%d" % number, b"%d" % (number + 1))
    add(builder, b"20000", size=3)
    image = image_of(builder)
    assert (image.inode_count, image.nlink[1]) == (2, 20_001)


def test_attributes_have_some_names_and_not_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who serves an image asks for all of them at once, and who is given one, too."""
    for module in (image_builder, checking):
        monkeypatch.setattr(module, "MOST_XATTR_NAMES", 3)
    builder = ImageBuilder()
    for number in range(6):
        names = b"user.x", b"user.%d" % (number // 2)
        builder.xattrs(add(builder, b"%d" % number), [(name, b"") for name in names])
    image = image_of(builder)
    assert image.xattr_names() == {b"user.x", b"user.0", b"user.1"}
    assert [len(image.xattrs(node)) for node in range(2, 8)] == [2, 2, 2, 2, 0, 0]
    assert "2 not shown: extended attributes of too many different names" in builder.report.lines()[0]
    checking.check_form(image, Limits())
    monkeypatch.setattr(checking, "MOST_XATTR_NAMES", 2)
    with pytest.raises(IndexDamagedError, match="too many names"):
        checking.check_form(image, Limits())


def test_what_many_hard_links_name_is_looked_for_once() -> None:
    """It may be a path of ten thousand slashes, which a global header says once."""
    builder = ImageBuilder()
    add(builder, b"d/e/f")
    for number in range(5):
        builder.hardlink(b"%d" % number, b"/".join([b"d", *[b"."] * 10_000, b"e/f"]))
    with mock.patch.object(builder, "find_directory", wraps=builder.find_directory) as find:
        image = image_of(builder)
    assert image.nlink[image.resolve(b"d/e/f") - 1] == 6
    find.assert_called_once_with(b"d/e")


def test_extents_are_found_from_anywhere() -> None:
    builder = ImageBuilder()
    runs = [Extent(at, 10, at) for at in (0, 10, 50, 90)]
    add(builder, b"f", size=120, data=builder.extents(runs))
    add(builder, b"whole", size=7, data=3)
    add(builder, b"d", DIRECTORY)
    image = image_of(builder)
    for start in range(130):
        wanted = [run for run in runs if run.logical + run.length > start]
        assert list(image.extents_from(image.resolve(b"f"), start)) == wanted
    assert list(image.extents_from(image.resolve(b"whole"), 6)) == [Extent(0, 7, 3)]
    assert list(image.extents_from(image.resolve(b"whole"), 7)) == []
    assert list(image.extents_from(image.resolve(b"d"), 0)) == []


def test_a_deep_path_costs_its_length_once() -> None:
    builder = ImageBuilder(limits=Limits(max_depth=30_000))
    add(builder, b"d/" * 30_000 + b"f")
    image = image_of(builder)
    assert image.inode_count == 30_002
    assert max(len(path) for path, _node in image.walk()) == 60_001


names = st.binary(min_size=1, max_size=8).filter(
    lambda b: b"/" not in b and b not in (b".", b"..") and b"\0" not in b
)
few_names = st.sampled_from([b"a", b"b", b"c", b"=", b"-", b" ", b"\\x41", b"\xff", b"\n"]) | names
member_paths = st.lists(few_names, min_size=1, max_size=4).map(b"/".join)
times = st.none() | st.builds(Time, st.integers(-(1 << 40), 1 << 40), st.integers(0, 999_999_999))
members = st.one_of(
    st.tuples(st.just("file"), member_paths, st.integers(0, 99), st.integers(0, 1 << 40)),
    st.tuples(st.just("pieces"), member_paths, st.integers(1, 99), st.integers(0, 1 << 40)),
    st.tuples(st.just("packed"), member_paths, st.integers(1, 99), st.integers(0, 1 << 40)),
    st.tuples(st.just("dir"), member_paths, st.integers(0, 9), st.just(0)),
    st.tuples(st.just("link"), member_paths, st.just(0), few_names),
    st.tuples(st.just("device"), member_paths, st.integers(0, 255), st.integers(0, 255)),
    st.tuples(st.just("hardlink"), member_paths, st.just(0), member_paths),
)


def fill(builder: ImageBuilder, archive: list[tuple[tuple[str, bytes, int, object], object, object]]) -> None:
    for (kind, path, a, b), atime, attributes in archive:
        owner = builder.owner(a, a, b"u%d" % a if a % 2 else b"", b"-")
        member = -1
        match kind, b:
            case "file", int():
                member = builder.add(path, FILE, owner, a, b, a, b)
            case "pieces", int():
                member = builder.add(path, FILE, owner, a, b, a, builder.extents([Extent(a - 1, 1, b)]))
            case "packed", int():
                member = builder.add(
                    path, FILE, owner, a, b, a, builder.packed(b, a + 1, b & 0xFFFFFFFF, a, a % 3)
                )
            case "dir", _:
                member = builder.add(path, DIRECTORY, owner, 0, a, 0, 0)
            case "link", bytes():
                member = builder.add(path, LINK, owner, len(b), 0, 0, builder.text(b))
            case "device", int():
                member = builder.add(path, stat.S_IFBLK | 0o600, owner, 0, 0, 0, a << 8 | b)
            case "hardlink", bytes():
                builder.hardlink(path, b)
        assert atime is None or isinstance(atime, Time)
        builder.times(member, atime=atime)
        builder.xattrs(member, attributes)  # type: ignore[arg-type]


archives = st.lists(
    st.tuples(members, times, st.lists(st.tuples(names, st.binary(max_size=5)), max_size=2)), max_size=25
)


@given(archives)
def test_a_dump_gives_the_same_image_back(
    archive: list[tuple[tuple[str, bytes, int, object], object, object]],
) -> None:
    builder = ImageBuilder(mtime=(3, 4), uid=1, gid=2)
    fill(builder, archive)
    image = image_of(builder)
    lines = list(dump(image))
    again = image_of(load(lines))
    assert list(dump(again)) == lines
    assert again.buffer == image.buffer


kinds = st.sampled_from([FILE, DIRECTORY, LINK])
# Mostly as archivers write them, so that some batches go as a whole: directories before what lies in them.
row_paths = (
    st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(b"/".join) | member_paths
)
rows = st.lists(
    st.tuples(row_paths, kinds, st.integers(0, 3), st.sampled_from([0, 5, 1 << 62]), st.integers(-2, 2))
)


@given(rows, rows, st.booleans(), st.sampled_from([0, 0, 2, 8]))
@example([], [(b"a/x", FILE, 0, 5, 0), (b"b", FILE, 0, 5, 0), (b"a", DIRECTORY, 0, 0, 0)], False, 0)
@example([], [(b"a", DIRECTORY, 0, 0, 0), (b"b", FILE, 0, 5, 0), (b"a", DIRECTORY, 1, 0, 0)], False, 0)
@example([(b"a/x", FILE, 0, 5, 0)], [(b"b", FILE, 0, 5, 0), (b"a", DIRECTORY, 1, 0, 0)], False, 0)
@example([], [(b"a/b/a", DIRECTORY, 0, 0, 0), (b"a/b/a", FILE, 0, 5, 0)], False, 0)
def test_many_members_told_at_once_are_those_told_one_by_one(
    before: list[tuple[bytes, int, int, int, int]],
    told: list[tuple[bytes, int, int, int, int]],
    in_order: bool,
    few: int,
) -> None:
    by_row, at_once = ImageBuilder(), ImageBuilder()
    if in_order:
        folders = sorted({row[0] for row in told})
        told = [(folder, DIRECTORY, 0, 0, 1) for folder in folders] + [
            (row[0] + b"/d", *row[1:]) for row in told
        ]
    for builder in (by_row, at_once):
        for owner in range(4):
            builder.owner(owner, owner)
        for path, mode, *numbers in before:
            add_row(builder, path, mode, *numbers)
    for path, mode, *numbers in told:
        add_row(by_row, path, mode, *numbers)
    with mock.patch.object(batch, "_FEW", few):
        at_once.add_packed(columns_of([row_of(at_once, *row) for row in told]))
    assert image_of(at_once).buffer == image_of(by_row).buffer
    assert at_once.report.to_json() == by_row.report.to_json()


PackedRow: TypeAlias = tuple[bytes, int, int, int, int, int, int, int, int, int]


def columns_of(rows: list[PackedRow]) -> PackedColumns:
    paths, *columns = zip(*rows, strict=True) if rows else [()] * 10
    modes, owners, sizes, mtimes, *members = map(array, "HIQqQQIHH", columns)
    return PackedColumns([*paths], modes, owners, sizes, mtimes, (*members,))


def row_of(builder: ImageBuilder, path: bytes, mode: int, owner: int, size: int, mtime: int) -> PackedRow:
    if mode == DIRECTORY:
        return path + b"/", mode, owner, 0, mtime, 0, 0, 0, 0, 0
    if mode == LINK:
        return path, mode, owner, owner, mtime, builder.text(b"t" * owner), 0, 0, 0, 0
    return path, mode, owner, size, mtime, size >> 1, owner, 7, owner, 1


def add_row(builder: ImageBuilder, path: bytes, mode: int, owner: int, size: int, mtime: int) -> None:
    path, mode, owner, size, mtime, *member = row_of(builder, path, mode, owner, size, mtime)
    data = builder.packed(*member) if mode == FILE else member[0]
    builder.add(path, mode, owner, size, mtime, 0, data)


@given(archives)
def test_an_image_holds_together(
    archive: list[tuple[tuple[str, bytes, int, object], object, object]],
) -> None:
    builder = ImageBuilder()
    fill(builder, archive)
    image = image_of(builder)
    seen = dict[int, int]()
    subdirectories = dict[int, int]()
    for path, node in image.walk():
        parent, _slash, name = path.rpartition(b"/")
        assert image.resolve(path) == node
        assert image.lookup(image.resolve(parent), name) == node
        seen[node] = seen.get(node, 0) + 1
        if image.is_directory(node):
            assert image.parent[node - 1] == image.resolve(parent) < node
            subdirectories[image.resolve(parent)] = subdirectories.get(image.resolve(parent), 0) + 1
            assert image.resolve(image.path(node)) == node
    assert set(seen) == set(range(2, image.inode_count + 1))
    for node, count in seen.items():
        expected = 2 + subdirectories.get(node, 0) if image.is_directory(node) else count
        assert image.nlink[node - 1] == expected
    for node in range(1, image.inode_count + 1):
        rows = image.dirents(node)
        assert [image.name(row) for row in image.order[rows.start : rows.stop]] == sorted(
            map(image.name, rows)
        )
        for row in image.order[rows.start : rows.stop]:  # in their order, and what is between them
            assert image.lookup(node, image.name(row)) == image.child[row]
            assert image.lookup(node, image.name(row) + b"\0") == 0
        assert image.lookup(node, b"no such name") == 0


@given(archives, st.data())
def test_a_damaged_image_is_refused_or_read_without_leaving_it(
    archive: list[tuple[tuple[str, bytes, int, object], object, object]], data: st.DataObject
) -> None:
    builder = ImageBuilder()
    fill(builder, archive)
    raw = bytearray(image_of(builder).buffer)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        for _line in dump(Image(bytes(raw))):
            pass
    except (IndexDamagedError, IndexError, KeyError, RecursionError):
        pass


@pytest.mark.parametrize("size", [0, 10, 87, 88, 100])
def test_a_cut_image_is_refused(size: int) -> None:
    builder = ImageBuilder()
    add(builder, b"a")
    with pytest.raises(IndexDamagedError):
        Image(bytes(image_of(builder).buffer)[:size])


@pytest.mark.parametrize(
    "line",
    [
        *("x", "/a", "a 100644 0 0 - - 0 0.000000000 -", "/a 100644 0 0 - - 0 0.5 -", "/.. =/a"),
        "/beyond 100644 0 0 - - 9 0.000000000 0+4@0/0,5+5@4/0",
        "/over-another 100644 0 0 - - 9 0.000000000 0+4@0/0,3+5@4/0",
        "/elsewhere 100644 0 0 - - 9 0.000000000 0+4@0/1",
    ],
)
def test_bad_dump_lines_are_named(line: str) -> None:
    with pytest.raises(DamagedError, match="line 2"):
        load(["# rofuse-dump 1\n", line + "\n"])
