"""INIT: versions, flags, and what is agreed, handed on to another process."""

from __future__ import annotations

from errno import EINVAL, EIO, EPROTO

import pytest

from rofuse_mount import negotiation, wire
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Config, Context, MountOptions
from rofuse_mount.wire import InitFlag, Opcode
from tests.protocol.kernel import OFFERS, Example, ask, check, connect, init_body, request

EVERYTHING = (1 << 43) - 1


def init_out(
    filesystem: Filesystem, body: bytes, options: MountOptions | None = None, page_size: int = 4096
) -> dict[str, int]:
    engine = Engine(filesystem, options, page_size=page_size)
    reply = ask(engine, Opcode.INIT, body)
    assert reply.errno == 0 and len(reply.payload) == 64
    return dict(zip(wire.INIT_OUT.fields, wire.INIT_OUT.unpack(reply.payload), strict=True))


@pytest.mark.parametrize("minor", sorted(OFFERS))
def test_only_what_the_kernel_offers_is_taken(minor: int) -> None:
    out = init_out(Example(), init_body(minor, OFFERS[minor]))
    taken = out["flags"] | out["flags2"] << 32
    assert (out["major"], out["minor"]) == (7, minor)
    assert taken & ~OFFERS[minor] == 0
    assert taken == OFFERS[minor] & negotiation.wanted(Example())


def test_a_newer_minor_is_answered_with_ours() -> None:
    assert init_out(Example(), init_body(99, EVERYTHING))["minor"] == 45


def test_flags_are_negotiated_by_flag_not_by_version() -> None:
    """A 7.31 kernel with features carried back to it gets them."""
    body = wire.INIT_IN.pack(7, 31, 0, EVERYTHING & 0xFFFFFFFF, EVERYTHING >> 32)
    out = init_out(Filesystem(), body)
    assert out["flags2"] << 32 & InitFlag.NO_EXPORT_SUPPORT


def test_without_init_ext_there_is_no_flags2() -> None:
    body = wire.INIT_IN.pack(7, 45, 0, EVERYTHING & 0xFFFFFFFF & ~InitFlag.INIT_EXT, EVERYTHING >> 32)
    out = init_out(Filesystem(), body)
    assert out["flags2"] == 0 and not out["flags"] & InitFlag.INIT_EXT


def test_a_short_init_with_init_ext_does_not_invent_flags2() -> None:
    out = init_out(Filesystem(), wire.COMPAT_INIT_IN.pack(7, 36, 0, EVERYTHING & 0xFFFFFFFF))
    assert out["flags2"] == 0


def test_what_a_filesystem_asks_for() -> None:
    class Asking(Filesystem):
        posix_acl = True
        passthrough = True
        export = True

    out = init_out(Asking(), init_body(45, EVERYTHING))
    flags = out["flags"] | out["flags2"] << 32
    assert flags & InitFlag.POSIX_ACL and flags & InitFlag.PASSTHROUGH and flags & InitFlag.EXPORT_SUPPORT
    assert not flags & InitFlag.NO_EXPORT_SUPPORT
    assert out["max_stack_depth"] == 1
    plain = init_out(Filesystem(), init_body(45, EVERYTHING))
    flags = plain["flags"] | plain["flags2"] << 32
    assert not flags & (InitFlag.POSIX_ACL | InitFlag.PASSTHROUGH | InitFlag.EXPORT_SUPPORT)
    assert plain["max_stack_depth"] == 0


def test_readdirplus_is_always_and_caches_are_invalidated_only_on_request() -> None:
    flags = init_out(Filesystem(), init_body(45, EVERYTHING))["flags"]
    assert flags & InitFlag.DO_READDIRPLUS and not flags & InitFlag.READDIRPLUS_AUTO
    assert flags & InitFlag.EXPLICIT_INVAL_DATA and not flags & InitFlag.AUTO_INVAL_DATA
    assert not flags & (InitFlag.WRITEBACK_CACHE | InitFlag.POSIX_LOCKS | InitFlag.FLOCK_LOCKS)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (MountOptions(), "max_readahead", 131072),
        (MountOptions(max_readahead=65536), "max_readahead", 65536),
        (MountOptions(max_readahead=1 << 30), "max_readahead", 131072),
        (MountOptions(max_readahead=-1), "max_readahead", 0),
        (MountOptions(), "max_background", 12),
        (MountOptions(), "congestion_threshold", 9),
        (MountOptions(max_background=1), "congestion_threshold", 1),
        (MountOptions(max_background=0), "max_background", 1),
        (MountOptions(max_background=1 << 20), "max_background", 65535),
        (MountOptions(), "max_write", 4096),
        (MountOptions(max_write=1), "max_write", 4096),
        (MountOptions(max_write=1 << 20), "max_write", 1 << 20),
        (MountOptions(), "max_pages", 256),
        (MountOptions(max_request=1), "max_pages", 1),
        (MountOptions(max_request=4097), "max_pages", 2),
        (MountOptions(max_request=1 << 40), "max_pages", 65535),
        (MountOptions(), "time_gran", 1),
    ],
)
def test_options_reach_the_kernel(options: MountOptions, field: str, value: int) -> None:
    assert init_out(Filesystem(), init_body(45, EVERYTHING), options)[field] == value


