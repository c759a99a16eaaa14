"""The bytes of an archive's files, in chunks, to be touched.

Rules
- A chunk is ``block_size`` bytes of a file, fewer at its end. A whole one of zeros, or a shorter one of a page or more,
  is a hole.
- Bytes of a map are copied by the kernel, which tells of a file that was truncated where touching it would end this
  process.
- An error names the file that it is about.
"""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import compress
from typing import TYPE_CHECKING

from rofuse_formats.copying import Copier
from rofuse_formats.directory.files import DirectoryFiles
from rofuse_formats.directory.in_order import FilesInOrder
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.image import layout
from rofuse_formats.streams import StoredStream

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive

_PAGE = 4096
_SOME_ZEROS = bytes(64)


class Contents:
    """``total``: bytes of all files; ``sizes``: how many chunks there are of each size; ``is_quick``: whether bytes can
    be read again, in any order, without being decoded."""

    def __init__(self, archive: Archive, block_size: int) -> None:
        self._archive, self._image, self._block_size = archive, archive.image, block_size
        self.is_quick = (
            not archive.codecs
            and not archive.image.has_members
            and isinstance(archive.stream, StoredStream | DirectoryFiles)
        )
        self._zeros = bytes(block_size)
        self._copier = Copier()
        files = archive.files
        self._in_order = FilesInOrder(files) if files is not None and not files.follow else None
        image = archive.image
        regular = {mode: stat.S_ISREG(mode) for mode in set(image.mode)}
        sizes = list(compress(image.size, map(regular.__getitem__, image.mode)))
        self.total = sum(sizes)
        self.sizes = Counter(size % block_size for size in sizes)
        self.sizes[block_size] = sum(size // block_size for size in sizes)

    def chunks(self, node: int) -> Iterator[bytes | None]:
        """A file's chunks in their order; None for a hole. Raises FormatError, OSError."""
        size, step = self._image.size[node - 1], self._block_size
        holes = self._image.data[node - 1] >> layout.DATA_SHIFT == layout.DATA_PIECES
        for offset in range(0, size, step):
            length = min(step, size - offset)
            if holes and self._is_hole(node, offset, length):
                yield None
                continue
            data = self.read(node, offset, length)
            is_zeros = length >= _PAGE and data.startswith(_SOME_ZEROS) and data == self._zeros[:length]
            yield None if is_zeros else data

    def read(self, node: int, offset: int, size: int) -> bytes:
        """Bytes [offset, offset+size) of a file, which has so many. Raises FormatError, OSError."""
        word = self._image.data[node - 1]
        try:
            if self._in_order is not None:
                data = self._in_order.read(node, offset, size)
            elif word >> layout.DATA_SHIFT == layout.DATA_OFFSET:
                data = self._archive.stream.pread(size, word + offset)
            else:
                data = b"".join(map(self._copier.own, self._archive.read(node, offset, size)))
            if len(data) != size:
                raise DamagedError("the archive ends before the data of this member", offset)
        except FormatError as error:
            raise type(error)(f"{self._shown(node)} cannot be read: {error}") from error
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._image.path(node)) from error
        return data

    def close(self) -> None:
        self._copier.close()
        if self._in_order is not None:
            self._in_order.close()

    def _is_hole(self, node: int, offset: int, length: int) -> bool:
        extents = self._image.extents(node)
        first = bisect_right(extents, offset, key=lambda extent: extent.logical + extent.length)
        return first == len(extents) or extents[first].logical >= offset + length

    def _shown(self, node: int) -> str:
        return self._image.path(node).decode("utf-8", "backslashreplace")
