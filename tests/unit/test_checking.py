"""Images that came with an archive: each thing that what reads them relies on is looked at."""

from __future__ import annotations

import stat
from collections.abc import Callable
from struct import pack_into

import pytest

from rofuse_formats.entry import Extent
from rofuse_formats.errors import IndexDamagedError, LimitError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.checking import check
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import Limits

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
STREAM = 100


def image(*, linked: bool = True) -> bytearray:
    """Nodes: 1 the root, 2 ``a``, 3 ``b`` (a link), 4 ``dir``, 5 ``dir/c``, 6 ``dir/sub``, 7 ``dir/sub/deep``."""
    builder = ImageBuilder()
    owner = builder.owner(1, 2, b"ann", b"users")
    member = builder.add(b"a", FILE, owner, 60, 1, 2, 40)
    builder.xattrs(member, [(b"user.x", b"y")])
    builder.add(b"b", LINK, owner, 1, 1, 2, builder.text(b"a"))
    builder.add(b"dir", DIRECTORY, owner, 0, 1, 2, 0)
    builder.add(b"dir/c", FILE, owner, 50, 1, 2, builder.extents([Extent(0, 10, 5), Extent(20, 30, 70)]))
    builder.add(b"dir/sub", DIRECTORY, owner, 0, 1, 2, 0)
    builder.add(b"dir/sub/deep", FILE, owner, 0, 1, 2, 0)
    if linked:
        builder.hardlink(b"dir/sub/again", b"a")
    return bytearray(b"".join(bytes(piece) for piece in builder.finish()))


def named_often(count: int) -> bytearray:
    """A file, and so many more names of it."""
    builder = ImageBuilder()
    builder.add(b"a", FILE, builder.implied_owner, 0, 0, 0, 0)
    for number in range(count):
        builder.hardlink(b"%d" % number, b"a")
    return bytearray(b"".join(bytes(piece) for piece in builder.finish()))


def put(data: bytearray, name: str, row: int, value: int) -> None:
    columns, _heaps, _counts = layout.places(bytes(data), len(data))
    for (column, code, _table, _extra), (at, _size) in zip(layout.COLUMNS, columns, strict=True):
        if column == name:
            pack_into(f"<{code}", data, at + row * layout.WIDTH[code], value)


def put_name(data: bytearray, old: bytes, new: bytes) -> None:
    _columns, heaps, _counts = layout.places(bytes(data), len(data))
    at = data.index(old, heaps[0][0])
    data[at : at + len(old)] = new


def checked(data: bytearray, limits: Limits | None = None) -> None:
    check(Image(bytes(data)), STREAM, limits or Limits())


@pytest.mark.parametrize("linked", [False, True])
def test_what_a_builder_makes_is_good(linked: bool) -> None:
    checked(image(linked=linked))


def test_the_root_alone_is_good() -> None:
    checked(bytearray(b"".join(bytes(piece) for piece in ImageBuilder().finish())))


def test_the_user_s_limit() -> None:
    with pytest.raises(LimitError, match="--max-entries"):
        checked(image(), Limits(max_entries=3))
    with pytest.raises(LimitError, match="--max-entries"):
        checked(named_often(8), Limits(max_entries=8))
    checked(named_often(8), Limits(max_entries=9))
    with pytest.raises(LimitError, match="--max-depth"):
        checked(image(), Limits(max_depth=1))
    with pytest.raises(LimitError, match="--max-path"):
        checked(image(), Limits(max_path=6))
    checked(image(), Limits(max_depth=2, max_path=7))


BAD: dict[str, Callable[[bytearray], None]] = {
    "a slash in a name": lambda data: put_name(data, b"dir", b"d/r"),
    "a zero byte in a name": lambda data: put_name(data, b"dir", b"d\0r"),
    "a name of one dot": lambda data: put_name(data, b"ab", b".b"),
    "an empty name": lambda data: put(data, "name_at", 1, 0),
    "names beyond their end": lambda data: put(data, "name_at", 6, 1 << 20),
    "names in disorder": lambda data: put(data, "name_at", 1, 3),
    "no type": lambda data: put(data, "mode", 1, 0o644),
    "a directory that is none": lambda data: put(data, "mode", 1, DIRECTORY),
    "a directory within itself": lambda data: put(data, "child", 3, 4),
    "a directory named twice": lambda data: put(data, "child", 6, 4),
    "a name that leads nowhere": lambda data: put(data, "child", 0, 99),
    "a name of the root": lambda data: put(data, "child", 0, 1),
    "entries of another directory": lambda data: put(data, "data", 3, 1),
    "more entries than there are": lambda data: put(data, "size", 0, 9),
    "a wrong parent": lambda data: put(data, "parent", 4, 1),
    "a root with a parent": lambda data: put(data, "parent", 0, 4),
    "an order beyond the entries": lambda data: put(data, "order", 0, 50),
    "an order of another directory": lambda data: put(data, "order", 0, 4),
    "a name twice in an order": lambda data: put(data, "order", 0, 1),
    "two names that are one": lambda data: put_name(data, b"b", b"a"),
    "an owner that is not there": lambda data: put(data, "owner", 1, 9),
    "an owner without a name": lambda data: put(data, "uname", 0, 99),
    "a file beyond the stream": lambda data: put(data, "data", 1, 41),
    "a size beyond all": lambda data: put(data, "size", 1, 1 << 62),
    "a file compressed by itself": lambda data: put(data, "data", 1, layout.DATA_MEMBER << 62),
    "an empty file that lies somewhere": lambda data: put(data, "data", 6, layout.DATA_MASK + 1),
    "extents that are not there": lambda data: put(data, "data", 4, layout.DATA_PIECES << 62 | 7),
    "an extent beyond the stream": lambda data: put(data, "offset", 1, 71),
    "an extent beyond the file": lambda data: put(data, "logical", 1, 21),
    "extents over each other": lambda data: put(data, "logical", 1, 9),
    "an empty extent": lambda data: put(data, "length", 0, 0),
    "an extent of another stream": lambda data: put(data, "stream", 0, 1),
    "a link to a string that is not there": lambda data: put(data, "data", 2, 99),
    "a link of another length": lambda data: put(data, "size", 2, 2),
    "a time that is none": lambda data: put(data, "mtime_ns", 1, 1_000_000_000),
    "a time beyond all time": lambda data: put(data, "mtime", 1, 1 << 62),
    "attributes of nobody": lambda data: put(data, "xattr_node", 0, 8),
    "attributes without a name": lambda data: put(data, "xattr_name", 0, 99),
}


OF_LINKS = {"a directory named twice", "names beyond their end"}  # of the entry that is a hard link
CASES = [(what, linked) for what in BAD for linked in (False, True) if linked or what not in OF_LINKS]


@pytest.mark.parametrize(("what", "linked"), CASES)
def test_what_is_refused(what: str, linked: bool) -> None:
    data = image(linked=linked)
    BAD[what](data)
    with pytest.raises((IndexDamagedError, IndexError)):
        checked(data)
