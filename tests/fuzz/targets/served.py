"""The filesystem over an image that came with its archive: one that passes the check is walked to its end, each name
once; and whatever the kernel asks of it gets a well-formed answer, without a bug in the log.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cache

from rofuse_formats import Archive, Settings
from rofuse_formats import index as index_file
from rofuse_formats.errors import FormatError
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.reader import Image
from rofuse_formats.index import Index
from rofuse_formats.indexing import write_index
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource
from rofuse_mount import wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.engine import Engine
from rofuse_mount.view import View
from rofuse_mount.wire import Opcode
from tests.fuzz.targets import image as image_target
from tests.fuzz.targets._archives import TESTDATA
from tests.protocol.kernel import BODIES, OFFERS, check, init_body, read_body, request

MAX_LEN = image_target.MAX_LEN
MOST = 40  # inodes that are asked about

_MINOR = max(OFFERS)
_ASKED = {
    Opcode.GETATTR: BODIES[Opcode.GETATTR],
    Opcode.READLINK: b"",
    Opcode.READ: read_body(1 << 12),
    Opcode.READDIRPLUS: read_body(1 << 12),
    Opcode.LISTXATTR: wire.GETXATTR_IN.pack(1 << 12, 0),
    Opcode.GETXATTR: wire.GETXATTR_IN.pack(1 << 12, 0) + b"user.x\0",
    Opcode.STATX: BODIES[Opcode.STATX],
    Opcode.LSEEK: BODIES[Opcode.LSEEK],
}


def seeds() -> Iterator[bytes]:
    yield from image_target.seeds()


@cache
def _source() -> FileSource:
    return FileSource(TESTDATA / "sample.tar.zst")


@cache
def _known() -> Index:
    """Of the source: where its bytes are."""
    fd = os.memfd_create("seed")
    try:
        write_index(_source(), fd, Settings())
        return Index(fd)
    finally:
        os.close(fd)


def fuzz(data: bytes) -> None:
    try:
        image = Image(data)
        check_form(image, Limits())
    except (FormatError, IndexError):
        return
    assert sum(1 for _ in image.walk()) == image.dirent_count
    fd = os.memfd_create("index")
    try:
        index_file.write(fd, _known().meta, [data], map(bytes, _known().seeks))
        archive = Archive(_source(), Index(fd), Settings())
    except FormatError:
        return
    finally:
        os.close(fd)
    logged: list[str] = []
    engine = Engine(ArchiveFilesystem(archive, View(permissions=True)), log=logged.append)
    check(engine.handle(request(Opcode.INIT, init_body(_MINOR, OFFERS[_MINOR]))))
    check(engine.handle(request(Opcode.STATFS)))
    for node in range(1, min(image.inode_count, MOST) + 2):
        for opcode, body in _ASKED.items():
            check(engine.handle(request(opcode, body, nodeid=node)))
        if node <= image.inode_count and stat.S_ISDIR(image.mode[node - 1]):
            for row in image.dirents(node)[:MOST]:
                reply = check(engine.handle(request(Opcode.LOOKUP, image.name(row) + b"\0", nodeid=node)))
                assert reply is not None and not reply.errno
                assert int.from_bytes(reply.payload[:8], "little") == image.child[row]
    assert not logged, logged
