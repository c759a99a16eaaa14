"""The protocol engine: whatever the kernel's bytes, each request gets one well-formed reply, or none where none is due;
and none of them finds a bug (which is logged) in the filesystem over an archive, or in the one that has no methods.

Input: a byte for the filesystem and whether INIT comes first, a byte for the kernel's minor, then requests, each behind
two bytes of length. A request whose length has its top bit set is given a header that is right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from rofuse_mount import wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.wire import Opcode
from tests.fuzz.targets._archives import opened
from tests.protocol.kernel import BODIES, NO_REPLY, OFFERS, Example, check, init_body, request

MAX_LEN = 1024
MOST_REQUESTS = 16

_MINORS = sorted(OFFERS)
_LENGTH = struct.Struct("<H")
_FRAMED = 0x8000


@cache
def _archive() -> ArchiveFilesystem:
    return ArchiveFilesystem(next(opened("sparse-pax-1.0.tar", 1 << 20)))


def _filesystem(choice: int) -> Filesystem:
    return (Example, Filesystem, _archive)[choice % 3]()


def seeds() -> Iterator[bytes]:
    for number, opcode in enumerate(sorted(BODIES)):
        sent = request(opcode, BODIES[opcode])
        for choice in range(3):
            head = bytes((choice << 1 | 1, number % len(_MINORS)))
            yield head + _LENGTH.pack(len(sent)) + sent + _LENGTH.pack(len(sent) | _FRAMED) + sent


def fuzz(data: bytes) -> None:
    if len(data) < 2:
        return
    minor = _MINORS[data[1] % len(_MINORS)]
    logged: list[str] = []
    filesystem = _filesystem(data[0] >> 1)
    engine = Engine(filesystem, log=logged.append)
    if data[0] & 1:
        introduced = check(engine.handle(request(Opcode.INIT, init_body(minor, OFFERS[minor]))))
        assert introduced is not None and not introduced.errno
    position = 2
    for _ in range(MOST_REQUESTS):
        if position + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        sent = data[position : position + (length & ~_FRAMED)]
        position += len(sent)
        _ask(engine, _framed(sent) if length & _FRAMED else sent)
    assert not logged or isinstance(filesystem, Example), logged


def _framed(sent: bytes) -> bytes:
    sent = sent.ljust(wire.IN_HEADER.size, b"\0")
    return struct.pack("<I", len(sent)) + sent[4:]


def _ask(engine: Engine, sent: bytes) -> None:
    reply = engine.handle(sent)
    if len(sent) < wire.IN_HEADER.size:
        assert reply is None
        return
    _, opcode, unique, *_ = wire.IN_HEADER.unpack_from(sent)
    assert (check(reply, unique) is None) == (opcode in NO_REPLY)
    assert engine.describe(sent, reply).isprintable()
    assert engine.describe_json(sent, reply).isascii()
