"""An image whose growing columns lie in planes, as packs keep it: it is compressed to two thirds of what it would be.

The numbers of these columns grow from row to row: their low bytes repeat nowhere, their high ones hardly change, and a
compressor that meets them in turns can do little with either. In planes all lowest bytes of a column come first, then
all of the next higher ones. Everything else, and the place and length of the column, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from rofuse_formats.image import layout

COLUMNS = frozenset(("name_at", "child", "order"))


def split(image: bytes) -> bytes:
    """``image`` in planes. Raises IndexDamagedError where it is none."""
    return _changed(image, _planes)


def joined(image: bytes) -> bytes:
    """The image that ``split`` was given. Raises IndexDamagedError where that was none."""
    return _changed(image, _numbers)


def _changed(image: bytes, change: Callable[[bytes, int], bytes]) -> bytes:
    places, _heaps, _counts = layout.places(image, len(image))
    parts: list[bytes | memoryview] = []
    view, done = memoryview(image), 0
    for (name, code, _table, _extra), (start, size) in zip(layout.COLUMNS, places, strict=True):
        if name in COLUMNS:
            parts += (view[done:start], change(image[start : start + size], layout.WIDTH[code]))
            done = start + size
    return b"".join((*parts, view[done:]))


def _planes(column: bytes, width: int) -> bytes:
    return b"".join(column[weight::width] for weight in range(width))


def _numbers(planes: bytes, width: int) -> bytes:
    column, rows = bytearray(len(planes)), len(planes) // width
    for weight in range(width):
        column[weight::width] = planes[weight * rows : (weight + 1) * rows]
    return bytes(column)
