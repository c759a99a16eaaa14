"""Formats whose members are archives: whatever the bytes, a description or a FormatError; the image it makes can be
dumped and loaded again, and no file of it lies in two archives.
"""

from __future__ import annotations

import stat

from rofuse_formats import Limits, ScanOptions
from rofuse_formats.entry import NestedFormat
from rofuse_formats.errors import FormatError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.dump import dump, load
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import MIB
from rofuse_formats.nesting import Nested
from rofuse_formats.passes import Passes
from rofuse_formats.spool import Writer
from tests.fuzz.targets._archives import MemorySource


def fuzz(archive_format: NestedFormat, data: bytes) -> None:
    if not archive_format.recognise(data[: 1 << 16]):
        return
    source, options, limits = MemorySource(data), ScanOptions(), Limits(max_window=8 * MIB)
    builder = ImageBuilder(limits=limits)
    try:
        archive_format.scan_at_random(source, builder, options)
        _check(builder, 0)
    except FormatError:
        pass
    builder, writer = ImageBuilder(limits=limits), Writer(None)
    try:
        nested = Nested(source, builder, Passes(limits, writer, len(data)), options, lambda done: None)
        archive_format.scan_nested(source, builder, options, nested)
        _check(builder, len(nested.parts))
    except FormatError:
        pass
    finally:
        writer.close()


def _check(builder: ImageBuilder, parts: int) -> None:
    image = b"".join(bytes(memoryview(piece).cast("B")) for piece in builder.finish())
    reader = Image(image)
    for _path, node in reader.walk():
        if stat.S_ISREG(reader.mode[node - 1]):
            for extent in reader.extents(node):
                span, last = (
                    place >> layout.SPAN_SHIFT for place in (extent.offset, extent.offset + extent.length - 1)
                )
                nowhere = extent.offset == layout.NOWHERE
                assert nowhere or span == last <= parts
    again = load(dump(reader))
    assert b"".join(bytes(memoryview(piece).cast("B")) for piece in again.finish()) == image
