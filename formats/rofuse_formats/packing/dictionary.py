"""A dictionary for the small files of a tree: what many of them have in common, put before each block.

Rules
- It is made of whole small files, taken at even distances in the order in which they are stored: the same tree gives
  the same dictionary.
- Where there are too few of them, or they have nothing in common, there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rofuse_formats.image.reader import Image

if TYPE_CHECKING:
    from rofuse_formats.packing.contents import Contents

SIZE = 112 << 10
_SAMPLES = 100 * SIZE  # bytes; the library's advice
_SMALLEST, _LARGEST = 64, 32 << 10  # bytes of a file that counts as small, and says anything
_LEAST = 16  # files


def trained(contents: Contents, image: Image, files: Iterable[int], level: int) -> bytes:
    """The dictionary; nothing where there is none. ``files``: their inodes, in the order in which they are stored.
    Raises FormatError, OSError where a file cannot be read."""
    import zstandard

    small = [node for node in files if _SMALLEST <= image.size[node - 1] <= _LARGEST]
    if len(small) < _LEAST:
        return b""
    step = max(1, sum(image.size[node - 1] for node in small) // _SAMPLES)
    samples: list[bytes | bytearray | memoryview] = [
        contents.read(node, 0, image.size[node - 1]) for node in small[::step]
    ]
    size = min(SIZE, sum(map(len, samples)) // 8)
    try:
        return zstandard.train_dictionary(size, samples, level=level).as_bytes()
    except zstandard.ZstdError:
        return b""  # nothing in common
