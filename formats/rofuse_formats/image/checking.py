"""Whether bytes that came with an archive are the image of a tree: for images that were not made here.

Strategy
What reads an image trusts it no further than its header, but relies on some things: names that are names, directories
that are a tree, numbers that lead somewhere. Here they are all looked at, column by column, by what runs in C: a
hundred thousand inodes take some hundredths of a second. Where inodes have one name each, which is nearly always, their
numbers follow from the layout, and are compared as bytes.

Rules
- Raises IndexDamagedError, IndexError, or LimitError where the image is sound and larger than what the user allows.
- No object is made of what is more than the entries that may be: a stranger's extents and texts may be as many as fit.
"""

from __future__ import annotations

import stat
from array import array
from itertools import chain, compress, repeat
from operator import eq, le, lt, ne, or_, sub

from rofuse_formats.errors import IndexDamagedError, LimitError
from rofuse_formats.image import layout
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import MOST_XATTR_NAMES, NAME_MAX, TARGET_MAX, Limits

_TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}
_NS = 1_000_000_000
_ANYWHERE = 1 << 64  # bytes of a stream whose size is not known here
_AT_ONCE = 1 << 16
_TIME = 1 << 61  # seconds are kept within this, before and after 1970


def check(image: Image, stream_size: int, limits: Limits) -> None:
    """``stream_size``: bytes of the stream that its files lie in, all of them uncompressed by themselves."""
    _demand(not image.has_members, "it has members that are compressed by themselves")
    _check_tables(image, limits)
    _check_data(image, stream_size)


def check_form(image: Image, limits: Limits) -> None:
    """All but whether there is something where files lie: of an image whose streams see to that when they are read."""
    _check_tables(image, limits)
    _check_words(image)


def _check_tables(image: Image, limits: Limits) -> None:
    if max(image.inode_count, image.dirent_count, len(image.uid)) > limits.max_entries:
        raise LimitError(f"more than {limits.max_entries} entries (raise it with --max-entries)")
    _demand({stat.S_IFMT(mode) for mode in set(image.mode)} <= _TYPES, "it has inodes of no type")
    _check_names(image)
    _check_tree(image, limits)
    _check_numbers(image)


def _demand(condition: bool, otherwise: str) -> None:
    if not condition:
        raise IndexDamagedError(otherwise)


def _check_bounds(bounds: memoryview, end: int, what: str) -> None:
    """Of items that lie one behind the other up to ``end``."""
    ascend = all(map(le, bounds, bounds[1:]))
    _demand(bounds[0] == 0 and bounds[-1] == end and ascend, f"its {what} are none")


def _check_names(image: Image) -> None:
    _check_bounds(image.name_at, len(image.names), "names")
    lengths = array("I", map(sub, image.name_at[1:], image.name_at))
    if not lengths:
        return
    heap = bytes(image.names)
    _demand(min(lengths) > 0 and max(lengths) <= NAME_MAX, "it has names that are too long, or empty")
    _demand(b"/" not in heap and b"\0" not in heap, "it has names with a slash or a zero byte")
    if b"." in heap:
        short = compress(range(len(lengths)), map(lt, lengths, repeat(3)))
        _demand(
            all(image.name(row) not in (b".", b"..") for row in short), "it has names that lead elsewhere"
        )


def _check_tree(image: Image, limits: Limits) -> None:
    """Every inode but the root has a name, the first names are in the order of the inodes, and directories, each
    with one name, have their entries one behind the other, behind their own: so all is below the root."""
    kinds = {mode: stat.S_ISDIR(mode) for mode in set(image.mode)}
    directories = list(compress(range(image.inode_count), map(kinds.__getitem__, image.mode)))
    ends = 0
    for row in directories:
        _demand(image.data[row] == ends, "its directories do not follow each other")
        ends += image.size[row]
    _demand(ends == image.dirent_count, "its directories are not all that there is")
    named_by = _first_names(image, kinds)
    of_dirents = array("I", chain.from_iterable(repeat(row + 1, image.size[row]) for row in directories))
    parents = of_dirents
    if named_by is not None:
        parents = array("I", map(of_dirents.__getitem__, named_by))
    _demand(image.parent[0] == layout.ROOT, "its root lies in another directory")
    _demand(
        image.parent[1:].tobytes() == parents.tobytes(), "its inodes lie in other directories than they say"
    )
    own = {row: row - 1 if named_by is None else named_by[row - 1] for row in directories[1:]}
    for row, dirent in own.items():
        _demand(not image.size[row] or image.data[row] > dirent, "a directory lies within itself")
    _check_order(image, of_dirents)
    _check_depth(image, own, limits)


def _check_order(image: Image, directories: array[int]) -> None:
    """That names are found by their order, and none is there twice. ``directories``: where each dirent lies."""
    disorder = "its names are in no order"
    if not image.dirent_count:
        return
    _demand(max(image.order) < image.dirent_count, disorder)
    _demand(array("I", map(directories.__getitem__, image.order)) == directories, disorder)
    names = list(map(bytes(image.names).__getitem__, map(slice, image.name_at, image.name_at[1:])))
    ordered = list(map(names.__getitem__, image.order))
    fits = map(or_, map(lt, ordered, ordered[1:]), map(ne, directories, directories[1:]))
    _demand(all(fits), disorder)


