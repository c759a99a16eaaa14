"""What no tool at hand writes: archives put together block by block."""

from __future__ import annotations

import os
import stat

import pytest

from rofuse_formats.archives.tar import acl
from rofuse_formats.entry import Extent, Time
from tests.formats.tar_support import END, body, extended, file, header, patched, record, scan


def test_old_directories_end_in_a_slash() -> None:
    found = scan(
        header(b"dir/", b"\0", magic=b"") + header(b"dir/file", magic=b"") + header(b"new/", b"0") + END
    )
    assert [stat.S_IFMT(member.mode) for member in found.members] == [
        stat.S_IFDIR,
        stat.S_IFREG,
        stat.S_IFDIR,
    ]


def test_v7_has_no_names_of_owners() -> None:
    block = patched(header(b"x", magic=b""), 265, b"leftover")
    assert scan(block + END).members[0].owner == (0o1750, 0o144, b"", b"")


def test_prefix() -> None:
    ustar = patched(header(b"name"), 345, b"a/prefix\0")
    star = patched(patched(header(b"name"), 345, b"b" * 131 + b"00000000000 "), 508, b"tar\0")
    gnu = patched(header(b"name", magic=b"ustar  \0"), 345, b"00000000007\00000000000010\0")
    found = scan(ustar + star + gnu + END)
    assert found.paths == [b"a/prefix/name", b"b" * 131 + b"/name", b"name"]
    assert found.members[2].times == (Time(7), Time(8), None)


def test_long_names_belong_to_the_next_member_alone() -> None:
    name, target = b"n" * 3000, b"t" * 2000
    archive = file(b"././@LongLink", target + b"\0", b"K") + file(b"././@LongLink", name + b"\0", b"L")
    found = scan(archive + header(b"short", b"2", link=b"short") + header(b"next", b"2", link=b"to") + END)
    assert found.paths == [name, b"next"]
    assert [member.target for member in found.members] == [target, b"to"]


def test_contiguous_and_unknown_types_are_files() -> None:
    found = scan(
        file(b"a", b"aa", b"7") + file(b"b", b"bb", b"Z") + file(b"c", b"cc", b"Z") + file(b"d", b"dd") + END
    )
    assert [found.content(member) for member in found.members] == [b"aa", b"bb", b"cc", b"dd"]
    assert found.warnings == ["members of unknown type 'Z' are shown as regular files (2 times)"]


def test_passed_over() -> None:
    archive = (
        file(b"acl", b"7user::rw-", b"A") + file(b"names", b"Rename a to b\n", b"N") + file(b"x", b"data")
    )
    found = scan(archive + END)
    assert found.paths == [b"x"]
    assert found.content(found.members[0]) == b"data"
    assert len(found.warnings) == 1


def test_solaris_extended_header() -> None:
    assert scan(extended((b"path", b"real"), kind=b"X") + header(b"not") + END).paths == [b"real"]


def test_local_records_override_everything() -> None:
    archive = b"".join(
        (
            extended(
                (b"mtime", b"5.5"), (b"uname", b"global"), (b"gid", b"77"), (b"comment", b"x"), kind=b"g"
            ),
            file(b"././@LongLink", b"gnu name\0", b"L"),
            extended((b"path", b"pax name"), (b"uid", b"3000000000"), (b"gname", b"g\xff")),
            header(b"one"),
            header(b"two"),
            extended((b"mtime", b""), (b"uname", b"")),
            header(b"three", mtime=9),
            END,
        )
    )
    one, two, three = scan(archive).members
    assert (one.path, one.owner, one.mtime) == (
        b"pax name",
        (3_000_000_000, 77, b"global", b"g\xff"),
        (5, 500_000_000),
    )
    assert (two.path, two.owner, two.mtime) == (b"two", (0o1750, 77, b"global", b"users"), (5, 500_000_000))
    assert (three.owner, three.mtime) == ((0o1750, 77, b"ann", b"users"), (9, 0))


def test_a_size_record_overrides_the_header() -> None:
    data = b"d" * 1000
    archive = extended((b"size", b"1000")) + header(b"big", size=0) + body(data) + file(b"next", b"n")
    found = scan(archive + END)
    assert [found.content(member) for member in found.members] == [data, b"n"]


