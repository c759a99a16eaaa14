"""Every opcode, for kernels from 7.26 to 7.45, against the contract; and every request cut at every length."""

from __future__ import annotations

from errno import EINVAL, EIO, ENODATA, ENOENT, ENOSYS, ENOTDIR, ENOTTY, EROFS

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount import wire
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import (
    BODIES,
    NO_REPLY,
    OFFERS,
    UNIQUE,
    Example,
    ask,
    check,
    connect,
    init_body,
    request,
)

MINORS = sorted(OFFERS)
OPCODES = [
    *range(61),
    100,
    4095,
    4096,
    4097,
    Opcode.INIT_BSWAP_RESERVED,
    Opcode.CUSE_INIT_BSWAP_RESERVED,
    2**32 - 1,
]

READ_ONLY = {
    *(Opcode.SETATTR, Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME),
    *(Opcode.RENAME2, Opcode.LINK, Opcode.WRITE, Opcode.CREATE, Opcode.TMPFILE, Opcode.SETXATTR),
    *(Opcode.REMOVEXATTR, Opcode.FALLOCATE, Opcode.COPY_FILE_RANGE, Opcode.COPY_FILE_RANGE_64),
}

# A filesystem with no method of its own: errno, or the size of the reply's payload where there is no error.
DEFAULTS: dict[int, tuple[int, int]] = {
    Opcode.LOOKUP: (ENOENT, 0),
    Opcode.GETATTR: (ENOENT, 0),
    Opcode.READLINK: (EINVAL, 0),
    Opcode.READ: (EIO, 0),
    Opcode.STATFS: (0, 80),
    Opcode.RELEASE: (0, 0),
    Opcode.INIT: (EINVAL, 0),
    Opcode.READDIR: (ENOTDIR, 0),
    Opcode.READDIRPLUS: (ENOTDIR, 0),
    Opcode.RELEASEDIR: (0, 0),
    Opcode.DESTROY: (0, 0),
    Opcode.IOCTL: (ENOTTY, 0),
    **dict.fromkeys(READ_ONLY, (EROFS, 0)),
}

# A filesystem with every method.
EXAMPLE: dict[int, tuple[int, int]] = {
    **DEFAULTS,
    Opcode.LOOKUP: (0, 128),
    Opcode.GETATTR: (0, 104),
    Opcode.READLINK: (0, 5),
    Opcode.OPEN: (0, 16),
    Opcode.READ: (0, 6),
    Opcode.GETXATTR: (0, 8),
    Opcode.LISTXATTR: (0, 8),
    Opcode.OPENDIR: (0, 16),
    Opcode.READDIR: (0, 5 * 32),
    Opcode.ACCESS: (0, 0),
    Opcode.BMAP: (0, 8),
    Opcode.IOCTL: (0, 20),
    Opcode.POLL: (0, 8),
    Opcode.READDIRPLUS: (0, 5 * 160),
    Opcode.LSEEK: (0, 8),
    Opcode.STATX: (0, 288),
}


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("opcode", OPCODES)
@pytest.mark.parametrize("kind", [Filesystem, Example])
def test_every_opcode_is_answered_as_the_contract_says(
    kind: type[Filesystem], opcode: int, minor: int
) -> None:
    engine = connect(kind(), minor)
    table = EXAMPLE if kind is Example else DEFAULTS
    expected: tuple[int, int] | None = table.get(opcode, (ENOSYS, 0))
    if opcode in NO_REPLY:
        expected = None
    elif kind is Filesystem and opcode == Opcode.OPENDIR and minor < 29:
        expected = (0, 16)  # a kernel that would ask every time is told that it is open
    body = init_body(minor, OFFERS[minor]) if opcode == Opcode.INIT else BODIES.get(opcode, b"")
    reply = check(engine.handle(request(opcode, body)))
    assert (None if reply is None else (reply.errno, len(reply.payload))) == expected


