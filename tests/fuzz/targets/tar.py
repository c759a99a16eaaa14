"""The tar scanner: whatever the bytes, a description or a FormatError; the image it makes can be walked and dumped, its
dump gives it back, and no file's pieces overlap or lie outside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats import ScanOptions
from rofuse_formats.archives.tar import FORMAT
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.dump import dump, load
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import Limits
from rofuse_formats.readers import SourceReader
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 14


def seeds() -> Iterator[bytes]:
    for path in paths(".tar", MAX_LEN):
        yield path.read_bytes()


def fuzz(data: bytes) -> None:
    for ignore_zeros in (False, True):
        builder = ImageBuilder()
        try:
            FORMAT.scan(SourceReader(MemorySource(data)), builder, ScanOptions(ignore_zeros=ignore_zeros))
        except FormatError:
            continue
        image = b"".join(bytes(memoryview(piece).cast("B")) for piece in builder.finish())
        reader = Image(image)
        check_form(reader, Limits())
        for _path, node in reader.walk():
            _check(reader, node)
        try:
            again = load(dump(reader))
        except DamagedError as error:
            raise AssertionError("its own dump is refused") from error
        assert b"".join(bytes(memoryview(piece).cast("B")) for piece in again.finish()) == image


def _check(image: Image, node: int) -> None:
    """Extents ascend, do not overlap, and lie within the file."""
    position = 0
    for extent in image.extents(node):
        assert extent.logical >= position
        assert extent.length > 0
        position = extent.logical + extent.length
    assert position <= image.size[node - 1]
    assert len(image.path(node)) > 0
