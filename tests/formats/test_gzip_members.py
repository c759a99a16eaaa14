"""Members of every make and kind: headers, many members, what lies between and behind them."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.gzip import CODEC, first_pass, member
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.errors import DamagedError, TruncatedError
from rofuse_formats.limits import Limits
from tests.formats.gzip_support import (
    EMPTY_BLOCK,
    block,
    blocks,
    check_all_points,
    check_reads,
    decoded,
    deflated,
    members,
    opened,
    tool,
    trailer,
)
from tests.formats.zstd_support import KIB, MIB, BytesSource, mixed, text

TEXT = text(MIB + 400 * KIB)
EMPTY = gzip.compress(b"", mtime=0)


def check_whole(compressed: bytes, expected: bytes, frames: int) -> None:
    output, passed = decoded(compressed)
    assert output == expected
    assert (passed.damages, passed.suspect, passed.warnings, passed.frames) == ([], [], [], frames)
    assert passed.consumed == len(compressed)
    stream = opened(compressed, passed)
    check_all_points(stream, expected)
    check_reads(stream, expected, range(0, len(expected), len(expected) // 20 + 1))


# Headers


@settings(max_examples=200, deadline=None)
@given(
    flags=st.integers(0, 31),
    extra=st.binary(max_size=300),
    name=st.binary(max_size=300).map(lambda name: name.replace(b"\0", b"")),
    comment=st.binary(max_size=300).map(lambda comment: comment.replace(b"\0", b"")),
    rest=st.binary(min_size=6, max_size=6),
)
def test_law_of_headers(flags: int, extra: bytes, name: bytes, comment: bytes, rest: bytes) -> None:
    """Any of the optional parts; cut anywhere it is said to be cut."""
    head = b"\x1f\x8b\x08" + bytes((flags,)) + rest
    head += len(extra).to_bytes(2, "little") + extra if flags & 4 else b""
    head += name + b"\0" if flags & 8 else b""
    head += comment + b"\0" if flags & 16 else b""
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") if flags & 2 else b""
    found = member.header(Feed(BytesSource(b"before" + head + b"data")), 6)
    assert found.length == len(head)
    assert found.name == (name if flags & 8 else b"")
    assert CODEC.recognise(head + b"\3\0")
    for cut in {0, 5, 10, len(head) // 2, len(head) - 1} - {len(head)}:
        with pytest.raises(DamagedError) as failed:
            member.header(Feed(BytesSource(b"before" + head[:cut])), 6)
        assert isinstance(failed.value, TruncatedError) or not cut
        assert failed.value.offset == 6
    if flags & 2:
        broken = bytearray(head)
        broken[-1] ^= 1
        with pytest.raises(DamagedError, match="check"):
            member.header(Feed(BytesSource(b"before" + broken)), 6)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x1e\x8b\x08\0\0\0\0\0\0\xff",
        b"\x1f\x8b\x07\0\0\0\0\0\0\xff",
        b"\x1f\x8b\x08\x20\0\0\0\0\0\xff",
        b"\x1f\x8b\x08\x80\0\0\0\0\0\xff",
        b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"x" * 2 * MIB,
    ],
)
def test_headers_that_are_none(head: bytes) -> None:
    with pytest.raises(DamagedError) as failed:
        member.header(Feed(BytesSource(head)), 0)
    assert not isinstance(failed.value, TruncatedError)
    output, passed = decoded(head)
    assert output == b""
    assert len(passed.damages) == bool(head)


def test_size_that_a_header_says() -> None:
    def size(extra: bytes) -> int:
        head = b"\x1f\x8b\x08\4\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra
        return member.header(Feed(BytesSource(head)), 0).size

    assert size(b"BC\2\0\x10\x27") == 10_001
    assert size(b"AB\3\0xyzBC\2\0\x10\x27CD\0\0") == 10_001
    for nothing in (
        b"",
        b"BC",
        b"BC\2\0\x10",
        b"BC\3\0\x10\x27\0",
        b"CB\2\0\x10\x27",
        b"AB\xff\xffBC\2\0\1\1",
    ):
        assert size(nothing) == 0


def test_recognise() -> None:
    for yes in (EMPTY, block(b"x"), gzip.compress(TEXT)[:20], gzip.compress(bytes(MIB))[: 64 * KIB]):
        assert CODEC.recognise(yes)
    assert CODEC.recognise(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 100_000), "a long name"
    for no in (b"", b"\x1f\x8b", b"\x1f\x9d\x90" + bytes(20), b"\x1f\x8b\x09" + bytes(20), TEXT):
        assert not CODEC.recognise(no)
    assert not CODEC.recognise(b"\x1f\x8b\x08\xe0" + bytes(20)), "reserved flags"
    assert not CODEC.recognise(b"\x1f\x8b\x08\0\0\0\0\0\0\xff\7" + bytes(20)), "no such type of block"
    chance = random.Random(4)
    assert not any(CODEC.recognise(b"\x1f\x8b" + chance.randbytes(300)) for _ in range(20))


def test_names() -> None:
    def named(name: bytes) -> bytes:
        return b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + name + b"\0" + deflated(b"x") + trailer(b"x")

    assert decoded(named(b"caf\xe9.txt"))[1].name == b"caf\xe9.txt"
    assert decoded(named(b"n" * 5000))[1].name == b"n" * 5000
    assert decoded(named(b"a") + named(b"b"))[1].name == b""
    assert decoded(EMPTY)[1].name == b""


# Makers


@pytest.mark.parametrize("options", [("-1",), ("-6",), ("-9",)], ids=" ".join)
def test_gzip(options: tuple[str, ...]) -> None:
    check_whole(tool("gzip", TEXT, *options), TEXT, 1)


@pytest.mark.parametrize("options", [(), ("-i",), ("-b", "32"), ("-11", "-I", "1"), ("-0",)], ids=" ".join)
def test_pigz(options: tuple[str, ...]) -> None:
    data = TEXT[: 300 * KIB] if "-11" in options else TEXT
    check_whole(tool("pigz", data, *options), data, 1)


def test_pigz_of_independent_blocks_needs_smaller_windows() -> None:
    dependent, independent = (decoded(tool("pigz", TEXT, "-b32", *how))[1].index() for how in ((), ("-i",)))
    assert len(independent) < len(dependent) // 2


def test_bgzip() -> None:
    compressed = tool("bgzip", TEXT)
    check_whole(compressed, TEXT, len(TEXT) // 65280 + 2)
    assert compressed.endswith(EMPTY_BLOCK)
    check_whole(blocks(TEXT), TEXT, len(TEXT) // 65280 + 2)


def test_dictzip(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("dictzip")
    (folder / "words").write_bytes(TEXT)
    tool("dictzip", b"", "-k", str(folder / "words"))
    compressed = (folder / "words.dz").read_bytes()
    check_whole(compressed, TEXT, 1)
    assert decoded(compressed)[1].name == b"words"


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("strategy", [zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
def test_kinds_of_blocks(level: int, strategy: int) -> None:
    data = mixed(MIB)
    check_whole(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated(data, level, 8, strategy) + trailer(data), data, 1)


# Many members, and what is between them


def test_empty_sources() -> None:
    for compressed, frames in ((b"", 0), (EMPTY, 1), (EMPTY * 3, 3), (EMPTY_BLOCK * 2, 2)):
        output, passed = decoded(compressed)
        assert (output, passed.damages, passed.frames) == (b"", [], frames)
        stream = opened(compressed, passed)
        assert (stream.size, stream.points) == (0, [0])
        assert stream.cursor(0).read(10) == b""
        stream.cursor(0).skip(10)


def test_many_members() -> None:
    check_whole(members(TEXT, 100_000), TEXT, -(-len(TEXT) // 100_000))
    data = mixed(3 * MIB)
    mixture = EMPTY + gzip.compress(data[:MIB]) + EMPTY * 2 + blocks(data[MIB : 2 * MIB])
    mixture += gzip.compress(data[2 * MIB :]) + EMPTY_BLOCK
    check_whole(mixture, data, 5 + 1 + 17 + 1)


def test_tiny_members_share_points() -> None:
    line, count = b"a line of text\n", 20_000
    for one in (gzip.compress(line, mtime=0), block(line)):
        output, passed = decoded(one * count, free_spacing=80_000)
        assert output == line * count
        assert passed.frames == count
        stream = opened(one * count, passed)
        assert 1 < len(stream.points) <= 12
        check_reads(stream, output, (0, 200_000, len(output) - 5))


def test_empty_members_are_not_walked_through_again() -> None:
    compressed = EMPTY * 20_000 + gzip.compress(TEXT)
    output, passed = decoded(compressed, free_spacing=1000)
    assert output == TEXT
    stream = opened(compressed, passed)
    assert stream._index.points[0].offset // 8 > 20_000 * len(EMPTY) - 1000
    check_reads(stream, TEXT, (0, 1_000_000))


def test_zeros_behind_are_padding() -> None:
    compressed = gzip.compress(TEXT)
    for padding in (1, 511, 300_000):
        output, passed = decoded(compressed + bytes(padding))
        assert (output, passed.damages, passed.warnings) == (TEXT, [], [])
    check_whole(gzip.compress(TEXT[:MIB]) + bytes(70_000) + gzip.compress(TEXT[MIB:]), TEXT, 2)


@pytest.mark.parametrize("padding", [0, 1, 5000])
@pytest.mark.parametrize("garbage", [b"garbage", b"\x1e", b"PK\3\4" + bytes(100), b"x" * 3 * MIB])
def test_garbage_behind_is_said(garbage: bytes, padding: int) -> None:
    compressed = gzip.compress(TEXT)
    output, passed = decoded(compressed + bytes(padding) + garbage)
    assert (output, passed.damages, passed.suspect) == (TEXT, [], [])
    offset = len(compressed) + padding
    assert passed.warnings == [
        f"{len(garbage)} bytes of garbage behind the last gzip member (offset {offset})"
    ]
    stream = opened(compressed + bytes(padding) + garbage, passed)
    check_reads(stream, TEXT, (0, len(TEXT) - 100))


def test_chunks_are_neither_small_nor_large() -> None:
    for compressed in (
        gzip.compress(TEXT * 3),
        members(TEXT, 1000) * 2,
        blocks(TEXT) * 2,
        gzip.compress(bytes(30 * MIB), 1),
    ):
        sizes = [len(chunk) for chunk in first_pass.FirstPass(BytesSource(compressed))]
        assert all(64 * KIB <= size <= 4 * MIB for size in sizes[:-1])
        assert sizes[-1] > 0


def test_a_pass_that_is_dropped_leaves_no_thread() -> None:
    import threading

    chunks = iter(first_pass.FirstPass(BytesSource(gzip.compress(TEXT)), spacing=64 * KIB))
    next(chunks)
    assert any(thread.name.startswith("seek-point") for thread in threading.enumerate())
    del chunks
    assert not any(thread.name.startswith("seek-point") for thread in threading.enumerate())


def test_the_codec() -> None:
    passed = CODEC.first_pass(BytesSource(EMPTY), Limits())
    assert list(passed) == []
    assert CODEC.name == "gzip"
    assert CODEC.suffixes[b".tgz"] == b".tar"
