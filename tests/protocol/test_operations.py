"""What each operation makes of a filesystem's answers."""

from __future__ import annotations

import math
import mmap
import stat
from array import array
from collections.abc import Sequence
from errno import (
    E2BIG,
    EACCES,
    EINVAL,
    ELOOP,
    ENAMETOOLONG,
    ENOSYS,
    ENXIO,
    ERANGE,
    EROFS,
)
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount import encoding, wire
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import (
    Attr,
    Context,
    Entry,
    ForgetEntry,
    OpenResponse,
    StatFS,
    Statx,
)
from rofuse_mount.wire import Opcode, OpenFlag
from tests.protocol.kernel import BODIES, Example, answering, ask, check, connect, read_body, request

NS = 1_000_000_000


def mapped(data: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


def entry_out(payload: bytes) -> dict[str, int]:
    return dict(zip(wire.ENTRY_OUT.fields, wire.ENTRY_OUT.unpack(payload), strict=True))


# --- names and attributes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "errno"),
    [
        (b"", EINVAL),
        (b"\0", EINVAL),
        (b"no-nul", EINVAL),
        (b"a\0b\0", EINVAL),
        (b"a/b\0", EINVAL),
        (b"/\0", EINVAL),
        (b"x" * 255 + b"\0", 0),
        (b"x" * 256 + b"\0", ENAMETOOLONG),
        (b"\xff\xfe\n\0", 0),
    ],
)
def test_names_are_checked_before_they_are_looked_up(name: bytes, errno: int) -> None:
    asked: list[bytes] = []

    class Asked(Filesystem):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
            asked.append(name)
            return Entry(0)

    assert ask(connect(Asked()), Opcode.LOOKUP, name).errno == errno
    assert asked == ([] if errno else [name[:-1]])


def test_a_name_does_not_change_when_the_buffer_is_used_again() -> None:
    names: list[bytes] = []

    class Keeping(Filesystem):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
            names.append(name)
            return Entry(0)

    buffer = bytearray(request(Opcode.LOOKUP, b"name\0"))
    engine = connect(Keeping())
    engine.handle(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert names == [b"name"]


def test_an_entry_s_fields_arrive() -> None:
    attr = Attr(
        7, stat.S_IFCHR | 0o600, 2, 1000, 9, 11, 12, 0x0801, 1 * NS + 5, -1, 3 * NS + 999_999_999, 512, 1
    )  # fmt: skip
    out = entry_out(ask(connect(answering("lookup", Entry(6, attr, 8, 1.5, 0.25))), Opcode.LOOKUP).payload)
    assert out == {
        "nodeid": 6, "generation": 8, "entry_valid": 1, "attr_valid": 0,
        "entry_valid_nsec": 500_000_000, "attr_valid_nsec": 250_000_000,
        "ino": 7, "size": 1000, "blocks": 9, "atime": 1, "mtime": 2**64 - 1, "ctime": 3,
        "atimensec": 5, "mtimensec": 999_999_999, "ctimensec": 999_999_999, "mode": stat.S_IFCHR | 0o600,
        "nlink": 2, "uid": 11, "gid": 12, "rdev": 0x0801, "blksize": 512, "flags": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (1, 1), (512, 1), (513, 2), (1 << 40, 1 << 31)])
def test_blocks_follow_from_the_size(size: int, blocks: int) -> None:
    assert entry_out(encoding.pack_entry(Entry(1, Attr(1, size=size))))["blocks"] == blocks


