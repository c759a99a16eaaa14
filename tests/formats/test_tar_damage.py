"""Archives that are cut, changed, glued together or not archives at all."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rofuse_formats.errors import DamagedError
from tests.formats.tar_support import END, Recorder, extended, file, header, patched, scan


def small_archive() -> bytes:
    """Members of several kinds and dialects: 22 blocks and the end mark."""
    return b"".join(
        (
            header(b"dir/", b"5"),
            file(b"dir/one", b"1" * 700),
            extended((b"path", b"dir/pax"), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"\xff")),
            file(b"short", b"2" * 512),
            file(b"././@LongLink", b"l" * 600 + b"\0", b"L"),
            file(b"long", b"3"),
            extended(
                (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"90")
            ),
            file(b"sparse", b"1\n10\n5\n".ljust(512, b"\0") + b"sssss"),
            header(b"hard", b"1", link=b"dir/one"),
            extended((b"comment", b"c"), kind=b"g"),
            file(b"last", b"4" * 1024),
            END,
        )
    )


ARCHIVE = small_archive()
WHOLE = scan(ARCHIVE)
PATHS = [b"dir/", b"dir/one", b"dir/pax", b"l" * 600, b"sparse", b"last"]


def test_the_archive_is_whole() -> None:
    assert WHOLE.paths == PATHS
    assert not (WHOLE.damages or WHOLE.warnings or WHOLE.passed)


@pytest.mark.parametrize("cut", sorted({*range(0, len(ARCHIVE), 512), *range(1, len(ARCHIVE), 131)}))
def test_cut_anywhere(cut: int) -> None:
    """What is before the cut is shown, the member that is cut with its full size; the rest is said."""
    try:
        found = scan(ARCHIVE[:cut])
    except DamagedError as error:
        assert cut < 512
        assert error.offset == 0
        return
    assert found.paths == PATHS[: len(found.paths)]
    for ours, whole in zip(found.members, WHOLE.members, strict=False):
        assert (ours.size, ours.data, ours.mtime) == (whole.size, whole.data, whole.mtime)
    if cut >= len(ARCHIVE) - len(END):
        assert found.paths == PATHS
        assert found.damages == []
    else:
        # between two members nothing tells a cut from an archive without an end mark
        assert len(found.damages) + len(found.warnings) == 1
    for message, offset in found.damages:
        assert offset <= cut
        assert str(offset) in message or str(cut) in message


def test_a_cut_names_its_member() -> None:
    (message, offset) = scan(file(b"first") + file(b"sec\nond", b"x" * 2000)[:1500]).damages[0]
    assert offset == 512 + 1500
    assert "sec\N{REPLACEMENT CHARACTER}ond" in message
    (message, offset) = scan(file(b"first") + header(b"second")[:300]).damages[0]
    assert offset == 512
    assert "second" in message


def test_a_cut_in_padding_costs_nothing() -> None:
    found = scan(file(b"first", b"abc")[:515])
    assert found.damages == []
    assert found.content(found.members[0]) == b"abc"


def test_a_damaged_header_costs_its_member() -> None:
    blocks = [file(b"first", b"1" * 600), file(b"second", b"2" * 5000), file(b"third", b"3")]
    blocks[1] = b"\xee" + blocks[1][1:]
    for more in (0, 511, 700, 1 << 20):
        found = scan(b"".join(blocks) + END, more=more)
        assert found.paths == [b"first", b"third"]
        ((message, offset),) = found.damages
        assert offset == len(blocks[0])
        assert str(len(blocks[1])) in message


def test_the_search_is_not_misled() -> None:
    decoy = b"ustar" * 300 + bytes(257) + b"ustar" + bytes(2000) + bytes(13)
    archive = file(b"first") + file(b"second", decoy).replace(b"second", b"sekond", 1) + file(b"third") + END
    found = scan(archive)
    assert found.paths == [b"first", b"third"]
    assert len(found.damages) == 1


def test_nothing_after_the_damage() -> None:
    found = scan(file(b"first") + b"garbage!" * 6400)
    assert found.paths == [b"first"]
    assert [offset for _, offset in found.damages] == [512]


def test_an_impossible_size_is_damage() -> None:
    found = scan(file(b"first") + patched(header(b"second"), 124, b"\xff" * 12) + file(b"third") + END)
    assert found.paths == [b"first", b"third"]
    assert len(found.damages) == 1


def test_a_size_beyond_everything() -> None:
    block = patched(header(b"huge"), 124, b"\x80\0\0\0\x3f" + b"\xff" * 7)
    found = scan(block + END)
    assert found.members[0].size == (1 << 62) - 1
    assert len(found.damages) == 1


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"x",
        b"x" * 511,
        b"x" * 5000,
        header(b"a")[:500],
        extended((b"path", b"x")),
        bytes(2048) + b"x" * 512,
    ],
)
def test_nothing_readable(archive: bytes) -> None:
    with pytest.raises(DamagedError):
        scan(archive)


def test_an_enormous_extended_header() -> None:
    block = header(b"PaxHeaders/x", b"x", 17 << 20)
    found = scan(file(b"first") + block + bytes(17 << 20) + file(b"next") + END)
    assert found.paths == [b"first", b"next"]
    assert len(found.damages) == 1


# -- ends and what is behind them


def test_end_marks() -> None:
    assert scan(file(b"a") + END + bytes(9 * 1024)).warnings == []
    assert scan(file(b"a") + bytes(512)).warnings == []  # a lone block of zeros, and nothing else
    assert scan(file(b"a") + END + b"garbage" * 200).paths == [b"a"]
    assert scan(file(b"a") + bytes(512) + b"garbage" * 200).paths == [b"a"]
    assert "no end mark" in scan(file(b"a")).warnings[0]


def test_a_lone_block_of_zeros_is_passed_over() -> None:
    found = scan(file(b"a") + bytes(512) + file(b"b") + END)
    assert found.paths == [b"a", b"b"]
    assert len(found.warnings) == 1
    assert found.damages == []


@pytest.mark.parametrize("padding", [0, 512, 8192])
def test_concatenated_archives(padding: int) -> None:
    first = extended((b"uname", b"global"), kind=b"g") + file(b"a", b"1")
    archive = first + END + bytes(padding) + file(b"b", b"2") + END + bytes(padding)
    plain = scan(archive)
    assert plain.paths == [b"a"]
    assert "--ignore-zeros" in plain.warnings[0]
    found = scan(archive, ignore_zeros=True)
    assert found.paths == [b"a", b"b"]
    assert [member.owner[2] for member in found.members] == [b"global", b"ann"]
    assert found.damages == []


def test_an_end_mark_after_an_extended_header() -> None:
    found = scan(file(b"a") + extended((b"path", b"x")) + END)
    assert found.paths == [b"a"]
    assert len(found.damages) == 1


# -- anything at all


def described(found: Recorder) -> int:
    return len(found.members) + len(found.links) + len(found.passed) + len(found.damages)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.binary(min_size=1, max_size=12)), max_size=6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3000),
)
@example([(124, b"\x80" + bytes(10) + b"\1")], True, False, 0)
def test_any_mutation_ends(
    changes: list[tuple[int, bytes]], repair: bool, ignore_zeros: bool, more: int
) -> None:
    """Whatever is changed (``repair``: under right checksums, too), reading ends, with DamagedError at worst."""
    archive = bytearray(ARCHIVE)
    for offset, data in changes:
        archive[offset : offset + len(data)] = data
        if repair:
            start = offset // 512 * 512
            archive[start : start + 512] = patched(
                bytes(archive[start : start + 512]).ljust(512, b"\0"), 0, b""
            )
    try:
        found = scan(bytes(archive), ignore_zeros=ignore_zeros, more=more)
    except DamagedError:
        return
    assert described(found) <= 2 * len(archive) // 512


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([ARCHIVE[at : at + 512] for at in range(0, len(ARCHIVE), 512)]), max_size=40))
def test_any_order_of_blocks_ends(blocks: list[bytes]) -> None:
    try:
        found = scan(b"".join(blocks))
    except DamagedError:
        return
    assert described(found) <= 2 * len(blocks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
            ),
            st.integers(-(1 << 40), 1 << 40),
            st.integers(0, 1 << 31),
            st.binary(max_size=1500),
        ),
        max_size=8,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_tarfile_writes(files: list[tuple[str, int, int, bytes]], form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, mtime, uid, data in files:
            member = tarfile.TarInfo(name.strip("/") or "x")
            member.mtime, member.uid, member.size = mtime, uid, len(data)
            archive.addfile(member, io.BytesIO(data))
    found = scan(out.getvalue())
    assert found.damages == []
    told = [(m.path, m.mtime, m.owner[0], found.content(m)) for m in found.members]
    assert told == [((n.strip("/") or "x").encode(), (t, 0), uid, data) for n, t, uid, data in files]
