"""What has changed in a directory since it was saved.

Strategy
The directory is scanned once more, as it was scanned then, and the two images are walked side by side: the entries of
each directory by name. What is in one alone was added or removed, with all below it; what is in both is compared as the
mount compares it, and by what else is shown of it.

Rules
- A directory has changed where its own attributes have: that something was added to it is said of that.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import chain

from rofuse_formats.archive import Archive
from rofuse_formats.directory.files import DirectoryFiles
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.reader import Image
from rofuse_formats.verify import Finding

ADDED, REMOVED = "was added", "was removed"


def compare(saved: Archive, now: Archive) -> Iterator[Finding]:
    """Each name of the saved snapshot, and each that was added, directories before their entries. ``size`` is 0 but for
    files that are the same."""
    if saved.files is None or now.files is None:
        raise IndexDamagedError("an index that is not a directory's cannot be compared")
    before, after = _Side(saved.image, saved.files), _Side(now.image, now.files)
    stack = [(b"", layout.ROOT, layout.ROOT)]
    while stack:
        prefix, old, new = stack.pop()
        below = []
        old_names, new_names = before.entries(old), after.entries(new)
        for name in sorted(old_names.keys() | new_names.keys()):
            path = prefix + name
            if name not in new_names:
                yield from before.alone(path, old_names[name], REMOVED)
            elif name not in old_names:
                yield from after.alone(path, new_names[name], ADDED)
            else:
                pair = old_names[name], new_names[name]
                changes = before.changes(after, *pair)
                yield Finding(path, 0 if changes else before.length(pair[0]), _told(changes), None)
                if before.image.is_directory(pair[0]) and after.image.is_directory(pair[1]):
                    below.append((path + b"/", *pair))
                else:
                    yield from before.below(path, pair[0], REMOVED)
                    yield from after.below(path, pair[1], ADDED)
        stack += reversed(below)


def _told(changes: list[str]) -> str:
    return f"has changed ({', '.join(changes)})" if changes else ""


class _Side:
    """One of the two."""

    def __init__(self, image: Image, files: DirectoryFiles) -> None:
        self.image, self.files = image, files

    def entries(self, node: int) -> dict[bytes, int]:
        return {self.image.name(row): self.image.child[row] for row in self.image.dirents(node)}

    def length(self, node: int) -> int:
        return self.image.size[node - 1] if stat.S_ISREG(self.image.mode[node - 1]) else 0

    def alone(self, path: bytes, node: int, what: str) -> Iterator[Finding]:
        """A name that the other side lacks, and all below it."""
        return chain((Finding(path, 0, what, None),), self.below(path, node, what))

    def below(self, path: bytes, node: int, what: str) -> Iterator[Finding]:
        return (Finding(found, 0, what, None) for found, _node in self.image.walk(node, path))

    def changes(self, other: _Side, node: int, its: int) -> list[str]:
        """In what an inode of this side, and one of the other, differ."""
        modes = self.image.mode[node - 1], other.image.mode[its - 1]
        if stat.S_IFMT(modes[0]) != stat.S_IFMT(modes[1]):
            return ["type"]
        facts = zip(_facts(self, node), _facts(other, its), strict=True)
        return [what for (what, one), (_what, another) in facts if one != another]


def _facts(side: _Side, node: int) -> Iterator[tuple[str, object]]:
    """What is compared of an inode, by what it is called."""
    image, row = side.image, node - 1
    mode, owner = image.mode[row], image.owner[row]
    yield "mode", mode
    yield "owner", (image.uid[owner], image.gid[owner])
    yield "extended attributes", image.xattrs(node)
    if stat.S_ISDIR(mode):
        return
    yield "another file", side.files.inode(node)
    yield "size", image.size[row]
    yield "modification time", (image.mtime[row], image.mtime_ns[row])
    yield "change time", image.times(node)[1]
    yield "target", image.target(node) if stat.S_ISLNK(mode) else b""
    yield "device", image.data[row] if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
