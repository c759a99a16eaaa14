"""Directory listings: whole, in order, however small the kernel's buffer, and every lookup accounted for."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from errno import EINVAL, EIO, ENOTDIR
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount import wire
from rofuse_mount.encoding import UNKNOWN_INO, dirent, direntplus, pack_entry
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Attr, Buffer, Context, DirEntry, DirEntryPlus, Entry
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import ask, connect, read_body

DOTS = (b".", b"..")
NAMES = st.lists(
    st.binary(min_size=1, max_size=255).filter(lambda n: not {0, 47} & set(n) and n not in DOTS),
    unique=True,
    max_size=40,
)


class Seen(NamedTuple):
    name: bytes
    offset: int
    ino: int
    type: int
    nodeid: int | None  # of READDIRPLUS


def parse(listing: bytes, plus: bool) -> Iterator[Seen]:
    """As the kernel parses a listing (fs/fuse/readdir.c)."""
    position = 0
    while position < len(listing):
        nodeid = None
        if plus:
            nodeid = wire.ENTRY_OUT.unpack_from(listing, position)[0]
            position += wire.ENTRY_OUT.size
        ino, offset, length, type_ = wire.DIRENT.unpack_from(listing, position)
        position += wire.DIRENT.size
        name = listing[position : position + length]
        assert 0 < length <= 255 and b"/" not in name
        assert not any(listing[position + length : position + wire.rec_align(length)])
        position += wire.rec_align(length)
        assert position <= len(listing)
        yield Seen(name, offset, ino, type_, nodeid)


class Counting(Filesystem):
    """Files of a root; keeps account of lookups as a filesystem that must know when an inode is unused would."""

    def __init__(self, names: list[bytes]) -> None:
        self.names = [b".", b"..", *names]
        self.lookups: Counter[int] = Counter()
        self.closed = 0

    def attr(self, name: bytes) -> Attr:
        number = self.names.index(name)
        return Attr(1, stat.S_IFDIR) if number < 2 else Attr(number + 100, stat.S_IFREG)

    def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
        attr = self.attr(name)
        self.lookups[attr.ino] += 1
        return Entry(attr.ino, attr)

    def forget(self, ctx: Context, ino: int, nlookup: int) -> None:
        self.lookups[ino] -= nlookup

    def entries(self, offset: int) -> Iterator[DirEntry]:
        try:
            for number, name in enumerate(self.names[offset:], offset + 1):
                attr = self.attr(name)
                yield DirEntry(attr.ino, number, attr.mode >> 12, name)
        finally:
            self.closed += 1


class Plain(Counting):
    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntry]:
        return self.entries(offset)


class Plus(Counting):
    def readdirplus(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntryPlus]:
        for entry in self.entries(offset):
            if entry.name in DOTS:
                yield DirEntryPlus(Entry(1, self.attr(entry.name)), entry.offset, entry.name)
            else:
                yield DirEntryPlus(self.lookup(ctx, ino, entry.name), entry.offset, entry.name)


class PackedPlain(Counting):
    def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntry] | Buffer:
        packed = b""
        for entry in self.entries(offset):
            record = dirent(len(entry.name))(entry.ino, entry.offset, len(entry.name), entry.type, entry.name)
            if len(packed) + len(record) > size:
                break
            packed += record
        return packed


class PackedPlus(Counting):
    def readdirplus(
        self, ctx: Context, ino: int, fh: int, offset: int, size: int
    ) -> Iterable[DirEntryPlus] | Buffer:
        packed = b""
        for entry in self.entries(offset):
            values = wire.ENTRY_OUT.unpack(pack_entry(Entry(entry.ino, self.attr(entry.name))))
            make = direntplus(len(entry.name))
            record = make(*values, entry.ino, entry.offset, len(entry.name), entry.type, entry.name)
            if len(packed) + len(record) > size:
                break
            if entry.name not in DOTS:
                self.lookups[entry.ino] += 1
            packed += record
        return packed


class CallingUp(Plain):
    def readdirplus(
        self, ctx: Context, ino: int, fh: int, offset: int, size: int
    ) -> Iterable[DirEntryPlus] | Buffer:
        return super().readdirplus(ctx, ino, fh, offset, size)


class PackedCallingUp(PackedPlain):
    def readdirplus(
        self, ctx: Context, ino: int, fh: int, offset: int, size: int
    ) -> Iterable[DirEntryPlus] | Buffer:
        return super().readdirplus(ctx, ino, fh, offset, size)


KINDS = [Plain, Plus, PackedPlain, PackedPlus, CallingUp, PackedCallingUp]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
@given(names=NAMES, sizes=st.lists(st.integers(408 + 32, 5000), min_size=1, max_size=6))
def test_a_directory_is_listed_whole_in_order_whatever_fits(
    kind: type[Counting], opcode: int, names: list[bytes], sizes: list[int]
) -> None:
    plus = opcode == Opcode.READDIRPLUS
    filesystem = kind(names)
    engine = connect(filesystem)
    seen: list[Seen] = []
    for turn in range(len(names) + 3):
        size = sizes[turn % len(sizes)]
        reply = ask(engine, opcode, read_body(size, seen[-1].offset if seen else 0))
        assert reply.errno == 0 and len(reply.payload) <= size
        batch = list(parse(reply.payload, plus))
        if not batch:
            break
        seen += batch
    assert [entry.name for entry in seen] == filesystem.names
    assert [entry.offset for entry in seen] == list(range(1, len(seen) + 1))
    assert [entry.ino for entry in seen] == [filesystem.attr(entry.name).ino for entry in seen]
    assert [entry.type for entry in seen] == [4, 4] + [8] * len(names)
    counted = {entry.nodeid: 1 for entry in seen if plus and entry.nodeid and entry.name not in DOTS}
    assert {ino: count for ino, count in filesystem.lookups.items() if count} == counted
    assert len(counted) == (len(names) if plus else 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
def test_any_position_can_be_come_back_to(kind: type[Counting], opcode: int) -> None:
    names = [b"%d" % n for n in range(50)]
    engine = connect(kind(names))
    for offset in (51, 0, 17, 3, 52, 40):
        batch = list(
            parse(ask(engine, opcode, read_body(4096, offset)).payload, opcode == Opcode.READDIRPLUS)
        )
        assert [entry.name for entry in batch] == [b".", b"..", *names][offset : offset + len(batch)]
        assert bool(batch) == (offset < 52)


@pytest.mark.parametrize("kind", [Plain, Plus])
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
def test_an_iterable_is_closed_however_it_ends(kind: type[Counting], opcode: int) -> None:
    filesystem = kind([b"x" * 200] * 3)
    engine = connect(filesystem)
    for size, errno in ((600, 0), (1 << 16, 0), (8, EINVAL)):
        before = filesystem.closed
        assert ask(engine, opcode, read_body(size)).errno == errno
        assert filesystem.closed == before + 1


def test_dots_carry_no_inode_in_a_listing_that_was_made() -> None:
    entries = list(parse(ask(connect(Plain([b"f"])), Opcode.READDIRPLUS).payload, True))
    assert [entry.nodeid for entry in entries] == [0, 0, 102]


def test_a_name_whose_lookup_fails_is_listed_without_an_inode() -> None:
    class Holes(Plain):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
            if name == b"gone":
                raise FileNotFoundError
            if name == b"absent":
                return Entry(0)
            if name == b"bug":
                raise KeyError(name)
            return super().lookup(ctx, parent, name)

    log: list[str] = []
    engine = connect(Holes([b"a", b"gone", b"absent", b"bug", b"z"]), log=log)
    entries = list(parse(ask(engine, Opcode.READDIRPLUS).payload, True))
    assert [entry.name for entry in entries[2:]] == [b"a", b"gone", b"absent", b"bug", b"z"]
    assert [bool(entry.nodeid) for entry in entries[2:]] == [True, False, False, False, True]
    assert len(log) == 1 and log[0].startswith("lookup of b'bug' in inode 1")


@pytest.mark.parametrize("method", ["readdir", "readdirplus"])
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
@pytest.mark.parametrize("name", [b"", b"a/b", b"/", b"a\0", b"x" * 256, "text", None])
def test_a_bad_name_is_never_sent(method: str, opcode: int, name: bytes) -> None:
    log: list[str] = []
    entry = DirEntry(5, 1, 8, name) if method == "readdir" else DirEntryPlus(Entry(5, Attr(5)), 1, name)
    bad: Filesystem = type("Bad", (Filesystem,), {method: lambda *_: [entry]})()
    assert ask(connect(bad, log=log), opcode).errno == EIO
    assert "is no name" in log[0]


@pytest.mark.parametrize("offset", [0, -1, 1 << 63, 1 << 64])
def test_an_offset_that_cannot_be_come_back_to_is_never_sent(offset: int) -> None:
    log: list[str] = []
    bad: Filesystem = type("Bad", (Filesystem,), {"readdir": lambda *_: [DirEntry(5, offset, 8, b"a")]})()
    assert ask(connect(bad, log=log), Opcode.READDIR).errno == EIO
    assert "is no offset" in log[0]


@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
@pytest.mark.parametrize("kind", [Plain, Plus])
def test_a_listing_that_begins_anew_is_an_error_and_no_endless_one(kind: type[Counting], opcode: int) -> None:
    """The easiest mistake of all: an offset that is not looked at. Who lists would never come to an end."""

    class Forgetful(kind):  # type: ignore[misc, valid-type]
        def entries(self, offset: int) -> Iterator[DirEntry]:
            yield from super().entries(0)

    log: list[str] = []
    filesystem = Forgetful([b"a", b"b", b"c"])
    engine = connect(filesystem, log=log)
    assert ask(engine, opcode, read_body(4096)).errno == 0
    for offset in (5, 3, 1):
        assert ask(engine, opcode, read_body(4096, offset)).errno == EIO
    assert "after offset 5" in log[0]


def test_what_came_before_an_error_is_delivered_and_the_error_met_next() -> None:
    class Breaking(Filesystem):
        def readdir(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> Iterable[DirEntry]:
            if offset == 0:
                yield DirEntry(5, 1, 8, b"first")
            raise PermissionError

    engine = connect(Breaking())
    assert [entry.name for entry in parse(ask(engine, Opcode.READDIR).payload, False)] == [b"first"]
    assert ask(engine, Opcode.READDIR, read_body(4096, 1)).errno == 13


@pytest.mark.parametrize("method", ["readdir", "readdirplus"])
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
def test_a_packed_listing_that_is_too_long_is_never_sent(method: str, opcode: int) -> None:
    log: list[str] = []
    bad: Filesystem = type("Bad", (Filesystem,), {method: lambda *_: bytes(4104)})()
    assert ask(connect(bad, log=log), opcode).errno == EIO
    assert "4104 bytes where 4096" in log[0]


def test_an_unknown_inode_is_shown_as_a_number_that_is_not_0() -> None:
    plain: Filesystem = type("Plain", (Filesystem,), {"readdir": lambda *_: [DirEntry(0, 1, 8, b"a")]})()
    [entry] = parse(ask(connect(plain), Opcode.READDIR).payload, False)
    assert entry.ino == UNKNOWN_INO


def test_the_default_of_readdirplus_is_made_of_readdir_and_lookup() -> None:
    class Gone(Plain):
        def lookup(self, ctx: Context, parent: int, name: bytes) -> Entry:
            if name == b"gone":
                raise FileNotFoundError
            return super().lookup(ctx, parent, name)

    filesystem = Gone([b"a", b"gone", b"b"])
    made = filesystem.readdirplus(Context(), 1, 0, 0, 4096)
    assert not isinstance(made, Buffer)
    *dots, a, gone, b = made
    assert [(dot.name, dot.offset) for dot in dots] == [(b".", 1), (b"..", 2)]
    assert a == DirEntryPlus(Entry(102, Attr(102, stat.S_IFREG)), 3, b"a")
    assert gone == DirEntryPlus(Entry(), 4, b"gone")
    assert b == DirEntryPlus(Entry(104, Attr(104, stat.S_IFREG)), 5, b"b")
    assert filesystem.lookups == {102: 1, 104: 1}
    assert filesystem.closed == 1


def test_no_listing_at_all_is_enotdir() -> None:
    engine = connect(Filesystem())
    assert ask(engine, Opcode.READDIR).errno == ask(engine, Opcode.READDIRPLUS).errno == ENOTDIR


@pytest.mark.parametrize("length", [1, 7, 8, 9, 254, 255])
def test_a_whole_record_is_made_in_one_call(length: int) -> None:
    name = b"n" * length
    values = wire.ENTRY_OUT.unpack(pack_entry(Entry(7, Attr(7, stat.S_IFREG))))
    record = direntplus(length)(*values, 7, 3, length, 8, name)
    assert len(record) % 8 == 0
    assert list(parse(record, True)) == [Seen(name, 3, 7, 8, 7)]
    assert list(parse(dirent(length)(7, 3, length, 8, name), False)) == [Seen(name, 3, 7, 8, None)]