def test_times_of_every_kind() -> None:
    times = extended(
        (b"atime", b"-0.5"),
        (b"ctime", b"1.000000001"),
        (b"LIBARCHIVE.creationtime", b"123.4"),
        (b"mtime", b"-7"),
    )
    (member,) = scan(times + header(b"x") + END).members
    assert member.mtime == Time(-7)
    assert member.times == (Time(-1, 500_000_000), Time(1, 1), Time(123, 400_000_000))


def test_records_without_sense_are_ignored_and_said() -> None:
    pairs = [(b"mtime", b"soon"), (b"uid", b"me"), (b"atime", b"1e5"), (b"hdrcharset", b"BINARY")]
    found = scan(extended(*pairs) + header(b"x", mtime=3) + END)
    (member,) = found.members
    assert (member.owner[0], member.mtime, member.times) == (0o1750, (3, 0), (None, None, None))
    assert len(found.warnings) == 3


def test_access_list() -> None:
    text = b"user::rw-,user:7:r--,group::r--,mask::r--,other::---"
    plain = b"user::rw-,group::r--,other::---"
    first = extended((b"SCHILY.acl.access", text), (b"SCHILY.acl.default", plain))
    second = extended((b"SCHILY.acl.access", plain))
    one, two = scan(first + header(b"d", b"5") + second + header(b"x") + END).members
    assert set(one.xattrs) == {b"system.posix_acl_access", b"system.posix_acl_default"}
    assert two.xattrs == {}


def test_devices() -> None:
    block = patched(patched(header(b"tty", b"3"), 329, b"0000004\0"), 337, b"0000101\0")
    named = extended((b"SCHILY.devmajor", b"259"), (b"SCHILY.devminor", b"70000")) + header(b"disk", b"4")
    wild = patched(header(b"wild", b"3"), 329, b"\x80\0\0\xff\0\0\0\0")
    found = scan(block + named + wild + END)
    assert [member.data for member in found.members] == [os.makedev(4, 65), os.makedev(259, 70000), 0]
    assert len(found.warnings) == 1


def test_hard_link_with_a_body() -> None:
    bare = header(b"bare", b"1", 700, link=b"target")  # a size, yet what follows is a header
    full = header(b"full", b"1", 700, link=b"target") + body(b"x" * 700)
    zeros = extended((b"path", b"zeros")) + header(b"z", b"1", 1500, link=b"target") + bytes(1536)
    last = header(b"last", b"1", 700, link=b"target")
    found = scan(bare + full + zeros + file(b"target", b"t") + last + END)
    assert [path for path, _ in found.links] == [b"bare", b"full", b"zeros", b"last"]
    assert found.paths == [b"target"]
    assert not (found.damages or found.warnings)


@pytest.mark.parametrize("kind", [b"2", b"3", b"5", b"6"])
def test_a_size_without_a_body(kind: bytes) -> None:
    found = scan(header(b"a", kind, 5, link=b"to") + file(b"b", b"data") + END)
    assert found.paths == [b"a", b"b"]
    assert found.damages == []


def test_uid_of_nobody() -> None:
    block = patched(header(b"a"), 108, b"\xff" * 7 + b"\xfe")
    wild = patched(header(b"b"), 108, b"\x80\x01" + bytes(6))
    found = scan(block + wild + END)
    assert [member.owner[0] for member in found.members] == [(1 << 32) - 2, 65534]


def test_names_are_bytes() -> None:
    names = [b"\xff\xfe", b"a\nb", b"/abs", b"../up", b"a//b", b"./c", b" ", b"\\", "é".encode()]
    assert scan(b"".join(map(header, names)) + END).paths == names


def test_too_long_is_left_to_the_builder_to_refuse() -> None:
    archive = file(b"././@LongLink", b"n" * 5000 + b"\0", b"L") + header(b"x")
    archive += (
        file(b"././@LongLink", b"t" * 5000 + b"\0", b"K") + header(b"link", b"2") + header(b"end") + END
    )
    found = scan(archive, max_path=1000)
    assert [len(path) for path in found.paths] == [1001, 3]
    assert found.passed == [(b"link", "link target too long")]


def test_the_second_of_two_headers_replaces_the_first() -> None:
    """As GNU tar, libarchive and Go have it."""
    found = scan(
        extended((b"path", b"first"), (b"uid", b"7")) + extended((b"gid", b"8")) + header(b"name") + END
    )
    assert found.paths == [b"name"]
    assert found.members[0].owner[1] == 8


