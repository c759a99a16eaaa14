"""The tree of a pack: that of its source, in an order of its own.

Rules
- The entries of a directory are in the order of their names, whatever order the source has them in.
- Of a directory on disk the time of the last change of an inode is left out: it tells where the tree lies, not what it
  is, and no other copy of it has the same.
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
        self._has_times, self._has_xattrs = len(image.time_node) > 0, image.has_xattrs
        self._drop_change_time = archive.format == _DIRECTORY
        limits = Limits(
            max_entries=max(image.dirent_count, image.inode_count) + 1, max_path=1 << 62, max_xattrs=1 << 62
        )
        self._builder = ImageBuilder(limits=limits)
        self._owners: dict[int, int] = {}
        self._first_paths: dict[int, bytes] = {}

    def files(self) -> Iterator[tuple[int, int]]:
        """Adds everything; gives the inode of each regular file that has bytes, and its record, in the order in which
        they are to be stored."""
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
                if stat.S_ISREG(mode) and self._image.size[node - 1]:
                    yield node, record
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
        mtime, mtime_ns = self._clamped(Time(image.mtime[row], image.mtime_ns[row]))
        record = self._builder.add(path, mode, self._owner(image.owner[row]), size, mtime, mtime_ns, word)
        if self._has_times:
            atime, ctime, btime = image.times(node)
            ctime = None if self._drop_change_time else ctime
            times = (time and self._clamped(time) for time in (atime, ctime, btime))
            self._builder.times(record, *times)
        if self._has_xattrs and (attributes := image.xattrs(node)):
            self._builder.xattrs(record, attributes)
        return record

    def _clamped(self, time: Time) -> Time:
        late = self._latest is not None and time.seconds >= self._latest
        return Time(self._latest) if late and self._latest is not None else time

    def _owner(self, row: int) -> int:
        known = self._owners.get(row)
        if known is None:
            image = self._image
            known = self._builder.owner(image.uid[row], image.gid[row], *image.owner_names(row))
            self._owners[row] = known
        return known
