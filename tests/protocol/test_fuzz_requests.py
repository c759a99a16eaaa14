"""Requests that no kernel sends: cut at every length for every protocol, and made at random for an archive."""

from __future__ import annotations

from errno import EINVAL, EIO, EPROTO
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rofuse_formats
from rofuse_mount import wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import (
    BODIES,
    NO_REPLY,
    OFFERS,
    UNIQUE,
    Example,
    check,
    connect,
    init_body,
    request,
)

TESTDATA = Path(__file__).parents[2] / "testdata"
MINORS = sorted(OFFERS)
SENT = sorted({*range(61), *BODIES, 4096, 2**32 - 1} - {Opcode.INIT})
LARGE = st.one_of(st.integers(0, 64), st.integers(0, 2**64 - 1), st.just(2**63), st.just(2**64 - 1))


def cut(whole: bytes, size: int, told: bool) -> bytes:
    """The first bytes of a request; ``told``: its header knows that it is no longer."""
    length = size if told else len(whole)
    return (wire.IN_HEADER.pack(length, *wire.IN_HEADER.unpack_from(whole)[1:]) + whole[40:])[:size]


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("told", [False, True])
def test_every_request_cut_at_every_length_is_answered_once(minor: int, told: bool) -> None:
    for kind in (Filesystem, Example):
        engine = connect(kind(), minor)
        for opcode in SENT:
            whole = request(opcode, BODIES.get(opcode, b""))
            for size in range(len(whole)):
                reply = check(engine.handle(cut(whole, size, told)))
                assert (reply is None) == (opcode in NO_REPLY or size < wire.IN_HEADER.size), (opcode, size)
                if reply is not None and not told:
                    assert reply.errno == EIO


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("told", [False, True])
def test_init_cut_at_every_length_is_answered_once(minor: int, told: bool) -> None:
    whole = request(Opcode.INIT, init_body(minor, OFFERS[minor]))
    for size in range(wire.IN_HEADER.size, len(whole)):
        engine = Engine(Example(), log=lambda message: None)
        reply = check(engine.handle(cut(whole, size, told)))
        assert reply is not None
        body = size - wire.IN_HEADER.size
        if not told:
            assert reply.errno == EIO
        elif body < 8:
            assert reply.errno == EINVAL
        elif body < wire.COMPAT_INIT_IN.size:
            assert reply.errno == EPROTO and engine.failure
        else:  # as an older kernel would have sent it
            assert reply.errno == 0 and engine.config is not None


@cache
def archive() -> ArchiveFilesystem:
    return ArchiveFilesystem(rofuse_formats.open(TESTDATA / "xattrs-posix.tar", keep=False))


@given(
    opcode=st.sampled_from(sorted(BODIES)),
    nodeid=LARGE,
    numbers=st.lists(LARGE, max_size=6),
    tail=st.sampled_from([b"", b"\0", b".\0", b"..\0", b"user.a\0", b"x" * 300 + b"\0", b"a/b\0", b"\xff\0"]),
    minor=st.sampled_from(MINORS),
)
def test_an_archive_meets_no_request_that_it_does_not_expect(
    opcode: int, nodeid: int, numbers: list[int], tail: bytes, minor: int
) -> None:
    """What is logged is a bug, and fails the test."""
    body = b"".join(number.to_bytes(8, "little") for number in numbers) + tail
    reply = check(connect(archive(), minor).handle(request(opcode, body, nodeid=nodeid)), UNIQUE)
    assert (reply is None) == (opcode in NO_REPLY)
