"""The tree of a pack: that of its source, in an order of its own.

Rules
- The entries of a directory are in the order of their names, whatever order the source has them in.
- Of a directory on disk no time but the modification's is kept: the others tell where the tree lies and who looked at
  it, not what it is, and no other copy of it has the same.
- What is excluded takes with it what lies below. A file that has other names keeps those.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rofuse_formats.entry import Extent, Time
from rofuse_formats.errors import DamagedError
from rofuse_formats.globs import Globs
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.limits import Limits

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive

_DIRECTORY = "directory"  # the name of the format of a directory on disk


class TreeCopy:
    """``files`` goes through the tree; of each file ``tell`` is then told where its bytes are."""

    def __init__(self, archive: Archive, exclude: tuple[bytes, ...], latest: int | None) -> None:
        self._archive = archive
        self._image = image = archive.image
        self._excluded = Globs(exclude) if exclude else None
        self._latest = latest
        self._has_times = len(image.time_node) > 0 and archive.format != _DIRECTORY
        self._has_xattrs = image.has_xattrs
        limits = Limits(
            max_entries=max(image.dirent_count, image.inode_count) + 1,
            max_path=1 << 62,
            max_depth=1 << 62,
            max_xattrs=1 << 62,
        )
        self._builder = ImageBuilder(limits=limits)
        self._owners: dict[int, int] = {}
        self._first_paths: dict[int, bytes] = {}

    def files(self) -> Iterator[tuple[int, int, int]]:
        """Adds everything; gives the inode of each regular file that has bytes, its record, and its size, in the order
        in which they are to be stored. May be iterated by one thread while another one calls ``tell``."""
        self._add(b"/", layout.ROOT)
        waiting = [(layout.ROOT, b"")]
        while waiting:
            directory, prefix = waiting.pop()
            below = []
            for name, node in self._entries(directory):
                path = prefix + name
                mode = self._image.mode[node - 1]
                is_directory = stat.S_ISDIR(mode)
                if self._excluded is not None and self._excluded.match(path, is_directory):
                    continue
                if is_directory:
                    below.append((node, path + b"/"))
                elif self._image.nlink[node - 1] > 1:
                    if node in self._first_paths:
                        self._builder.hardlink(path, self._first_paths[node])
                        continue
                    self._first_paths[node] = path
                record = self._add(path, node)
                size = self._image.size[node - 1]
                if size and stat.S_ISREG(mode):
                    yield node, record, size
            waiting += reversed(below)

    def tell(self, record: int, size: int, runs: list[Extent]) -> None:
        """``runs``: where the bytes of a file are, as ``files`` gave its record; what is in none is a hole."""
        whole = len(runs) == 1 and runs[0].length == size
        self._builder.data[record] = runs[0].offset if whole else self._builder.extents(runs)

    def image(self) -> bytes:
        """When all is told. Raises DamagedError where the source's image has what no image may have."""
        skipped = self._builder.report.skipped
        if skipped:
            path, reason = skipped[0]
            raise DamagedError(f"{path.decode('utf-8', 'backslashreplace')} cannot be packed: {reason}")
        return b"".join(bytes(piece) for piece in self._builder.finish())

    def _entries(self, directory: int) -> list[tuple[bytes, int]]:
        image, rows = self._image, self._image.dirents(directory)
        by_name = image.order[rows.start : rows.stop]
        return [(image.name(row), image.child[row]) for row in by_name]

    def _add(self, path: bytes, node: int) -> int:
        image, row = self._image, node - 1
        mode, size, word = image.mode[row], image.size[row], image.data[row]
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            word = self._builder.text(self._archive.target(node))
        elif kind not in (stat.S_IFCHR, stat.S_IFBLK):
            word = 0
        mtime, mtime_ns = image.mtime[row], image.mtime_ns[row]
        if self._latest is not None and mtime >= self._latest:
            mtime, mtime_ns = self._latest, 0
        number = image.owner[row]
        owner = self._owners.get(number)
        if owner is None:
            owner = self._owner(number)
        record = self._builder.add(path, mode, owner, size, mtime, mtime_ns, word)
        if self._has_times:
            times = (time and self._clamped(time) for time in image.times(node))
            self._builder.times(record, *times)
        if self._has_xattrs and (attributes := image.xattrs(node)):
            self._builder.xattrs(record, attributes)
        return record

    def _clamped(self, time: Time) -> Time:
        late = self._latest is not None and time.seconds >= self._latest
        return Time(self._latest) if late and self._latest is not None else time

    def _owner(self, row: int) -> int:
        image = self._image
        names = image.owner_names(row)
        known = self._owners[row] = self._builder.owner(image.uid[row], image.gid[row], *names)
        return known