def test_a_negative_entry_is_cached() -> None:
    out = entry_out(
        ask(connect(answering("lookup", Entry(0, entry_timeout=math.inf))), Opcode.LOOKUP).payload
    )
    assert out["nodeid"] == 0 and out["entry_valid"] == encoding.FOREVER
    assert sum(out.values()) == encoding.FOREVER


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (math.inf, (0xFFFFFFFF, 0)),
        (1e30, (0xFFFFFFFF, 0)),
        (0.0, (0, 0)),
        (-5.0, (0, 0)),
        (math.nan, (0, 0)),
        (1.5, (1, 500_000_000)),
        (3, (3, 0)),
    ],
)
def test_validity(timeout: float, expected: tuple[int, int]) -> None:
    assert encoding.validity(timeout) == expected


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
def test_validity_is_within_a_nanosecond_and_always_well_formed(timeout: float) -> None:
    seconds, nanoseconds = encoding.validity(timeout)
    assert 0 <= nanoseconds < NS and 0 <= seconds <= encoding.FOREVER
    if timeout < encoding.FOREVER:
        assert abs(seconds + nanoseconds / NS - timeout) <= max(1e-9, timeout * 1e-15)


@given(st.integers(-(2**63), 2**63 - 1))
def test_times_before_and_after_1970_arrive_to_the_nanosecond(time_ns: int) -> None:
    out = entry_out(encoding.pack_entry(Entry(1, Attr(1, mtime_ns=time_ns))))
    seconds = out["mtime"] - (1 << 64 if out["mtime"] >> 63 else 0)  # as the kernel reads it
    assert seconds * NS + out["mtimensec"] == time_ns and out["mtimensec"] < NS


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_wire_ready_bytes_are_as_good_as_records(kind: type) -> None:
    entry = Entry(5, Attr(5, stat.S_IFREG | 0o644))
    cases: list[tuple[str, int, object, bytes]] = [
        ("lookup", Opcode.LOOKUP, entry, encoding.pack_entry(entry)),
        ("getattr", Opcode.GETATTR, Attr(5), encoding.pack_attr(Attr(5))),
        ("getattr", Opcode.GETATTR, (Attr(5), 60.0), encoding.pack_attr(Attr(5), 60.0)),
        ("statfs", Opcode.STATFS, StatFS(1, 2, 3, 4, 5), encoding.pack_statfs(StatFS(1, 2, 3, 4, 5))),
        ("statx", Opcode.STATX, Statx(Attr(5)), encoding.pack_statx(Statx(Attr(5)))),
        (
            "open",
            Opcode.OPEN,
            OpenResponse(9, keep_cache=True),
            wire.OPEN_OUT.pack(9, OpenFlag.KEEP_CACHE, 0),
        ),
    ]
    for method, opcode, record, packed in cases:
        assert ask(connect(answering(method, record)), opcode).payload == packed
        assert ask(connect(answering(method, kind(packed))), opcode).payload == packed


def test_getattr_is_told_the_handle_only_where_there_is_one() -> None:
    handles: list[int | None] = []

    class Handled(Filesystem):
        def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
            handles.append(fh)
            return Attr(1)

        def statx(self, ctx: Context, ino: int, fh: int | None, flags: int, mask: int) -> Statx:
            handles.append(fh)
            return Statx(Attr(1))

    engine = connect(Handled())
    ask(engine, Opcode.GETATTR, wire.GETATTR_IN.pack(0, 0, 5))
    ask(engine, Opcode.GETATTR, wire.GETATTR_IN.pack(1, 0, 5))
    ask(engine, Opcode.STATX, wire.STATX_IN.pack(0, 0, 5, 0, 0))
    ask(engine, Opcode.STATX, wire.STATX_IN.pack(1, 0, 5, 0, 0))
    assert handles == [None, 5, None, 5]


