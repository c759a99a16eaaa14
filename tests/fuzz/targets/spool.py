"""The spool: bytes that are none raise IndexDamagedError when it is opened; what opens reads what was kept, or raises
DamagedError.

The checksum and the digest of an input's table are made right first: otherwise nothing behind them would ever be
reached.
"""

from __future__ import annotations

import hashlib
import os
import random
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.spool import FOOTER, LEAST, MAGIC, PIECE, RECORD, Spool, Writer

MAX_LEN = 4096
MOST_READ = 1 << 20

_STREAM = 3


class _Memory:
    """A Room in memory."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("spool")

    def open(self) -> int:
        return self.fd

    def ask(self, written: int, /) -> None:
        pass


@cache
def _pieces() -> bytes:
    """What lies before the table of a spool that holds lines, and behind a gap noise."""
    room = _Memory()
    writer = Writer(room)
    line = random.Random(2).randbytes(50)
    writer.add(_STREAM, 77, line * (LEAST // 50 + 1))
    writer.add(_STREAM, 1 << 30, line * (LEAST // 50 + 1))
    known = writer.finish()
    assert known
    try:
        return os.pread(room.fd, known["size"], 0)
    finally:
        os.close(room.fd)


def seeds() -> Iterator[bytes]:
    """Tables alone: what they point to is always there."""
    whole = _pieces()
    at, count, _checksum, _magic = FOOTER.unpack(whole[-FOOTER.size :])
    table = whole[at : at + count * RECORD.size]
    yield table
    yield table[: 5 * RECORD.size]
    yield table[-RECORD.size :]


def fuzz(data: bytes) -> None:
    whole = _pieces()
    at = FOOTER.unpack(whole[-FOOTER.size :])[0]
    count = len(data) // RECORD.size
    table = data[: count * RECORD.size]
    raw = whole[:at] + table + FOOTER.pack(at, count, zlib.crc32(table), MAGIC)
    known: dict[str, Any] = {"digest": hashlib.sha256(table).hexdigest(), "size": len(raw)}
    fd = os.memfd_create("spool")
    os.write(fd, raw)
    try:
        spool = Spool(fd, known)
    except IndexDamagedError:
        os.close(fd)
        return
    try:
        _read(spool)
    except DamagedError:
        pass
    finally:
        spool.close()


def _read(spool: Spool) -> None:
    for stream in {piece[0] for piece in spool._keys}:
        for run in spool.runs(stream):
            offset = run.start
            while offset < min(run.end, run.start + MOST_READ):
                data = run.read(offset, run.end - offset)
                assert 0 < len(data) <= min(PIECE, run.end - offset)
                offset += len(data)
