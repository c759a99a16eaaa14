"""What of an archive must be decoded together: its *groups*, and where each lies in the linear stream.

The linear stream is the bytes of all files in archive order. A group is a run of it that is decoded from its
beginning: a solid archive is one, a 7z archive has one for each of its folders, elsewhere each file is its own.

Rules
- Where the archive's own lists of folders and what libarchive gives are not the same, the archive is taken as one
  group: that is slower, and never wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from rofuse_formats.archives.libarchive import cabinet, rar, sevenzip

Pread = Callable[[int, int], bytes]
END = 1 << 62
"""Of a group that ends with the archive."""


class Listed:
    """Groups as the archive lists them: the sizes of all that has bytes, in order, and to which group each
    belongs."""

    def __init__(
        self, sizes: list[int], groups: list[int], places: list[int], checksums: list[int | None]
    ) -> None:
        self.sizes, self.groups, self.places, self.checksums = sizes, groups, places, checksums
        self.starts = [0, *accumulate(sizes)]

    def group(self, at: int) -> tuple[int, int]:
        """The run of the linear stream that byte ``at`` is decoded with."""
        number = bisect_right(self.starts, at) - 1
        if not 0 <= number < len(self.sizes):
            return at, END
        group, first, end = self.groups[number], number, number + 1
        while first and self.groups[first - 1] == group:
            first -= 1
        while end < len(self.groups) and self.groups[end] == group:
            end += 1
        return self.starts[first], self.starts[end]


def listed(kind: str, pread: Pread, contents: sevenzip.Contents | None) -> Listed | None:
    """The groups of a 7z archive with ``contents`` or of a cabinet; None where it does not tell them."""
    sizes: list[int] = []
    groups: list[int] = []
    places: list[int] = []
    checksums: list[int | None] = []
    if kind == "7zip":
        for number, folder in enumerate(contents.folders if contents is not None else ()):
            place = folder.place
            for one, checksum in zip(folder.sizes, folder.checksums, strict=True):
                if one:
                    checksums.append(checksum)
                    sizes.append(one)
                    groups.append(number)
                    places.append(place)
                    place += one if place >= 0 else 0
    elif kind == "cab":
        for number, one in cabinet.folders(pread) or ():
            if one:
                sizes.append(one)
                groups.append(number)
                places.append(-1)
                checksums.append(None)
    return Listed(sizes, groups, places, checksums) if sizes else None


def is_solid(kind: str, pread: Pread) -> bool:
    """Whether an archive whose groups are not listed is one group as a whole."""
    if kind in ("rar", "rar5"):
        found = rar.flags(pread)
        return found is None or found[1]
    return kind in ("7zip", "cab")