def test_statx_tells_the_birth_where_it_is_known() -> None:
    def out(statx: Statx) -> dict[str, int]:
        payload = ask(connect(answering("statx", statx)), Opcode.STATX).payload
        return dict(zip(wire.STATX_OUT.fields, wire.STATX_OUT.unpack(payload), strict=True))

    attr = Attr(5, stat.S_IFBLK | 0o660, size=700, rdev=0x12345678, mtime_ns=-1, ctime_ns=4 * NS + 2)
    with_birth = out(Statx(attr, btime_ns=-NS - 1, attributes=0x10, attributes_mask=0x30, attr_timeout=2.0))
    assert with_birth["mask"] == 0xFFF and with_birth["attr_valid"] == 2
    assert (with_birth["btime"], with_birth["btimensec"]) == (-2, 999_999_999)
    assert (with_birth["mtime"], with_birth["mtimensec"]) == (-1, 999_999_999)
    assert (with_birth["ctime"], with_birth["ctimensec"]) == (4, 2)
    assert (with_birth["rdev_major"], with_birth["rdev_minor"]) == (0x456, 0x12378)
    assert (with_birth["attributes"], with_birth["attributes_mask"]) == (0x10, 0x30)
    assert (with_birth["size"], with_birth["blocks"], with_birth["mode"]) == (700, 2, stat.S_IFBLK | 0o660)
    assert out(Statx(attr))["mask"] == 0x7FF


@pytest.mark.parametrize(("length", "errno"), [(1, 0), (4095, 0), (4096, ENAMETOOLONG)])
def test_a_link_s_target_has_a_page_at_most(length: int, errno: int) -> None:
    assert ask(connect(answering("readlink", b"x" * length)), Opcode.READLINK).errno == errno


def test_forgets_arrive_singly_and_in_batches() -> None:
    filesystem = Example()
    engine = connect(filesystem)
    engine.handle(request(Opcode.FORGET, wire.FORGET_IN.pack(3), nodeid=9))
    engine.handle(request(Opcode.BATCH_FORGET, BODIES[Opcode.BATCH_FORGET]))
    assert filesystem.calls == [("forget", 9, 3), ("forget", 2, 1), ("forget", 3, 4)]


def test_a_batch_that_claims_too_much_forgets_what_is_there() -> None:
    batches: list[Sequence[ForgetEntry]] = []

    class Batched(Filesystem):
        def batch_forget(self, ctx: Context, entries: Sequence[ForgetEntry]) -> None:
            batches.append(entries)

    engine = connect(Batched())
    body = wire.BATCH_FORGET_IN.pack(0xFFFFFFFF, 0) + wire.FORGET_ONE.pack(2, 1) + bytes(15)
    assert engine.handle(request(Opcode.BATCH_FORGET, body)) is None
    assert batches == [[ForgetEntry(2, 1)]]


# --- files ------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [1, 2, 3, 0o1000, 0o1001, 0o100002])
def test_opening_to_write_is_erofs_and_never_asked(flags: int) -> None:
    filesystem = answering("open", AssertionError("asked"))
    assert ask(connect(filesystem), Opcode.OPEN, wire.OPEN_IN.pack(flags, 0)).errno == EROFS


@pytest.mark.parametrize("opcode", [Opcode.OPEN, Opcode.OPENDIR])
def test_a_stateless_open_is_enosys_where_the_kernel_understands(opcode: int) -> None:
    assert ask(connect(Filesystem(), 45), opcode).errno == ENOSYS
    old = ask(connect(Filesystem(), 26, flags=0), opcode)
    cached = OpenFlag.KEEP_CACHE | (OpenFlag.CACHE_DIR if opcode == Opcode.OPENDIR else 0)
    assert old.errno == 0 and wire.OPEN_OUT.unpack(old.payload) == (0, cached, 0)


def test_an_error_of_open_is_not_taken_for_statelessness() -> None:
    assert ask(connect(answering("open", PermissionError()), 26, flags=0), Opcode.OPEN).errno == EACCES


@pytest.mark.parametrize(
    ("response", "flags"),
    [
        (OpenResponse(5), 0),
        (OpenResponse(5, keep_cache=True), OpenFlag.KEEP_CACHE),
        (OpenResponse(5, direct_io=True), OpenFlag.DIRECT_IO),
        (OpenResponse(5, nonseekable=True), OpenFlag.NONSEEKABLE),
        (OpenResponse(5, cache_dir=True), OpenFlag.CACHE_DIR),
        (OpenResponse(5, backing_fd=3), 0),
    ],
)
def test_how_a_file_is_open(response: OpenResponse, flags: int) -> None:
    payload = ask(connect(answering("open", response)), Opcode.OPEN).payload
    assert wire.OPEN_OUT.unpack(payload) == (5, flags, 0)


