"""For the tests of zip: archives from bytes, opened, and what is in them."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import rofuse_formats
from rofuse_formats import Archive, Limits, ScanOptions, Settings
from rofuse_formats.source import FileSource


def opened(
    data: bytes,
    *,
    encoding: str | None = None,
    salvage: bool = False,
    password: bytes | None = None,
    **limits: Any,
) -> Archive:
    """An archive of these bytes, indexed in memory."""
    settings = Settings(ScanOptions(encoding=encoding, password=password), Limits(**limits), salvage=salvage)
    with tempfile.NamedTemporaryFile(prefix="zip-") as file:
        file.write(data)
        file.flush()
        return rofuse_formats.open(file.name, settings, keep=False)


def paths(archive: Archive) -> list[bytes]:
    return [path for path, _node in archive.image.walk()]


def node_of(archive: Archive, path: bytes) -> int:
    node = archive.image.resolve(path)
    assert node, path
    return node


def content(archive: Archive, path: bytes) -> bytes:
    node = node_of(archive, path)
    return piece(archive, path, 0, archive.image.size[node - 1])


def piece(archive: Archive, path: bytes, offset: int, size: int) -> bytes:
    return b"".join(archive.read(node_of(archive, path), offset, size))


def mode(archive: Archive, path: bytes) -> int:
    return archive.image.mode[node_of(archive, path) - 1]


def mtime_ns(archive: Archive, path: bytes) -> int:
    row = node_of(archive, path) - 1
    return archive.image.mtime[row] * 10**9 + archive.image.mtime_ns[row]


def owner(archive: Archive, path: bytes) -> tuple[int, int]:
    row = archive.image.owner[node_of(archive, path) - 1]
    return archive.image.uid[row], archive.image.gid[row]


class MemorySource(FileSource):
    """Bytes as a Source."""

    def __init__(self, data: bytes) -> None:
        fd = os.memfd_create("zip")
        with open(os.dup(fd), "wb") as file:
            file.write(data)
        super().__init__("memory", fd, named=False)
