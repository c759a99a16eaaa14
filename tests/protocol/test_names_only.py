"""A filesystem that lists and has no ``getattr``: what was said with a name holds, and there is a root."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from errno import ENOENT

import pytest

from rofuse_mount import wire
from rofuse_mount.encoding import FOREVER, pack_entry
from rofuse_mount.filesystem import Attr, Context, DirEntry, DirEntryPlus, Entry, Filesystem
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import ask, connect

FILE = Attr(2, stat.S_IFREG | 0o640, size=5)


class Looking(Filesystem):
    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry | bytes:
        return Entry(2, FILE, entry_timeout=0.5, attr_timeout=0)


class Listing(Looking):
    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntry]:
        return [] if offset else [DirEntry(2, 1, 8, b"file")]


class ListingPlus(Filesystem):
    def readdirplus(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntryPlus]:
        return [DirEntryPlus(Entry(2, FILE, attr_timeout=0), 1, b"file")]


class Complete(Listing):
    def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
        return Attr(ino, stat.S_IFDIR | 0o700)


def fields(payload: bytes, layout: wire.Layout = wire.ENTRY_OUT) -> dict[str, int]:
    return dict(zip(layout.fields, layout.unpack(payload[: layout.size]), strict=True))


@pytest.mark.parametrize("kind", [Listing, ListingPlus])
def test_the_root_is_a_plain_directory(kind: type[Filesystem]) -> None:
    attr = fields(ask(connect(kind()), Opcode.GETATTR).payload, wire.ATTR_OUT)
    assert (attr["ino"], attr["mode"], attr["nlink"]) == (1, stat.S_IFDIR | 0o555, 2)
    assert attr["attr_valid"] == FOREVER
    assert ask(connect(kind()), Opcode.GETATTR, nodeid=2).errno == ENOENT


@pytest.mark.parametrize("kind", [Filesystem, Looking])
def test_a_filesystem_that_lists_nothing_has_no_root(kind: type[Filesystem]) -> None:
    assert ask(connect(kind()), Opcode.GETATTR).errno == ENOENT


@pytest.mark.parametrize(
    ("kind", "opcode"),
    [(Listing, Opcode.LOOKUP), (Listing, Opcode.READDIRPLUS), (ListingPlus, Opcode.READDIRPLUS)],
)
def test_attributes_said_with_a_name_hold(kind: type[Filesystem], opcode: int) -> None:
    entry = fields(ask(connect(kind()), opcode).payload)
    assert (entry["attr_valid"], entry["attr_valid_nsec"]) == (FOREVER, 0)
    assert entry["size"] == 5


@pytest.mark.parametrize("kind", [Listing, Looking])
def test_how_long_a_name_holds_is_the_filesystems_to_say(kind: type[Filesystem]) -> None:
    entry = fields(ask(connect(kind()), Opcode.LOOKUP).payload)
    assert (entry["entry_valid"], entry["entry_valid_nsec"]) == (0, 500_000_000)


@pytest.mark.parametrize(
    ("kind", "opcode"),
    [(Looking, Opcode.LOOKUP), (Complete, Opcode.LOOKUP), (Complete, Opcode.READDIRPLUS)],
)
def test_otherwise_they_hold_as_long_as_they_say(kind: type[Filesystem], opcode: int) -> None:
    assert fields(ask(connect(kind()), opcode).payload)["attr_valid"] == 0


def test_getattr_is_asked_of_the_root_where_it_is_written() -> None:
    engine = connect(Complete())
    assert fields(ask(engine, Opcode.GETATTR).payload, wire.ATTR_OUT)["mode"] == stat.S_IFDIR | 0o700


def test_wire_ready_bytes_are_sent_as_they_are() -> None:
    ready = pack_entry(Entry(2, FILE, attr_timeout=3))

    class Ready(Listing):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry | bytes:
            return ready

    assert ask(connect(Ready()), Opcode.LOOKUP).payload == ready
