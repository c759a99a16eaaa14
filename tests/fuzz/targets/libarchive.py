"""What is read of archives beside libarchive (who is it, what is compressed together, where do files lie): whatever
the bytes, an answer, places within them, and no exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from rofuse_formats.archives.libarchive import cabinet, groups, iso, magic, rar, sevenzip
from rofuse_formats.archives.libarchive.sevenzip import scanning
from rofuse_formats.archives.libarchive.sevenzip.header import with_header
from rofuse_formats.archives.libarchive.sevenzip.streams import START
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image
from tests.fuzz.targets._archives import TESTDATA, MemorySource

MAX_LEN = 1 << 16
_SUFFIXES = (".7z", ".cab", ".rar", ".iso", ".lzh", ".cpio")


def seeds() -> Iterator[bytes]:
    for path in sorted(TESTDATA.glob("la-*")):
        if path.suffix in _SUFFIXES:
            data = path.read_bytes()
            yield data[:MAX_LEN] if path.suffix != ".7z" else data


def fuzz(data: bytes) -> None:
    magic.kind_of(data)
    hidden = magic.place_within(b"MZ" + data)
    assert hidden is None or (hidden.kind in magic.KINDS and 2 <= hidden.start < len(data) + 2)
    source = MemorySource(data)
    contents = sevenzip.contents(source.pread, source.size)
    for folder in contents.folders if contents is not None else ():
        assert len(folder.sizes) == len(folder.checksums)
    if contents is not None and contents.masked is not None:
        patched = with_header(data[:START], len(data), contents.masked)
        masked = MemorySource(patched + data[START:] + contents.masked)
        again = sevenzip.contents(masked.pread, masked.size)
        assert again is not None
        assert again == sevenzip.Contents(contents.folders, None)
    builder = ImageBuilder()
    if scanning.scan(source, 0, builder):
        image = Image(b"".join(bytes(piece) for piece in builder.finish()))
        assert len(list(image.walk())) >= image.inode_count - 1
        stored = [member for member in image.members() if member.flags]
        assert all(member.at + member.packed <= len(data) for member in stored)
    for kind in ("7zip", "cab"):
        found = groups.listed(kind, source.pread, contents)
        if found is not None:
            assert all(a < b for a, b in pairwise(found.starts))
            for at in (0, found.starts[-1] - 1):
                start, end = found.group(at)
                assert start <= at < end
    cabinet.folders(source.pread)
    assert all(size >= 0 for _place, size in iso.files(source.pread))
    rar.flags(source.pread)
    for place in (0, 7, 20, 24):
        found_at, _checksum = rar.stored_at(source.pread, place, 9000)
        assert found_at == -1 or found_at > place
