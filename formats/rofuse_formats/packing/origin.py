"""What a pack is made of, in the words that an archive and a directory share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from rofuse_formats.entry import Extent
from rofuse_formats.packing.contents import Contents
from rofuse_formats.packing.tree import TreeCopy

if TYPE_CHECKING:
    from rofuse_formats.archive import Archive


class Origin(Protocol):
    """A tree in the order of a pack, and its files' bytes. ``files``, ``chunks`` and ``scan_on`` are called by one
    thread, the rest by another."""

    is_quick: bool
    """Whether bytes can be read again, in any order, without being decoded."""

    @property
    def total(self) -> int:
        """Bytes of all files; 0 as long as that is not known."""
        ...

    def files(self) -> Iterator[tuple[int, int, int]]:
        """The number of each regular file that has bytes, its record, and its size, in the order in which they are to
        be stored; when it ends, all of the tree is known. Raises FormatError, OSError."""
        ...

    def scan_on(self) -> bool:
        """Finds out more of the tree beforehand; False when all is known. Raises as ``files``."""
        ...

    def chunks(self, node: int, /) -> Iterator[bytes | None]:
        """A file's chunks in their order; None for a hole. Raises FormatError, OSError."""
        ...

    def read(self, node: int, offset: int, size: int, /) -> bytes:
        """Bytes of a file once more. Raises FormatError, OSError."""
        ...

    def tell(self, record: int, size: int, runs: list[Extent], /) -> None:
        """``runs``: where the bytes of a file are, as ``files`` gave its record; what is in none is a hole."""
        ...

    def image(self) -> bytes:
        """When all is told. Raises DamagedError."""
        ...

    def close(self) -> None: ...


class ArchiveOrigin:
    """An archive that is open; it stays the caller's."""

    def __init__(
        self, archive: Archive, exclude: tuple[bytes, ...], latest: int | None, block_size: int
    ) -> None:
        self._tree = TreeCopy(archive, exclude, latest)
        self._contents = Contents(archive, block_size)
        self._again = Contents(archive, block_size)  # beside the one that reads ahead
        self.files, self.tell, self.image = self._tree.files, self._tree.tell, self._tree.image
        self.chunks, self.read = self._contents.chunks, self._again.read
        self.is_quick, self.total = self._contents.is_quick, self._contents.total

    def scan_on(self) -> bool:
        return False

    def close(self) -> None:
        self._contents.close()
        self._again.close()