class Registry:
    """The engine's Backing, of descriptors that are known."""

    def __init__(self, known: dict[int, int]) -> None:
        self.known, self.released = known, list[int]()

    def acquire(self, ino: int, fd: int) -> int:
        if fd not in self.known:
            raise OSError(ELOOP, "a stack on a stack")
        return self.known[fd]

    def release(self, ino: int) -> None:
        self.released.append(ino)


def test_passthrough_names_the_backing_file_and_nothing_about_caches() -> None:
    engine = connect(answering("open", OpenResponse(5, keep_cache=True, backing_fd=33), passthrough=True))
    engine.backing = Registry({33: 4})
    assert wire.OPEN_OUT.unpack(ask(engine, Opcode.OPEN).payload) == (5, OpenFlag.PASSTHROUGH, 4)
    assert engine.backing.released == []
    ask(engine, Opcode.RELEASE, wire.RELEASE_IN.pack(5, 0, 0, 0))
    assert len(engine.backing.released) == 1


def test_a_file_that_cannot_be_passed_through_is_read() -> None:
    response = OpenResponse(5, keep_cache=True, backing_fd=33)
    engine = connect(answering("open", response, passthrough=True))
    engine.backing = Registry({})
    assert wire.OPEN_OUT.unpack(ask(engine, Opcode.OPEN).payload) == (5, OpenFlag.KEEP_CACHE, 0)
    not_granted = connect(answering("open", response, passthrough=True), 31)
    not_granted.backing = Registry({33: 4})
    assert wire.OPEN_OUT.unpack(ask(not_granted, Opcode.OPEN).payload) == (5, OpenFlag.KEEP_CACHE, 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        (b"abcdefgh!", b"abcdefgh"),
        (bytearray(b"abcdefgh!"), b"abcdefgh"),
        (memoryview(b"abcdefgh!"), b"abcdefgh"),
        (memoryview(b"abcdefgh").cast("H"), b"abcdefgh"),
        (memoryview(b"abcdefgh??").cast("H"), b"abcdefgh"),
        (memoryview(b"a.b.c.")[::2], b"abc"),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
        (memoryview(b""), b""),
        (array("H", b"abcdefgh??"), b"abcdefgh"),
        (mapped(b"abcdefgh!"), b"abcdefgh"),
        ([], b""),
        ([b""], b""),
        ([mapped(b"ab"), array("B", b"cd")], b"abcd"),
        ([b"ab", memoryview(b"cd"), bytearray(b"ef")], b"abcdef"),
        ((b"abcd", b"efgh", b"ijkl"), b"abcdefgh"),
        ([b"abcdef", memoryview(b"ghij"), b"x"], b"abcdefgh"),
        ([b"x"] * 5000, b"x" * 8),
    ],
)
def test_a_read_is_cut_to_what_was_asked_for(data: Any, expected: bytes) -> None:
    reply = ask(connect(answering("read", data)), Opcode.READ, read_body(8))
    assert reply.errno == 0 and reply.payload == expected


def test_a_read_s_buffers_are_passed_on_untouched() -> None:
    data = memoryview(bytearray(8192))
    [_, part] = connect(answering("read", data)).handle(request(Opcode.READ, read_body(8192))) or []
    assert part is data
    parts = [data[:4096], b"zeros", data[4096:]]
    reply = connect(answering("read", parts)).handle(request(Opcode.READ, read_body(1 << 17)))
    assert reply is not None
    assert [memoryview(p).obj for p in reply[1:]] == [data.obj, b"zeros", data.obj]


def test_more_buffers_than_one_writev_takes_are_joined() -> None:
    reply = connect(answering("read", [b"ab"] * 5000)).handle(request(Opcode.READ, read_body(1 << 17)))
    answer = check(reply)
    assert answer is not None and answer.payload == b"ab" * 5000


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS])
def test_an_absurd_size_is_refused_before_anything_is_made(opcode: int) -> None:
    assert ask(connect(Example()), opcode, read_body(0xFFFFFFFF)).errno == EINVAL


