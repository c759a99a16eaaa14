"""bzip2 files of every make and shape decode to what went in, front to back and from every point."""

from __future__ import annotations

import bz2
import random
import threading
from collections.abc import Generator
from itertools import chain, pairwise

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.bzip2 import CODEC, bits, block
from rofuse_formats.codecs.bzip2.first_pass import FirstPass
from rofuse_formats.limits import Limits
from tests.formats.bzip2_support import crafted, decoded, nibbles, opened, symbols, where
from tests.formats.codec_support import KIB, MIB, BytesSource, check_all_points, check_reads, made_by, read_at
from tests.formats.zstd_support import mixed, text

__all__ = ["where"]  # all of them are also run with a process beside

DATA = mixed(300 * KIB)
EMPTY = bz2.compress(b"")

SHAPES = {
    "nothing": b"",
    "one byte": b"x",
    "exactly one block": text(99_981),
    "a byte more": text(99_982),
    "many blocks": DATA,
    "zeros": bytes(700 * KIB),
    "runs": b"".join(bytes((byte,)) * run for byte, run in enumerate(range(1, 256))),
}


def check(compressed: bytes, expected: bytes) -> FirstPass:
    """Decodes without complaint, and reads the same from everywhere. Returns the pass."""
    output, passed = decoded(compressed)
    assert output == expected
    assert passed.damages == [] and passed.suspect == []
    stream = opened(compressed, passed)
    check_all_points(stream, expected)
    check_reads(stream, expected, random.Random(1).sample(range(len(expected) + 1), min(10, len(expected))))
    return passed


@pytest.mark.parametrize("tool", ["bzip2", "lbzip2", "pbzip2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_makers(tool: str, shape: str) -> None:
    options = ("-1", "-b1") if tool == "pbzip2" else ("-1",)
    passed = check(made_by(tool, SHAPES[shape], *options), SHAPES[shape])
    assert passed.warnings == []


@pytest.mark.parametrize("level", range(1, 10))
def test_levels(level: int) -> None:
    expected = text(250_000)
    passed = check(bz2.compress(expected, level), expected)
    assert passed.frames == (3, 2, 1)[min(level, 3) - 1]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 250_000), st.integers(1, 9)), max_size=4), st.integers(0, 100))
def test_law_of_streams_in_a_row(streams: list[tuple[int, int]], seed: int) -> None:
    """Whatever is concatenated, empty streams and all, decodes to the concatenation."""
    pieces = [(mixed(size, seed + number), level) for number, (size, level) in enumerate(streams)]
    compressed = b"".join(bz2.compress(piece, level) for piece, level in pieces)
    check(compressed or EMPTY, b"".join(piece for piece, _level in pieces))


def test_empty_streams_anywhere() -> None:
    one, two = bz2.compress(b"one"), bz2.compress(b"two")
    assert check(EMPTY + one + EMPTY * 3 + two + EMPTY, b"onetwo").frames == 2


def test_many_tiny_streams_come_in_large_chunks_and_few_points() -> None:
    compressed = bz2.compress(b"0123456789" * 50) * 1500
    first_pass = FirstPass(BytesSource(compressed), Limits())
    chunks = list(first_pass)
    assert b"".join(chunks) == b"0123456789" * 75_000
    assert len(chunks) == 3
    assert len(opened(compressed, first_pass).points) == 3


def test_blocks_that_run_lengths_make_large() -> None:
    """46 MB of one byte are one block: it comes in pieces, and is read anywhere."""
    expected = bytes(48_000_000)
    compressed = bz2.compress(expected)
    output, passed = decoded(compressed, 256 * KIB)
    assert output == expected
    assert passed.frames == 2
    stream = opened(compressed, passed)
    check_reads(stream, expected, [0, 20_000_000, 45_899_000, 47_999_000])


@pytest.mark.parametrize("padding", [b"\0", bytes(511), bytes(3 * MIB)], ids=len)
def test_zeros_behind_the_last_stream_are_padding(padding: bytes) -> None:
    assert check(bz2.compress(DATA) + padding, DATA).warnings == []


@pytest.mark.parametrize(
    "garbage", [b"x", b"BZ0 is no header", bytes(5) + b"\1", b"\xff" * (2 * MIB)], ids=len
)
def test_garbage_behind_the_last_stream_is_told(garbage: bytes) -> None:
    compressed = bz2.compress(DATA)
    (warning,) = check(compressed + garbage, DATA).warnings
    assert warning.startswith(f"{len(garbage)} bytes of garbage")
    assert str(len(compressed)) in warning


# Marks that are none


def test_marks_are_found_at_every_bit() -> None:
    for mark in (bits.BLOCK, bits.END):
        for place in range(70):
            source = BytesSource((mark << 96 >> place).to_bytes(18, "big"))
            assert list(bits.marks(source, 0, 144)) == [(place, mark)]
            assert list(bits.marks(source, place, place + 48)) == [(place, mark)]
            assert list(bits.marks(source, place + 1, 144)) == []
            assert list(bits.marks(source, 0, place + 47)) == []
            assert bits.bits(source, place, 48) == mark


