"""For the tests of packages: ar archives, headers and payloads from bytes."""

from __future__ import annotations

import lzma
import stat
import tempfile
from pathlib import Path

import rofuse_formats
from rofuse_formats import Archive, Limits, ScanOptions, Settings
from rofuse_formats.archives.rpm.files import Files
from rofuse_formats.archives.rpm.header import Header
from rofuse_formats.errors import FormatError
from tests.formats.sources import BytesSource

FOLDER = Path(__file__).parents[2] / "testdata"
HEADER = 110


def opened(data: bytes, *, raw: bool = False, salvage: bool = False) -> Archive:
    """A package of these bytes, indexed in memory."""
    with tempfile.NamedTemporaryFile(prefix="package-") as file:
        file.write(data)
        file.flush()
        settings = Settings(ScanOptions(raw=raw), Limits(), salvage=salvage)
        return rofuse_formats.open(file.name, settings, keep=False)


def package(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def read(archive: Archive, path: bytes) -> bytes:
    node = archive.image.resolve(path)
    assert node, path
    return b"".join(archive.read(node, 0, archive.image.size[node - 1]))


def contents(archive: Archive) -> dict[bytes, bytes | None]:
    """Of each regular file what it holds, None where it cannot be read."""
    found: dict[bytes, bytes | None] = {}
    for path, node in archive.image.walk():
        if not stat.S_ISREG(archive.image.mode[node - 1]) or archive.image.size[node - 1] > 1 << 24:
            continue
        try:
            found[path] = read(archive, path)
        except FormatError as error:
            assert "\n" not in str(error)
            found[path] = None
    return found


def ar(*members: tuple[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(f"{name:16}{0:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n".encode() + data)
        parts.append(b"\n" * (len(data) & 1))
    return b"".join(parts)


def deb(control: bytes, data: bytes) -> bytes:
    """A package with these tar archives, the second compressed."""
    compressed = lzma.compress(data, check=lzma.CHECK_CRC64)
    return ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar.xz", compressed))


def payload_start(data: bytes) -> int:
    return headers(data)[1].end


def headers(data: bytes) -> tuple[Header, Header]:
    """The header of signatures and the header of a package."""
    source = BytesSource(data)
    signature = Header(source, 96, "signature")
    return signature, Header(source, signature.end + -signature.end % 8, "header")


def shortened(data: bytes) -> bytes:
    """A package whose payload is not compressed, with that in the short form."""
    start = payload_start(data)
    paths = Files(headers(data)[1]).paths
    parts, at = [data[:start]], start
    while True:
        length, name_size = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        name = data[at + HEADER : at + HEADER + name_size - 1]
        if name == b"TRAILER!!!":
            return b"".join([*parts, data[at:]])
        content = at + HEADER + name_size
        content += -(content - start) % 4
        following = content + length + -(content + length - start) % 4
        parts.append(b"07070X%08x\0\0" % paths.index(name.removeprefix(b".")) + data[content:following])
        at = following