@pytest.mark.parametrize("minor", [26, 45])
@pytest.mark.parametrize("opcode", sorted({*BODIES, Opcode.READLINK, Opcode.STATFS, Opcode.DESTROY, 999}))
def test_a_request_cut_at_any_length_is_answered_once(opcode: int, minor: int) -> None:
    whole = request(opcode, BODIES.get(opcode, b""))
    for kind in (Filesystem, Example):
        engine = connect(kind(), minor)
        for size in range(len(whole)):
            cut = whole[:size]
            told = wire.IN_HEADER.pack(size, *wire.IN_HEADER.unpack_from(whole)[1:]) + whole[40:size]
            if size < wire.IN_HEADER.size:
                assert engine.handle(cut) is None
                continue
            for data, wrong in ((cut, True), (told, False)):
                reply = check(engine.handle(data))
                assert (reply is None) == (opcode in NO_REPLY)
                if reply is not None and wrong:
                    assert reply.errno == EIO


@pytest.mark.parametrize("opcode", sorted(set(BODIES) - READ_ONLY - NO_REPLY))
def test_a_structure_that_is_not_whole_is_refused(opcode: int) -> None:
    """One byte short of what must be there: EINVAL, from a filesystem that would have answered."""
    reply = ask(connect(Example()), opcode, BODIES[opcode][:-1])
    assert reply.errno == (EINVAL if opcode in EXAMPLE else ENOSYS)


@pytest.mark.parametrize("opcode", sorted({*BODIES, Opcode.STATFS, Opcode.READLINK, Opcode.DESTROY, 999}))
def test_a_request_longer_than_its_header_says_is_refused(opcode: int) -> None:
    reply = check(connect(Example()).handle(request(opcode, BODIES.get(opcode, b"")) + b"\0"))
    assert reply is None if opcode in NO_REPLY else reply is not None and reply.errno == EIO


@given(st.binary(max_size=256))
def test_random_bytes_never_raise(data: bytes) -> None:
    engine = connect(Example(), log=[])
    unique = int.from_bytes(data[8:16], "little")
    reply = check(engine.handle(data), unique)
    assert reply is None or len(data) >= wire.IN_HEADER.size


@given(
    opcode=st.sampled_from(OPCODES),
    body=st.binary(max_size=200),
    unique=st.integers(0, 2**64 - 1),
    nodeid=st.integers(0, 2**64 - 1),
    fresh=st.booleans(),
)
def test_random_requests_never_raise(opcode: int, body: bytes, unique: int, nodeid: int, fresh: bool) -> None:
    engine = Engine(Example(), log=lambda _: None) if fresh else connect(Example(), log=[])
    sent = request(opcode, body, unique=unique, nodeid=nodeid)
    reply = engine.handle(sent)
    answered = check(reply, unique)
    assert (answered is None) == (opcode in NO_REPLY)
    assert engine.describe(sent, reply).isascii()
    assert engine.describe_json(sent, reply).isascii()


@pytest.mark.parametrize("opcode", sorted(BODIES))
def test_before_init_nothing_is_served(opcode: int) -> None:
    filesystem = Example()
    reply = check(Engine(filesystem).handle(request(opcode, BODIES[opcode])))
    assert reply is None if opcode in NO_REPLY else reply is not None and reply.errno == EIO
    assert filesystem.calls == []


def test_a_resent_request_is_answered_under_its_number() -> None:
    unique = UNIQUE | wire.UNIQUE_RESEND
    reply = check(
        connect(Example()).handle(request(Opcode.GETATTR, BODIES[Opcode.GETATTR], unique=unique)), unique
    )
    assert reply is not None and reply.errno == 0


def test_a_missing_attribute_is_enodata() -> None:
    engine = connect(Example())
    assert ask(engine, Opcode.GETXATTR, wire.GETXATTR_IN.pack(0, 0) + b"user.none\0").errno == ENODATA
