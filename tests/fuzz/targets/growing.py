"""The spool that grows: a file that is none raises IndexDamagedError when it is opened; what opens reads what was
appended, or raises DamagedError, and can be appended to."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import cache

from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.growing_spool import GrowingSpool
from rofuse_formats.spool import PIECE

MAX_LEN = 4096
_DIGEST, _PATH = b"d" * 32, b"/archive"
_LINE = random.Random(2).randbytes(50)


def _opened(raw: bytes) -> GrowingSpool:
    fd = os.memfd_create("spool")
    os.write(fd, raw)
    try:
        return GrowingSpool(fd, _DIGEST, _PATH)
    except BaseException:
        os.close(fd)
        raise


@cache
def _whole() -> bytes:
    spool = _opened(b"")
    for at in (0, 3 * PIECE, PIECE):
        spool.append(at, *spool.prepared(at, _LINE * 4000))
    spool.append_bad(9 * PIECE, 10 * PIECE, "a reason")
    try:
        return os.pread(spool.fd, spool.size, 0)
    finally:
        spool.close()


def seeds() -> Iterator[bytes]:
    yield _whole()
    yield _whole()[: len(_whole()) // 2]
    yield b""


def fuzz(data: bytes) -> None:
    try:
        spool = _opened(data)
    except IndexDamagedError:
        return
    for start, end in zip(spool._starts, spool._ends, strict=True):
        at = start
        while at < end:
            piece = spool.find(at)
            assert piece.offset <= at < piece.offset + piece.size
            try:
                assert len(spool.load(piece)) == piece.size
            except DamagedError:
                pass
            at = piece.offset + piece.size
    spool.append(1 << 40, *spool.prepared(1 << 40, _LINE))
    assert spool.load(spool.find(1 << 40)) == _LINE
    spool.close()
