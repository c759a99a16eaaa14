"""The index loader: a file that is no index, or whose sections contradict each other, raises IndexDamagedError; what it
then reads of the archive is bytes, DamagedError or IndexDamagedError, once its image was checked.

The checksums of an input are made right first: otherwise nothing behind them would ever be reached.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice

import rofuse_formats
from rofuse_formats import Archive, Settings
from rofuse_formats import index as index_file
from rofuse_formats.errors import DamagedError, IndexDamagedError, LimitError
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.indexing import write_index
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource
from tests.fuzz.targets._archives import TESTDATA, paths

MAX_LEN = 1 << 14
MOST = 20  # files that are read

_HEADER, _SECTION, _CHECKSUM = index_file._HEADER, index_file._SECTION, index_file._CHECKSUM


@cache
def _source() -> FileSource:
    return FileSource(TESTDATA / "sample.tar.zst")


def seeds() -> Iterator[bytes]:
    for path in [TESTDATA / "sample.tar.zst", *paths(".tar.zst", 4096), *paths(".tar", 10240)]:
        fd = os.memfd_create("seed")
        try:
            write_index(FileSource(path), fd, Settings())
        except rofuse_formats.errors.FormatError:
            continue
        else:
            data = os.pread(fd, 1 << 24, 0)
            if len(data) <= MAX_LEN:
                yield data
        finally:
            os.close(fd)


def repaired(data: bytes) -> bytes:
    """The same with checksums that hold, as far as there is a table of sections."""
    fixed = bytearray(data)
    if len(fixed) < _HEADER.size:
        return data
    _, _, count = _HEADER.unpack_from(fixed)
    end = _HEADER.size + count * _SECTION.size
    if count > 64 or len(fixed) < end + _CHECKSUM.size:
        return data
    for at in range(_HEADER.size, end, _SECTION.size):
        tag, offset, size, _ = _SECTION.unpack_from(fixed, at)
        section = memoryview(fixed)[offset : offset + size]
        _SECTION.pack_into(fixed, at, tag, offset, size, zlib.crc32(section))
    _CHECKSUM.pack_into(fixed, end, zlib.crc32(memoryview(fixed)[:end]))
    return bytes(fixed)


def fuzz(data: bytes) -> None:
    fd = os.memfd_create("index")
    try:
        os.write(fd, repaired(data))
        index = Index(fd)
        check_form(Image(index.image), Limits())
    except (IndexDamagedError, IndexError, LimitError):
        os.close(fd)
        return
    try:
        archive = Archive(_source(), index, Settings())
        for _path, node in islice(archive.image.walk(), MOST):
            _read(archive, node)
    except (IndexDamagedError, LimitError):
        return
    finally:
        os.close(fd)


def _read(archive: Archive, node: int) -> None:
    size = archive.image.size[node - 1]
    for offset in (0, size >> 1):
        try:
            if archive.image.mode[node - 1] >> 12 == 8:
                archive.read(node, offset, 1 << 17)
        except (DamagedError, IndexDamagedError, LimitError):
            continue