def test_requests_are_counted_in_the_machine_s_pages() -> None:
    assert init_out(Filesystem(), init_body(45, EVERYTHING), page_size=65536)["max_pages"] == 16


def test_a_newer_major_is_told_ours_and_asks_again() -> None:
    engine = Engine(Example())
    reply = ask(engine, Opcode.INIT, wire.INIT_IN.pack(8, 3, 0, 0, 0))
    assert reply.errno == 0 and wire.INIT_OUT.unpack(reply.payload)[:2] == (7, 45)
    assert engine.config is None and engine.failure is None
    assert ask(engine, Opcode.INIT, init_body(45, EVERYTHING)).errno == 0
    assert engine.config is not None


@pytest.mark.parametrize(("major", "minor"), [(6, 99), (7, 25), (7, 0), (0, 0)])
def test_an_older_kernel_is_refused_in_plain_words(major: int, minor: int) -> None:
    engine = Engine(Example())
    reply = ask(engine, Opcode.INIT, init_body(minor, EVERYTHING, major=major))
    assert reply.errno == EPROTO
    assert engine.failure is not None and f"{major}.{minor}" in engine.failure and "7.26" in engine.failure
    assert engine.config is None


def test_init_cut_at_any_length() -> None:
    whole = init_body(45, EVERYTHING)
    for size in range(len(whole)):
        errno = ask(Engine(Example()), Opcode.INIT, whole[:size]).errno
        assert errno == (EINVAL if size < 8 else EPROTO if size < 16 else 0)


def test_init_comes_once() -> None:
    engine = connect(Example(), 26)
    before = engine.config
    assert ask(engine, Opcode.INIT, init_body(45, EVERYTHING)).errno == EINVAL
    assert engine.config is before


def test_the_filesystem_hears_what_was_agreed_and_whom_it_serves() -> None:
    heard: list[tuple[Context, Config]] = []

    class Listening(Filesystem):
        def init(self, ctx: Context, config: Config) -> None:
            heard.append((ctx, config))

    connect(Listening(), 31)
    [(ctx, config)] = heard
    assert (ctx.uid, ctx.gid, ctx.pid) == (1000, 100, 42)
    assert (config.major, config.minor, config.max_readahead, config.max_request) == (7, 31, 131072, 1 << 20)
    assert config.flags & InitFlag.MAX_PAGES


def test_without_max_pages_requests_have_32() -> None:
    engine = connect(Example(), 26)
    assert engine.config is not None and engine.config.max_request == 131072


def test_a_filesystem_that_cannot_begin_ends_the_mount() -> None:
    class Failing(Filesystem):
        def init(self, ctx: Context, config: Config) -> None:
            raise RuntimeError("no disk")

    log: list[str] = []
    engine = Engine(Failing(), log=log.append)
    assert ask(engine, Opcode.INIT, init_body(45, EVERYTHING)).errno == EIO
    assert engine.failure == "the filesystem could not begin: no disk"
    assert "RuntimeError: no disk" in log[0]
    assert ask(engine, Opcode.STATFS).errno == EIO


def test_what_was_agreed_serves_on_in_another_engine() -> None:
    first = connect(Example(), 38)
    heard: list[Config] = []

    class Heir(Example):
        def init(self, ctx: Context, config: Config) -> None:
            heard.append(config)

    second = Engine(Heir())
    second.resume(first.negotiated)
    assert second.config == first.config == heard[0]
    assert second.negotiated == first.negotiated
    for opcode in (Opcode.LOOKUP, Opcode.READDIRPLUS, Opcode.OPEN):
        assert ask(first, opcode) == ask(second, opcode)


@pytest.mark.parametrize("data", [b"", b"rfn1", bytes(28), b"rfn1" + bytes(24), b"rfn1" + bytes(25)])
def test_only_an_agreement_is_resumed(data: bytes) -> None:
    with pytest.raises(ValueError):
        Engine(Example()).resume(data)


def test_nothing_is_handed_on_before_init() -> None:
    with pytest.raises(ValueError, match="nothing was negotiated"):
        _ = Engine(Example()).negotiated


def test_destroy_is_told_once_and_only_after_a_beginning() -> None:
    ended: list[int] = []

    class Ending(Filesystem):
        def destroy(self, ctx: Context) -> None:
            ended.append(1)

    engine = Engine(Ending())
    engine.destroy()
    assert ended == []
    engine = connect(Ending())
    check(engine.handle(request(Opcode.DESTROY)))
    engine.destroy()
    assert ended == [1]
