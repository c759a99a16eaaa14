"""The bytes of an archive's files, in chunks, to be touched.

Rules
- A chunk is ``block_size`` bytes of a file, fewer at its end. One of a page or more that has nothing but zeros is a
  hole, whatever the archive calls one.
- Bytes of a map are copied by the kernel, which tells of a file that was truncated where touching it would end this
  process.
- An error names the file that it is about.
"""

from __future__ import annotations

import stat
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

PAGE = 4096
_SOME_ZEROS = bytes(64)


class Zeros:
    """Tells chunks of zeros, which are holes, of at most ``block_size`` bytes."""

    def __init__(self, block_size: int) -> None:
        self._zeros = bytes(block_size)

    def are(self, data: bytes) -> bool:
        size = len(data)
        return size >= PAGE and data.startswith(_SOME_ZEROS) and data == self._zeros[:size]


class Contents:
    """``total``: bytes of all files; ``is_quick``: whether bytes can be read again, in any order, without being
    decoded."""

    def __init__(self, archive: Archive, block_size: int) -> None:
        self._archive, self._image, self._block_size = archive, archive.image, block_size
        self.is_quick = (
            not archive.codecs
            and not archive.image.has_members
            and isinstance(archive.stream, StoredStream | DirectoryFiles)
        )
        self._is_zeros = Zeros(block_size).are
        self._copier = Copier()
        files = archive.files
        self._in_order = FilesInOrder(files) if files is not None and not files.follow else None
        image = archive.image
        regular = {mode: stat.S_ISREG(mode) for mode in set(image.mode)}
        self.total = sum(compress(image.size, map(regular.__getitem__, image.mode)))

    def chunks(self, node: int) -> Iterator[bytes | None]:
        """A file's chunks in their order; None for a hole. Raises FormatError, OSError."""
        size, step = self._image.size[node - 1], self._block_size
        holes = self._image.data[node - 1] >> layout.DATA_SHIFT == layout.DATA_PIECES
        for offset in range(0, size, step):
            length = min(step, size - offset)
            if holes and length >= PAGE and self._is_hole(node, offset, length):
                yield None
                continue
            data = self.read(node, offset, length)
            yield None if self._is_zeros(data) else data

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
        first = next(self._image.extents_from(node, offset), None)
        return first is None or first.logical >= offset + length

    def _shown(self, node: int) -> str:
        return self._image.path(node).decode("utf-8", "backslashreplace")
