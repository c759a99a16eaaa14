"""The wire log: a line and a JSON object for each request, whatever its bytes."""

from __future__ import annotations

import json
import mmap

import pytest

from rofuse_mount import wire
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Buffer, Context, Entry
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import BODIES, OFFERS, Example, connect, init_body, read_body, request


def line(opcode: int, body: bytes | None = None, *, unique: int = 12, nodeid: int = 1) -> str:
    engine = connect(Example())
    sent = request(opcode, BODIES.get(opcode, b"") if body is None else body, unique=unique, nodeid=nodeid)
    return engine.describe(sent, engine.handle(sent))


@pytest.mark.parametrize(
    ("opcode", "body", "expected"),
    [
        (
            Opcode.LOOKUP,
            b"dir\0",
            (
                'LOOKUP unique=12 nodeid=1 name=b"dir" -> nodeid=4 entry_valid=1 attr_valid=4294967295'
                " size=0 mode=040700 nlink=2"
            ),
        ),
        (Opcode.LOOKUP, b'\xff"\\\n\0', 'LOOKUP unique=12 nodeid=1 name=b"\\xff\\x22\\x5c\\x0a" -> nodeid=0 '),
        (Opcode.LOOKUP, b"a/b\0", 'LOOKUP unique=12 nodeid=1 name=b"a/b" -> EINVAL'),
        (Opcode.READ, read_body(4096, 2, 77), "READ unique=12 nodeid=1 fh=77 offset=2 size=4096 -> bytes=4"),
        (Opcode.READ, read_body(4096, 9), "READ unique=12 nodeid=1 offset=9 size=4096 -> bytes=0"),
        (Opcode.READ, b"short", "READ unique=12 nodeid=1 len=5 -> EINVAL"),
        (Opcode.READDIRPLUS, None, "READDIRPLUS unique=12 nodeid=1 offset=0 size=4096 -> entries=5 bytes=800"),
        (Opcode.READDIR, None, "READDIR unique=12 nodeid=1 offset=0 size=4096 -> entries=5 bytes=160"),
        (Opcode.READLINK, None, 'READLINK unique=12 nodeid=1 -> target=b"hello"'),
        (Opcode.OPEN, None, "OPEN unique=12 nodeid=1 -> fh=77 open_flags=KEEP_CACHE"),
        (Opcode.FORGET, None, "FORGET unique=12 nodeid=1 nlookup=1 -> no reply"),
        (Opcode.INTERRUPT, None, "INTERRUPT unique=12 nodeid=1 interrupts=4660 -> no reply"),
        (Opcode.RELEASE, None, "RELEASE unique=12 nodeid=1 -> ok"),
        (Opcode.GETXATTR, None, 'GETXATTR unique=12 nodeid=1 size=0 name=b"user.a" -> size=5'),
        (Opcode.RENAME, None, 'RENAME unique=12 nodeid=1 newdir=1 name=b"hello" newname=b"new" -> EROFS'),
        (Opcode.CREATE, None, 'CREATE unique=12 nodeid=1 flags=65 mode=000644 umask=000022 name=b"new" -> EROFS'),
        (99, b"", "OPCODE_99 unique=12 nodeid=1 -> ENOSYS"),
    ],
)  # fmt: skip
def test_a_request_and_its_reply_are_one_line(opcode: int, body: bytes | None, expected: str) -> None:
    assert line(opcode, body).startswith(expected)
    assert line(opcode, body).isprintable()


def test_a_resent_request_says_so() -> None:
    assert line(Opcode.READLINK, unique=12 | wire.UNIQUE_RESEND).startswith(
        "READLINK unique=12 resend nodeid=1"
    )


def test_init_names_the_flags_on_both_sides() -> None:
    engine = Engine(Example())
    sent = request(Opcode.INIT, init_body(45, OFFERS[45] | 1 << 50))
    text = engine.describe(sent, engine.handle(sent))
    asked, _, granted = text.partition(" -> ")
    assert "|REQUEST_TIMEOUT|0x4000000000000" in asked
    assert "minor=45" in granted and "DO_READDIRPLUS" in granted and "WRITEBACK_CACHE" not in granted


def test_json_has_every_field_in_one_object() -> None:
    engine = connect(Example())
    sent = request(Opcode.LOOKUP, b"hello\0", nodeid=1)
    record = json.loads(engine.describe_json(sent, engine.handle(sent)))
    assert list(record) == ["op", "unique", "nodeid", "uid", "gid", "pid", "request", "error", "reply"]
    assert (record["op"], record["uid"], record["pid"], record["error"]) == ("LOOKUP", 1000, 42, None)
    assert record["request"] == {"name": "hello"}
    assert record["reply"]["nodeid"] == 2 and record["reply"]["mtimensec"] == 7


def test_json_names_that_are_no_utf_8_have_surrogate_escapes() -> None:
    engine = connect(Example())
    sent = request(Opcode.LOOKUP, b"\xff\0")
    text = engine.describe_json(sent, engine.handle(sent))
    assert text.isascii()
    assert json.loads(text)["request"]["name"].encode("utf-8", "surrogateescape") == b"\xff"


def test_json_of_an_error_and_of_no_reply() -> None:
    engine = connect(Example())
    for opcode, error in ((Opcode.UNLINK, "EROFS"), (Opcode.FORGET, None)):
        sent = request(opcode, BODIES[opcode])
        record = json.loads(engine.describe_json(sent, engine.handle(sent)))
        assert record["error"] == error and record["reply"] is None


@pytest.mark.parametrize("opcode", [*range(61), 4096])
def test_a_request_cut_anywhere_is_described(opcode: int) -> None:
    engine = connect(Example())
    whole = request(opcode, BODIES.get(opcode, b""))
    for size in range(len(whole)):
        reply = engine.handle(whole[:size])
        assert engine.describe(whole[:size], reply).isprintable()
        json.loads(engine.describe_json(whole[:size], reply))


def test_what_was_read_is_not_looked_at() -> None:
    """A page behind the end of a truncated file kills whoever touches it."""
    mapping = mmap.mmap(-1, 4096)
    view = memoryview(mapping)

    class Mapped(Filesystem):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
            return Entry(0)

        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Buffer:
            return view

    engine = connect(Mapped())
    sent = request(Opcode.READ, read_body(4096))
    reply = engine.handle(sent)
    assert reply is not None and reply[1] is view
    pages = mapping[:]
    view.release()
    mapping.close()
    assert len(pages) == 4096
    assert engine.describe(sent, reply).endswith("-> bytes=4096")  # a released view cannot be read
