"""Groups of a 7z archive that can be decoded without libarchive, by the standard library's LZMA: from the beginning of
a run (``runs``), not of their folder, and faster.

Rules
- A group is all the files that begin in one run; the last of them may end in a later one. Of a folder that is not
  compressed by LZMA or LZMA2 alone there is none here.
"""

from __future__ import annotations

import lzma
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from rofuse_formats.archives.libarchive.sevenzip.description import description
from rofuse_formats.archives.libarchive.sevenzip.filters import dictionary_of, lzma_filter
from rofuse_formats.archives.libarchive.sevenzip.header import Pread
from rofuse_formats.archives.libarchive.sevenzip.runs import Runs
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.lzma_reader import PIECE, check_window

_STEP = 1 << 16
"""Bytes that are decoded at once: what is lost where the data is found to be damaged."""


class File(NamedTuple):
    start: int
    """In the linear stream."""
    end: int
    checksum: int | None


class Group(NamedTuple):
    folder: int
    files: list[File]
    """One at least, each with bytes, one behind the other."""
    place: int
    """Where in the archive that begins what is decoded,"""
    before: int
    """and how many bytes of it are before the first file."""
    whole: tuple[int, int]
    """The run of the linear stream that is the folder."""


class Groups:
    """Of the archive of ``size`` bytes that ``pread`` reads."""

    def __init__(self, pread: Pread, size: int, limits: Limits) -> None:
        self._pread, self._size, self._limits = pread, size, limits
        found = description(pread, size, limits.max_window)
        self._folders = found.folders if found is not None else []
        self._starts = [0, *accumulate(sum(folder.sizes) for folder in self._folders)]
        self._runs: dict[int, Runs] = {}
        self._bounds: dict[int, list[int]] = {}

    def find(self, at: int) -> Group | None:
        """The group with byte ``at`` of the linear stream; None where it is not decoded here."""
        number = bisect_right(self._starts, at) - 1
        if not 0 <= number < len(self._folders):
            return None
        folder, start = self._folders[number], self._starts[number]
        if dictionary_of(folder.coders) is None:
            return None
        bounds = self._bounds.get(number)
        if bounds is None:
            bounds = self._bounds[number] = list(accumulate(folder.sizes, initial=0))
        runs = self._runs.get(number)
        if runs is None:
            runs = self._runs[number] = Runs(self._pread, folder)
        own = bounds[bisect_right(bounds, at - start) - 1]
        first, following, place = runs.find(own)
        files = [
            File(start + bounds[row], start + bounds[row + 1], folder.checksums[row])
            for row in range(bisect_left(bounds, first), bisect_left(bounds, following))
            if bounds[row] < bounds[row + 1]
        ]
        before = files[0].start - start - first
        return Group(number, files, place, before, (start, self._starts[number + 1]))

    def decoded(self, group: Group) -> Iterator[bytes]:
        """All bytes of the group, in pieces; DamagedError where they end before that. Raises LimitError, OSError."""
        folder = self._folders[group.folder]
        size = sum(folder.sizes)
        window = min(dictionary_of(folder.coders) or 0, size)
        check_window(window, "a folder of the archive", self._limits)
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma_filter(folder.coders, window)])
        at, end = group.place, min(sum(folder.packed), self._size)
        skip, left = group.before, group.files[-1].end - group.files[0].start
        while left:
            data = b""
            if decoder.needs_input:
                data = self._pread(min(PIECE, end - at), at)
                at += len(data)
                if not data:
                    raise DamagedError("its data ends too early")
            try:
                data = decoder.decompress(data, min(_STEP, skip + left))
            except (EOFError, lzma.LZMAError) as error:
                raise DamagedError("its data is damaged") from error
            if skip:
                skip, data = skip - min(skip, len(data)), data[skip:]
            left -= len(data)
            if data:
                yield data
