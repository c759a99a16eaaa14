"""zip: whatever the bytes, a description or a FormatError; the image it makes can be dumped and loaded again; of a
member that is small enough to be checked, its bytes or a FormatError, and no more of any than it claims.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator

from rofuse_formats import Limits, ScanOptions, Settings
from rofuse_formats.archives.zip import FORMAT
from rofuse_formats.archives.zip.reading import SMALL
from rofuse_formats.errors import FormatError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.dump import dump, load
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import MIB
from rofuse_formats.streams import BlockCache
from tests.fuzz.targets._archives import MemorySource, paths

MAX_LEN = 1 << 14
_READ = 1 << 16


class MemoryStream(MemorySource):
    """Bytes as a ``rofuse_formats.streams.Stream``."""

    def read(self, offset: int, size: int, /) -> list[memoryview]:
        piece = memoryview(self.data)[offset : offset + size]
        return [piece] if len(piece) else []

    def is_near(self, offset: int, /) -> bool:
        return False

    def is_at_hand(self, offset: int, size: int, /) -> bool:
        return True


def seeds() -> Iterator[bytes]:
    for path in paths(".zip", MAX_LEN):
        yield path.read_bytes()


def fuzz(data: bytes) -> None:
    FORMAT.recognise(data)
    FORMAT.recognise_end(data[-70_000:])
    builder = ImageBuilder()
    try:
        FORMAT.scan_at_random(MemorySource(data), builder, ScanOptions())
    except FormatError:
        return
    image = b"".join(bytes(memoryview(piece).cast("B")) for piece in builder.finish())
    reader = Image(image)
    check_form(reader, Limits())
    again = load(dump(reader))
    assert b"".join(bytes(memoryview(piece).cast("B")) for piece in again.finish()) == image
    settings = Settings(limits=Limits(max_window=8 * MIB))
    members = FORMAT.members(MemoryStream(data), BlockCache(), settings)
    for _path, node in reader.walk():
        size, word = reader.size[node - 1], reader.data[node - 1]
        if not stat.S_ISREG(reader.mode[node - 1]) or not size:
            continue
        assert word >> layout.DATA_SHIFT == layout.DATA_MEMBER
        row = word & layout.DATA_MASK
        member = reader.member(row)
        for offset in (0, max(0, min(size, 4 * MIB) - _READ)):
            count = min(size if size <= SMALL else _READ, size - offset)
            try:
                pieces = members.read(member, row, size, offset, count)
            except FormatError:
                continue
            got = b"".join(pieces)
            assert len(got) == count
            assert count < size or zlib.crc32(got) == member.crc