def test_lseek_ioctl_poll_and_bmap_arrive() -> None:
    filesystem = Example()
    engine = connect(filesystem)
    assert ask(engine, Opcode.LSEEK, wire.LSEEK_IN.pack(0, 2, 4, 0)).payload == wire.LSEEK_OUT.pack(6)
    assert ask(engine, Opcode.LSEEK, wire.LSEEK_IN.pack(0, 6, 3, 0)).errno == ENXIO
    assert ask(engine, Opcode.IOCTL).payload == wire.IOCTL_OUT.pack(5, 0, 0, 0) + b"\4\3\2\1"
    assert ask(engine, Opcode.POLL, wire.POLL_IN.pack(0, 7, 1, 5)).payload == wire.POLL_OUT.pack(5, 0)
    assert ask(engine, Opcode.POLL, wire.POLL_IN.pack(0, 7, 0, 5)).errno == 0
    assert filesystem.calls == [("poll", 7), ("poll", None)]
    assert ask(engine, Opcode.BMAP, wire.BMAP_IN.pack(3, 512, 0)).payload == wire.BMAP_OUT.pack(103)


def test_releases_arrive() -> None:
    filesystem = Example()
    engine = connect(filesystem)
    ask(engine, Opcode.RELEASE, wire.RELEASE_IN.pack(77, 0, 0, 0), nodeid=2)
    ask(engine, Opcode.RELEASEDIR, wire.RELEASE_IN.pack(78, 0, 0, 0), nodeid=1)
    assert filesystem.calls == [("release", 2, 77), ("releasedir", 1, 78)]


# --- extended attributes ----------------------------------------------------------------


def getxattr(value: Any, size: int) -> tuple[int, bytes]:
    body = wire.GETXATTR_IN.pack(size, 0) + b"user.a\0"
    return ask(connect(answering("getxattr", value)), Opcode.GETXATTR, body)


@given(value=st.binary(max_size=64), size=st.integers(0, 70))
def test_getxattr_tells_the_size_the_value_or_erange(value: bytes, size: int) -> None:
    if size == 0:
        assert getxattr(value, 0) == (0, wire.GETXATTR_OUT.pack(len(value), 0))
    elif size < len(value):
        assert getxattr(value, size) == (ERANGE, b"")
    else:
        assert getxattr(value, size) == (0, value)


def test_a_value_may_be_any_buffer() -> None:
    for value in (
        b"value",
        bytearray(b"value"),
        memoryview(b"value"),
        mapped(b"value"),
        array("B", b"value"),
    ):
        assert getxattr(value, 5) == (0, b"value")
        assert ask(connect(answering("readlink", value)), Opcode.READLINK).payload == b"value"


def test_an_attribute_has_64_kib_at_most() -> None:
    assert getxattr(bytes(65536), 65536) == (0, bytes(65536))
    assert getxattr(bytes(65537), 0)[0] == E2BIG


@pytest.mark.parametrize("name", [b"", b"\0", b"user.a", b"user.a\0b\0"])
def test_an_attribute_s_name_is_checked(name: bytes) -> None:
    assert ask(connect(Example()), Opcode.GETXATTR, wire.GETXATTR_IN.pack(9, 0) + name).errno == EINVAL


def test_listxattr_ends_each_name_and_stops_at_the_kernel_s_limit() -> None:
    def names() -> Any:
        while True:
            yield b"user.endless"

    engine = connect(answering("listxattr", [b"user.a", b"user.b"]))
    assert ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(14, 0)).payload == b"user.a\0user.b\0"
    assert ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(13, 0)).errno == ERANGE
    assert ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(0, 0)).payload == wire.GETXATTR_OUT.pack(14, 0)
    assert ask(connect(answering("listxattr", names())), Opcode.LISTXATTR).errno == E2BIG