def _check_depth(image: Image, own: dict[int, int], limits: Limits) -> None:
    """How deep directories lie, and how long their paths are: who goes through them all keeps those. ``own``: the
    dirent of each directory but the root, by row, those that it lies in before it."""
    places = {0: (0, 0)}
    for row, dirent in own.items():
        depth, length = places[image.parent[row] - 1]
        length += image.name_at[dirent + 1] - image.name_at[dirent] + 1
        places[row] = depth + 1, length
        if depth >= limits.max_depth:
            raise LimitError(
                f"more than {limits.max_depth} directories in one another (raise it with --max-depth)"
            )
        if length > limits.max_path + 1:
            raise LimitError(f"a path of more than {limits.max_path} bytes (raise it with --max-path)")


def _first_names(image: Image, is_directory: dict[int, bool]) -> array[int] | None:
    """The dirent that names each inode but the root first; None where that is the order of both."""
    count = image.inode_count
    if image.dirent_count == count - 1 and image.child.tobytes() == array("I", range(2, count + 1)).tobytes():
        return None
    found = array("I")
    following, mode = layout.ROOT + 1, image.mode
    for row, node in enumerate(image.child):
        if node == following:
            found.append(row)
            following += 1
        else:
            known = layout.ROOT < node < following and not is_directory[mode[node - 1]]
            _demand(known, "it has names that lead nowhere, or twice to a directory")
    _demand(following == count + 1, "it has inodes without a name")
    return found


def _check_numbers(image: Image) -> None:
    strings = len(image.string_at) - 1
    _check_bounds(image.string_at, len(image.texts), "texts")
    _demand(max(image.owner) < len(image.uid), "it has inodes of no owner")
    for column in image.owner_name_rows:
        _demand(max(column, default=-1) < strings, "it has owners without a name")
    _demand(max(image.size) >> layout.DATA_SHIFT == 0, "it has sizes beyond what a file can have")
    _check_times(image.mtime, image.mtime_ns)
    for seconds, nanoseconds in image.time_columns:
        _check_times(seconds, nanoseconds)
    _check_ascending(image.time_node, image.inode_count, strict=True)
    nodes, *rows = image.xattr_rows
    _check_ascending(nodes, image.inode_count, strict=False)
    for column in rows:
        _demand(max(column, default=-1) < strings, "it has attributes without a name")
    _demand(len(_few_of(rows[0])) <= MOST_XATTR_NAMES, "it has attributes of too many names")
    names = image.xattr_names()
    _demand(
        all(0 < len(name) <= NAME_MAX and b"\0" not in name for name in names),
        "it has attributes without a name",
    )


def _few_of(numbers: memoryview) -> set[int]:
    """Those that occur; where they are more than names there may be, not all of them."""
    found: set[int] = set()
    for at in range(0, len(numbers), _AT_ONCE):
        found.update(numbers[at : at + _AT_ONCE])
        if len(found) > MOST_XATTR_NAMES:
            break
    return found


def _check_times(seconds: memoryview, nanoseconds: memoryview) -> None:
    if len(seconds):
        _demand(min(seconds) >= -_TIME and max(seconds) < _TIME, "it has times beyond all time")
        _demand(max(nanoseconds) < _NS, "it has times that are none")


def _check_ascending(nodes: memoryview, most: int, *, strict: bool) -> None:
    if len(nodes):
        in_order = all(map(lt if strict else le, nodes, nodes[1:]))
        _demand(
            in_order and nodes[0] > 0 and nodes[-1] <= most, "it says things of inodes that are not there"
        )


def _check_data(image: Image, stream_size: int) -> None:
    """Where files' bytes lie, and what symbolic links lead to."""
    _check_bounds(image.pieces_at, image.extent_count, "files in pieces")
    kinds = {mode: stat.S_IFMT(mode) for mode in set(image.mode)}
    of_row = [kinds[mode] for mode in image.mode]
    for row, (kind, size, word) in enumerate(zip(of_row, image.size, image.data, strict=True)):
        if kind == stat.S_IFREG:
            if not size:
                _demand(not word, "it has empty files that lie somewhere")
            elif word + size > stream_size:
                _check_pieces(image, row + 1, size, stream_size)
        elif kind == stat.S_IFLNK:
            target = image.string(word)
            good = len(target) == size and 0 < size <= TARGET_MAX and b"\0" not in target
            _demand(good, "it has symbolic links that lead nowhere")


def _check_pieces(image: Image, node: int, size: int, stream_size: int) -> None:
    _demand(image.data[node - 1] >> layout.DATA_SHIFT == layout.DATA_PIECES, "it has files that lie nowhere")
    position = 0
    for extent in image.each_extent(node):
        good = (
            extent.logical >= position
            and 0 < extent.length <= size - extent.logical
            and extent.offset + extent.length <= stream_size
            and not extent.stream
        )
        _demand(good, "it has files that lie nowhere")
        position = extent.logical + extent.length


def _check_words(image: Image) -> None:
    """That what is said of files' data and links' targets is in the image."""
    _check_bounds(image.pieces_at, image.extent_count, "files in pieces")
    kinds = {mode: stat.S_IFMT(mode) for mode in set(image.mode)}
    of_row = [kinds[mode] for mode in image.mode]
    least = layout.DATA_MEMBER << layout.DATA_SHIFT
    beyond = least + image.member_count
    is_told = (word >> layout.DATA_SHIFT for word in image.data)
    for row in compress(range(image.inode_count), is_told):
        if of_row[row] == stat.S_IFREG and not least <= image.data[row] < beyond:
            _check_pieces(image, row + 1, image.size[row], _ANYWHERE)
    for row in compress(range(image.inode_count), map(eq, of_row, repeat(stat.S_IFLNK))):
        size, word = image.size[row], image.data[row]
        good = 0 < size <= TARGET_MAX
        if good and not least <= word < beyond:
            target = image.string(word)
            good = len(target) == size and b"\0" not in target
        _demand(good, "it has symbolic links that lead nowhere")
