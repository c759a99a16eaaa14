"""Copies what an archive holds to a directory: ``Archive.extract``.

Strategy
The image is a tree already, with one inode for each name, so there is no order of members to be misled by: directories
are made from the root down, what lies in them is made in them, and the image's names have no slashes and no ``..``.
What is at the destination is not believed at all. Every object is made by its last name in a directory that is held
open (``places``), and nothing is ever written to what was there before, so a symbolic link never leads anywhere,
whoever made it, and when.

Rules
- Nothing is made, changed or removed outside of the destination, whatever the archive holds and whoever works there at
  the same time.
- What is there already stays, but for what ``overwrite`` lets replace: then it is removed first, never written into.
  Directories are joined; one that has entries is not replaced.
- A file that cannot be read to its end is not left behind.
- What goes wrong with one entry is told, and the next one has its turn; a full disk ends it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError
from rofuse_formats.extraction.attributes import Attributes
from rofuse_formats.extraction.places import Directory, Places, checked
from rofuse_formats.image import layout
from rofuse_formats.names import Path, locate, raw, text

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive
    from rofuse_formats.indexing import Progress

_STEP = 1 << 20
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system answers that has no hard links, or no more."""

Wanted: TypeAlias = "dict[bytes, Wanted | None]"
"""What is to be extracted of a directory: by name, what of it; None is all."""