def test_a_number_may_have_any_number_of_zeros_before_it() -> None:
    number = b"0" * 40 + b"3"
    found = scan(extended((b"size", number), (b"mtime", number + b".5")) + header(b"a") + body(b"abc") + END)
    assert (found.members[0].size, found.members[0].mtime) == (3, (3, 500_000_000))


# -- sparse maps


def old_sparse(runs: list[tuple[int, int]], real: int, stored: int) -> bytes:
    entries = [b"%011o\0%011o\0" % run for run in runs]
    block = header(b"sparse", b"S", stored, magic=b"ustar  \0")
    block = patched(
        block, 386, b"".join(entries[:4]).ljust(96, b"\0") + bytes([len(entries) > 4]) + b"%011o\0" % real
    )
    tables = [entries[at : at + 21] for at in range(4, len(entries), 21)]
    for number, table in enumerate(tables):
        more = bytes([number < len(tables) - 1])
        block += (b"".join(table).ljust(504, b"\0") + more).ljust(512, b"\0")
    return block + body(b"s" * stored)


def pax_sparse(runs: list[tuple[int, int]], real: int, stored: int, version: str) -> bytes:
    common = [(b"GNU.sparse.numblocks", b"%d" % len(runs)), (b"GNU.sparse.size", b"%d" % real)]
    if version == "0.0":
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        runs_told = [(key, b"%d" % value) for run in runs for key, value in zip(keys, run, strict=True)]
        return extended(*common, *runs_told) + file(b"sparse", b"s" * stored)
    numbers = [b"%d" % number for run in runs for number in run]
    if version == "0.1":
        named = (b"GNU.sparse.name", b"sparse")
        return extended(*common, named, (b"GNU.sparse.map", b",".join(numbers))) + file(b"x", b"s" * stored)
    pairs = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"sparse")]
    table = body(b"".join(number + b"\n" for number in [b"%d" % len(runs), *numbers]))
    return extended(*pairs, (b"GNU.sparse.realsize", b"%d" % real)) + file(b"x", table + b"s" * stored)


def sparse(version: str, runs: list[tuple[int, int]], real: int, stored: int) -> bytes:
    if version == "old":
        return old_sparse(runs, real, stored)
    return pax_sparse(runs, real, stored, version)


VERSIONS = ["old", "0.0", "0.1", "1.0"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("count", [1, 4, 5, 25, 26, 60, 500])
def test_maps(version: str, count: int) -> None:
    runs = [(number * 1000 + 7, 3) for number in range(count)]
    archive = sparse(version, [*runs, (count * 1000, 0)], count * 1000, 3 * count) + file(b"next", b"n") + END
    found = scan(archive)
    assert found.paths == [b"sparse", b"next"]
    member = found.members[0]
    assert member.size == count * 1000
    assert member.pieces is not None
    start = member.pieces[0].offset
    assert member.pieces == [Extent(at, 3, start + 3 * number) for number, (at, _) in enumerate(runs)]
    assert archive[start : start + 3 * count] == b"s" * 3 * count
    assert found.content(found.members[1]) == b"n"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_map_of_everything_is_a_plain_file(version: str) -> None:
    found = scan(sparse(version, [(0, 100), (100, 50)], 150, 150) + END)
    assert found.members[0].pieces is None
    assert found.content(found.members[0]) == b"s" * 150


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("runs", "real", "stored"),
    [
        ([(0, 10), (5, 10)], 100, 20),  # overlap
        ([(50, 10), (0, 10)], 100, 20),  # back
        ([(0, 10), (95, 10)], 100, 20),  # beyond the end
        ([(0, 10), (20, 1 << 33)], 1 << 40, 20),  # more than is stored
    ],
)
def test_impossible_maps(version: str, runs: list[tuple[int, int]], real: int, stored: int) -> None:
    if version == "old":
        real, runs = min(real, 8**11 - 1), [(at, min(length, 8**11 - 1)) for at, length in runs]
    found = scan(file(b"first") + sparse(version, runs, real, stored) + file(b"next") + END)
    assert found.paths == [b"first", b"next"]
    assert len(found.damages) == 1
    assert found.damages[0][1] == (512 if version == "old" else found.damages[0][1])


