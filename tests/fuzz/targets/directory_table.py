"""What a directory's files were, as any bytes: refused, or every read is an error or bytes of the very file that lies
at that address, and never of another.

The directory is one of a few files, whose index has the input in its place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rofuse_formats.directory.files import DirectoryFiles
from rofuse_formats.directory.scanning import Scanner
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.entry import ScanOptions
from rofuse_formats.errors import FormatError
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image

MAX_LEN = 17 * 8
_FOLDER = tempfile.TemporaryDirectory(prefix="directory-table-")  # removed with the interpreter
_FILES = {b"a": b"a" * 5, b"b": b"", b"d/c": b"c" * 200_000, b"d/e": b"e" * 7}


@cache
def _scanned() -> tuple[DirectorySource, Image, bytes]:
    root = Path(_FOLDER.name)
    (root / "d").mkdir()
    for name, data in _FILES.items():
        (root / os.fsdecode(name)).write_bytes(data)
    source, builder = DirectorySource(root), ImageBuilder()
    table = Scanner(source, builder, ScanOptions()).run()
    return source, Image(b"".join(bytes(piece) for piece in builder.finish())), table


def seeds() -> Iterator[bytes]:
    yield _scanned()[2]


def fuzz(data: bytes) -> None:
    source, image, _table = _scanned()
    try:
        files = DirectoryFiles(source, image, memoryview(data))
    except FormatError:
        return
    for offset in (0, 4, 5, 6, 200_004, 1 << 61, files.size - 1, files.size):
        try:
            found = b"".join(map(bytes, files.read(offset, 100))), files.pread(100, offset)
        except (FormatError, OSError, OverflowError):
            continue
        for piece in found:
            assert len(piece) <= 100
            assert len(set(piece)) <= 1  # of one file, not beyond its end