class Options:
    """``overwrite``: whether what is there is replaced. ``owners``: whether things get the owner that they have in the
    archive, and with him setuid, setgid and all extended attributes; None: as root. ``permissions``: whether their mode
    is the archive's, and not less what the umask takes away; None: as root.

    ``tell``: told of each entry its path, and the error where it could not be extracted. ``warn``: told, in a line, of
    what is lost of many. ``progress``: told how many bytes of how many are written.
    """

    __slots__ = ("overwrite", "owners", "permissions", "progress", "tell", "warn")

    def __init__(
        self,
        *,
        overwrite: bool = False,
        owners: bool | None = None,
        permissions: bool | None = None,
        tell: Callable[[str, Exception | None], None] = lambda path, error: None,
        warn: Callable[[str], None] = lambda line: None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        as_root = os.geteuid() == 0
        self.overwrite = overwrite
        self.owners = as_root if owners is None else owners
        self.permissions = as_root if permissions is None else permissions
        self.tell, self.warn, self.progress = tell, warn, progress


class Extracted(NamedTuple):
    """What became of it."""

    entries: int
    """Names that were extracted."""
    failed: int
    """Names that were not, or not with all their attributes."""
    size: int
    """Bytes of file data that were written; holes are none."""


def extract(
    archive: Archive, dest: str | os.PathLike[str], paths: Iterable[Path], options: Options | None
) -> Extracted:
    """See ``Archive.extract``."""
    wanted = select(archive, paths)
    return _Extraction(archive, options or Options()).run(dest, wanted)


def select(archive: Archive, paths: Iterable[Path]) -> Wanted | None:
    """What these paths name, without those that lie in others; links on the way are followed. None: everything.
    Raises FileNotFoundError, NotADirectoryError."""
    chosen: Wanted | None = {}
    for path in paths:
        found, _node = locate(archive, raw(path), follow=False)
        if not found:
            chosen = None
        here = chosen
        *above, last = found.split(b"/")
        for name in above:
            here = here.setdefault(name, {}) if here is not None else None
        if here is not None:
            here[last] = None
    return chosen or None


class _Extraction:
    def __init__(self, archive: Archive, options: Options) -> None:
        self.archive, self.image, self.options = archive, archive.image, options
        self.attributes = Attributes(archive.image, options.owners, options.permissions, options.warn)
        self.entries = self.failed = self.size = 0
        self._done = self._total = 0
        self._first: dict[int, tuple[Directory, bytes, tuple[int, int]]] = {}  # of hard links, by inode
        self._closed: list[tuple[Directory, int]] = []  # directories that keep their owner out

    def run(self, dest: str | os.PathLike[str], wanted: Wanted | None) -> Extracted:
        with Places(dest) as places:
            self.places = places
            try:
                self._total = self._bytes_of(wanted)
                self._descend(places.root, wanted)
            except IndexError as error:
                raise IndexDamagedError("the index contradicts itself") from error
            for directory, node in self._closed:
                self._attempt(directory.path, partial(self._finish, directory, node))
        return Extracted(self.entries, self.failed, self.size)

    # -- the tree --------------------------------------------------------------------------------------------

    def _descend(self, root: Directory, wanted: Wanted | None) -> None:
        stack = [(root, layout.ROOT, self._rows(layout.ROOT, wanted))]
        while stack:
            directory, node, rows = stack[-1]
            for name, child, below in rows:
                if not self.image.is_directory(child):
                    self._leaf(directory, name, child)
                    continue
                if child <= node:  # numbered after its parent, always: so this ends
                    raise IndexDamagedError(f"directory {child} lies within itself")
                entered = self._enter(directory, name)
                if entered is not None:
                    stack.append((entered, child, self._rows(child, below)))
                    break
            else:
                stack.pop()
                self._leave(directory, node)

    def _rows(self, node: int, wanted: Wanted | None) -> Iterator[tuple[bytes, int, Wanted | None]]:
        image = self.image
        if wanted is None:
            for row in image.dirents(node):
                yield image.name(row), image.child[row], None
        else:
            for name, below in wanted.items():
                yield name, image.lookup(node, name), below

    def _bytes_of(self, wanted: Wanted | None) -> int:
        image = self.image
        if wanted is None:
            both = zip(image.size, image.mode, strict=True)
            return sum(size for size, mode in both if stat.S_ISREG(mode))
        total, ahead = 0, [(layout.ROOT, wanted)]
        while ahead:
            node, names = ahead.pop()
            for name, below in names.items():
                child = image.lookup(node, name)
                if below is not None:
                    ahead.append((child, below))
                    continue
                nodes = {child, *(inner for _path, inner in image.walk(child))}
                total += sum(image.size[n - 1] for n in nodes if stat.S_ISREG(image.mode[n - 1]))
        return total

    def _attempt(self, path: bytes, action: Callable[[], None]) -> bool:
        """Whether it succeeded; else it is told. What points astray in an index is an IndexError, or one of its kin."""
        failure: Exception
        try:
            action()
            return True
        except (IndexError, ValueError, OverflowError) as error:
            failure = IndexDamagedError(f"the index contradicts itself: {error}")
        except (FormatError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _HOPELESS:
                raise
            failure = error
        self.failed += 1
        self.options.tell(text(path), failure)
        return False

    # -- directories -----------------------------------------------------------------------------------------

    def _enter(self, parent: Directory, name: bytes) -> Directory | None:
        found: list[Directory] = []

        def make() -> None:
            try:
                found.append(self.places.enter(parent, checked(name)))
            except FileExistsError as error:
                self._make_room(parent, name, error)
                found.append(self.places.enter(parent, name))

        self._attempt(parent.below(name), make)
        return found[0] if found else None

    def _leave(self, directory: Directory, node: int) -> None:
        if directory.parent is not None:
            self.entries += 1
        if directory.is_new or (self.options.overwrite and directory.parent is not None):
            if self.attributes.closes(node):
                self._closed.append((directory, node))  # later: links may be made to what is in it
            elif not self._attempt(directory.path, partial(self._finish, directory, node)):
                self.places.leave(directory)
                return
        self.places.leave(directory)
        if directory.parent is not None:
            self.options.tell(text(directory.path), None)

    def _finish(self, directory: Directory, node: int) -> None:
        self.attributes.give(self.places.fd(directory), node)

    def _make_room(self, directory: Directory, name: bytes, error: FileExistsError) -> None:
        """Removes what is in the way, or raises."""
        if not self.options.overwrite:
            raise FileExistsError(errno.EEXIST, "exists already; --overwrite replaces it") from error
        self.places.remove(directory, name)

    # -- everything else -------------------------------------------------------------------------------------

    def _leaf(self, directory: Directory, name: bytes, node: int) -> None:
        def make() -> None:
            try:
                self._make(directory, checked(name), node)
            except FileExistsError as error:
                self._make_room(directory, name, error)
                self._make(directory, name, node)

        path = directory.below(name)
        if self._attempt(path, make):
            self.entries += 1
            self.options.tell(text(path), None)

    def _make(self, directory: Directory, name: bytes, node: int) -> None:
        first = self._first.get(node)
        if first is not None and self._link(directory, name, first):
            return
        mode, fd = self.image.mode[node - 1], self.places.fd(directory)
        if stat.S_ISREG(mode):
            file = self._file(fd, name, node)
            try:
                self._made(directory, name, node)
                self.attributes.give(file, node)
            finally:
                os.close(file)
            return
        if stat.S_ISLNK(mode):
            os.symlink(self.archive.target(node), name, dir_fd=fd)
        else:
            self._special(fd, name, mode, self.image.data[node - 1] & 0xFFFFFFFF)
        self._made(directory, name, node)
        self.attributes.give_named(fd, name, node)

    def _made(self, directory: Directory, name: bytes, node: int) -> None:
        """Further names of it will be links to this one."""
        if self.image.nlink[node - 1] > 1 and node not in self._first:
            identity = self.places.identity(self.places.fd(directory), name)
            self._first[node] = directory, name, identity

    def _link(
        self, directory: Directory, name: bytes, first: tuple[Directory, bytes, tuple[int, int]]
    ) -> bool:
        """A further name for what was made under its first; False where the file system has no such thing."""
        other, other_name, identity = first
        # The first descriptor may be closed to make room for the second.
        with self.places.kept(other) as source:
            fd = self.places.fd(directory)
            try:
                os.link(other_name, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                raise
            except OSError as error:
                if error.errno in _NO_LINKS:
                    return False
                raise
            if self.places.identity(fd, name) != identity:
                os.unlink(name, dir_fd=fd)
                raise OSError(errno.ESTALE, "the file that it is a link to was replaced meanwhile")
        return True

    @staticmethod
    def _special(fd: int, name: bytes, mode: int, device: int) -> None:
        kind = stat.S_IFMT(mode)
        if kind not in (stat.S_IFCHR, stat.S_IFBLK):
            device = 0
        elif os.geteuid():
            raise PermissionError(errno.EPERM, "only root can make devices")
        os.mknod(name, kind | 0o600, device, dir_fd=fd)

    def _file(self, directory: int, name: bytes, node: int) -> int:
        """Makes a file with all its bytes; returns its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            self._write(fd, node)
        except BaseException:
            os.close(fd)
            os.unlink(name, dir_fd=directory)  # a part of it is worse than nothing
            raise
        return fd

    def _write(self, fd: int, node: int) -> None:
        size, before = self.image.size[node - 1], self._done
        self._done += size
        for start, end in self._runs(node, size):
            while start < end:
                start += self._written(fd, self.archive.read(node, start, min(_STEP, end - start)), start)
                self.options.progress(before + start, self._total)
        os.ftruncate(fd, size)

    def _runs(self, node: int, size: int) -> Iterable[tuple[int, int]]:
        if self.image.data[node - 1] >> layout.DATA_SHIFT != layout.DATA_PIECES:
            return [(0, size)]
        extents = self.image.extents(node)
        return [(extent.logical, min(extent.logical + extent.length, size)) for extent in extents]

    def _written(self, fd: int, pieces: list[memoryview], offset: int) -> int:
        if not pieces:
            raise IndexDamagedError("a file of the index ends before its size")
        try:
            count = os.pwritev(fd, pieces, offset)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            raise DamagedError("the archive has become shorter since it was opened") from error
        self.size += count
        return count