@pytest.mark.parametrize(
    "table", [b"", b"x\n", b"-1\n", b"2\n1\n1\n", b"1\n1\n", b"99999999\n1\n1\n", b"1\n" + b"1" * 40]
)
def test_impossible_maps_in_data(table: bytes) -> None:
    pairs = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"100")]
    found = scan(extended(*pairs) + file(b"x", table) + file(b"next") + END)
    assert found.paths == [b"next"]
    assert len(found.damages) == 1


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"GNU.sparse.map", b"0,1,2")],
        [(b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"x")],
        [(b"GNU.sparse.map", b"0,1")],
        [(b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"0")],
        [(b"GNU.sparse.offset", b"1"), (b"GNU.sparse.size", b"10")],
    ],
)
def test_impossible_maps_in_records(pairs: list[tuple[bytes, bytes]]) -> None:
    found = scan(extended(*pairs) + file(b"x", b"data") + file(b"next") + END)
    assert found.paths == [b"next"]
    assert len(found.damages) == 1


def test_sparse_of_another_maker() -> None:
    block = patched(old_sparse([(0, 3)], 10, 3)[:512], 257, b"ustar\x0000")
    found = scan(block + body(b"sss") + file(b"next") + END)
    assert found.paths == [b"next"]


def test_many_globals_are_refused() -> None:
    pairs = [(b"SCHILY.xattr.user.%d" % number, b"v") for number in range(1000)]
    found = scan(extended(*pairs, kind=b"g") + file(b"x") + END)
    assert found.paths == [b"x"]
    assert len(found.members[0].xattrs) <= 257
    assert len(found.damages) == 1


def test_globals_that_are_large_together_are_refused() -> None:
    """Every member pays for them, and could not have them all as attributes."""
    large = [(b"SCHILY.xattr.user.%d" % number, bytes(50_000)) for number in range(4)]
    found = scan(extended(*large, kind=b"g") + file(b"a") + file(b"b") + END)
    (damage,) = found.damages
    assert "a global header of too many records" in damage[0]
    assert [list(member.xattrs) for member in found.members] == [[b"user.0", b"user.1"]] * 2


def test_of_a_target_that_is_too_long_no_more_is_kept_than_shows_it() -> None:
    """A global header says it once, for a million links."""
    links = b"".join(header(b"%d" % number, b"2") for number in range(3))
    found = scan(extended((b"linkpath", b"t" * 60_000), kind=b"g") + links + END)
    assert [len(text) for text in found.texts] == [4096] * 3
    assert [member.size for member in found.members] == [60_000] * 3


def test_a_global_access_list_is_translated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of entries, and for any number of members."""
    lines = [b"user:%d:rwx" % number for number in range(1000, 3000)]
    text = b",".join((*lines, b"user::rwx,group::rwx,mask::rwx,other::r--"))
    translated: list[bytes] = []
    translate = acl._entry

    def counted(line: bytes) -> tuple[int, int, int]:
        translated.append(line)
        return translate(line)

    monkeypatch.setattr(acl, "_entry", counted)
    found = scan(extended((b"SCHILY.acl.access", text), kind=b"g") + file(b"a") + file(b"b") + END)
    assert [len(member.xattrs[acl.ACCESS]) for member in found.members] == [4 + 8 * 2004] * 2
    assert len(translated) == 2004


def test_record_of_the_length_of_its_digits() -> None:
    for size in range(85, 105):
        (member,) = scan(extended((b"path", b"p" * size)) + header(b"x") + END).members
        assert member.path == b"p" * size
    assert record(b"a", b"b") == b"6 a=b\n"


def test_malformed_records_are_damage_and_what_precedes_them_counts() -> None:
    bad = record(b"path", b"real") + b"9 nonsense\n"
    found = scan(file(b"PaxHeaders/x", bad, b"x") + file(b"x", b"data") + file(b"g", bad, b"g") + END)
    assert found.paths == [b"real"]
    assert [offset for _, offset in found.damages] == [0, 2048]


def test_archives_that_are_joined_have_their_end_marks() -> None:
    joined = file(b"one") + END + file(b"two") + END
    assert scan(joined, ignore_zeros=True).warnings == []
    assert scan(joined, ignore_zeros=True).paths == [b"one", b"two"]
    assert "no end mark" in scan(joined[: -len(END)], ignore_zeros=True).warnings[0]