def test_marks_are_found_across_the_borders_of_pieces() -> None:
    for shift in range(8):
        for distance in range(-8, 3):
            data = bytearray(bits.PIECE * 2)
            at = bits.PIECE + distance
            data[at : at + 7] = (bits.BLOCK << 8 - shift).to_bytes(7, "big")
            found = list(bits.marks(BytesSource(bytes(data)), 0, len(data) * 8))
            assert found == [(at * 8 + shift, bits.BLOCK)]


FALSE = {
    "block": symbols(100) + nibbles(bits.BLOCK) + symbols(100, 2),
    "end": symbols(100) + nibbles(bits.END) + symbols(100, 2),
    "half a byte on": symbols(101) + nibbles(bits.BLOCK) + symbols(100, 2),
    "first": nibbles(bits.BLOCK) + symbols(100),
    "last": symbols(100) + nibbles(bits.END),
    "nothing else": nibbles(bits.BLOCK) * 500 + nibbles(bits.END) * 500,
}


@pytest.mark.parametrize("kind", FALSE)
def test_marks_within_a_block_are_no_marks(kind: str) -> None:
    """Whatever a block holds, it is decoded as libbz2 does, its neighbours too."""
    compressed, expected = crafted(symbols(300), FALSE[kind], symbols(200, 5))
    assert bz2.decompress(compressed) == expected
    assert len(list(bits.marks(BytesSource(compressed), 0, len(compressed) * 8))) > 4
    assert check(compressed, expected).frames == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.integers(2, 14).map(lambda symbol: [symbol]),
                st.lists(st.integers(0, 1), max_size=8).map(lambda run: [*run, 2]),
                st.sampled_from((nibbles(bits.BLOCK), nibbles(bits.END))),
            ),
            min_size=1,
            max_size=30,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_law_of_any_symbols(blocks: list[list[list[int]]]) -> None:
    try:
        compressed, expected = crafted(*([*chain.from_iterable(parts)] for parts in blocks))
    except ValueError:
        reject()
    assert bz2.decompress(compressed) == expected
    check(compressed, expected)


def test_a_stream_that_ends_where_a_mark_was_guessed() -> None:
    """The end of a one-block stream that the search did not see must not be taken for that of the guess."""
    one = bz2.compress(b"one")
    source = BytesSource(one + bz2.compress(b"two"))
    found = list(bits.marks(source, 0, source.size * 8))
    assert block.decode(source, found[0][0], found[2][0]) is None
    one_block = block.decode(source, found[0][0], found[1][0])
    assert one_block and one_block.data == b"one"


# Recognising and reading


def test_recognised() -> None:
    for compressed in (EMPTY, bz2.compress(b"x", 1), bz2.compress(DATA)):
        assert CODEC.recognise(compressed[:65536])
        for cut in range(10):
            assert not CODEC.recognise(compressed[:cut])
    for other in (
        b"BZh0" + EMPTY[4:],
        b"BZ0" + EMPTY[3:],
        b"BZh9" + bytes(20),
        b"BZhang wrote this text",
        b"",
    ):
        assert not CODEC.recognise(other)


def test_points_are_apart() -> None:
    compressed = bz2.compress(text(700 * KIB), 1)
    output, passed = decoded(compressed, 256 * KIB)
    points = opened(compressed, passed).points
    assert all(later - earlier >= 256 * KIB for earlier, later in pairwise(points))
    assert len(points) == 3
    check_all_points(opened(compressed, passed), output)


def test_the_index_is_canonical() -> None:
    compressed = bz2.compress(DATA, 1)
    assert decoded(compressed)[1].index() == decoded(compressed)[1].index()


def test_a_pass_that_is_left_early_leaves_no_thread() -> None:
    before = threading.active_count()
    chunks = iter(FirstPass(BytesSource(bz2.compress(DATA * 6, 1)), Limits()))
    next(chunks)
    assert threading.active_count() > before
    assert isinstance(chunks, Generator)
    chunks.close()
    assert threading.active_count() == before


def test_cursors_side_by_side() -> None:
    compressed = bz2.compress(DATA, 1)
    stream = opened(compressed, decoded(compressed)[1])
    wrong: list[int] = []

    def read(seed: int) -> None:
        offsets = random.Random(seed).sample(range(len(DATA)), 15)
        wrong.extend(at for at in offsets if read_at(stream, at, 3000) != DATA[at : at + 3000])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_beside_a_name() -> None:
    assert CODEC.name == "bzip2" and CODEC.magic
    assert CODEC.suffixes[b".tbz2"] == b".tar"
    assert CODEC.first_pass(BytesSource(EMPTY), Limits()).name == b""
