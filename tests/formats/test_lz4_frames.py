"""LZ4 files of every make and shape decode to what went in, front to back and from every point."""

from __future__ import annotations

import random
from itertools import pairwise

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs.lz4 import CODEC
from rofuse_formats.codecs.lz4.first_pass import FirstPass
from rofuse_formats.errors import UnsupportedError
from rofuse_formats.limits import Limits
from tests.formats.codec_support import KIB, MIB, BytesSource, check_all_points, check_reads, made_by
from tests.formats.lz4_support import block, decoded, frame, header, legacy, opened, skippable, word
from tests.formats.zstd_support import mixed, text

DATA = mixed(700 * KIB)
END = word(0)

SHAPES = {
    "nothing": b"",
    "one byte": b"x",
    "exactly one block": text(64 * KIB),
    "a byte more": text(64 * KIB + 1),
    "many blocks": DATA,
    "noise": random.Random(1).randbytes(300 * KIB),
    "zeros": bytes(5 * MIB),
}


def check(compressed: bytes, expected: bytes) -> FirstPass:
    """Decodes without complaint, and reads the same from everywhere. Returns the pass."""
    output, passed = decoded(compressed)
    assert output == expected
    assert passed.damages == [] and passed.suspect == [] and passed.warnings == []
    stream = opened(compressed, passed)
    check_all_points(stream, expected)
    check_reads(stream, expected, random.Random(1).sample(range(len(expected) + 1), min(10, len(expected))))
    return passed


@pytest.mark.parametrize(
    "options",
    [
        "-1",
        "-9",
        "-B4",
        "-B4D",
        "-B5 -BD",
        "-BX",
        "-B4D -BX",
        "--no-frame-crc",
        "--content-size",
        "-l",
        "-l -9",
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_command(options: str, shape: str) -> None:
    check(made_by("lz4", SHAPES[shape], "-q", *options.split()), SHAPES[shape])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 300_000),
            st.sampled_from((4, 5, 6)),
            st.sets(st.sampled_from(("block_linked", "block_checksum", "content_checksum", "auto_flush"))),
            st.integers(-3, 4),
        ),
        max_size=3,
    ),
    st.integers(0, 100),
)
def test_law_of_frames_in_a_row(frames: list[tuple[int, int, set[str], int]], seed: int) -> None:
    """Whatever is concatenated decodes to the concatenation; an encoder that flushes leaves blocks of any size."""
    compressed, expected = [frame(b"")], []
    rng = random.Random(seed)
    for number, (size, block_size, options, level) in enumerate(frames):
        data = mixed(size, seed + number)
        names = ("block_linked", "block_checksum", "content_checksum", "auto_flush")
        settings = {name: name in options for name in names}
        encoder = lz4.frame.LZ4FrameCompressor(block_size=block_size, compression_level=level, **settings)
        compressed.append(encoder.begin())
        at = 0
        while at < size:
            step = rng.randrange(1, 100_000)
            compressed.append(encoder.compress(data[at : at + step]))
            at += step
        compressed.append(encoder.flush())
        expected.append(data)
    check(b"".join(compressed), b"".join(expected))


def test_frames_of_all_kinds_in_a_row() -> None:
    one, two = text(200 * KIB), text(100_000, 5)
    compressed = (
        skippable(10)
        + frame(one, linked=True, block_checksum=True)
        + skippable(0, 15)
        + frame(b"")
        + legacy(two)
        + frame(one, content_checksum=True, content_size=True)
        + legacy(one)
        + legacy()
        + legacy(two)
        + skippable(70_000)
    )
    passed = check(compressed, one + two + one + one + two)
    assert passed.frames == 7


def test_blocks_without_bytes() -> None:
    parts = [
        block(b"", plain=True) * 3,
        block(b"one"),
        block(b""),
        block(b"two", plain=True),
        block(b"", plain=True),
    ]
    parts[0] = word(1 << 31) * 3  # not an end mark: the bit says that nothing is stored as it is
    check(header(0x20) + b"".join(parts) + END, b"onetwo")


def test_legacy_blocks_of_eight_mebibytes() -> None:
    expected = bytes(8 * MIB) + text(8 * MIB // 10) * 10 + b"end"
    compressed = legacy(expected[: 8 * MIB], expected[8 * MIB : 16 * MIB], expected[16 * MIB :])
    passed = check(compressed, expected)
    assert opened(compressed, passed).cursor_bytes > 24 * MIB


@pytest.mark.parametrize("padding", [b"\0", bytes(511), bytes(3 * MIB)], ids=len)
def test_zeros_behind_the_last_frame_are_padding(padding: bytes) -> None:
    check(frame(DATA) + padding, DATA)


def test_dictionary_is_refused() -> None:
    for before in (b"", frame(DATA)):
        first_pass = FirstPass(BytesSource(before + header(0x21, word(77)) + END))
        output: list[bytes] = []
        with pytest.raises(UnsupportedError, match="dictionary 77"):
            output.extend(first_pass)
        assert b"".join(output) == (DATA if before else b"")


@pytest.mark.parametrize("flags", [0x80, 0xC0, 0x02])
def test_another_version_is_refused(flags: int) -> None:
    with pytest.raises(UnsupportedError):
        list(FirstPass(BytesSource(header(flags) + END)))


def test_recognised() -> None:
    made = frame(DATA, content_size=True)
    for compressed in (made, frame(b""), legacy(b"x"), skippable(5) + made, skippable(0) * 9 + legacy(b"x")):
        assert CODEC.recognise(compressed[:65536])
    for other in (
        b"",
        made[:6],
        skippable(5),
        skippable(100_000)[:65536],
        skippable(5) + b"\x28\xb5\x2f\xfd\x04\x58",
        b"\x04\x22\x4d\x18" + bytes(20),
        b"\x04\x22\x4d\x18\x62\x70\x00",
        b"\x02\x21\x4c\x18" + bytes(20),
        b"\x02\x21\x4c\x18" + b"\xff" * 20,
    ):
        assert not CODEC.recognise(other)
    assert CODEC.recognise(b"\x02\x21\x4c\x18")  # what ``lz4 -l`` makes of nothing


@pytest.mark.parametrize("linked", [False, True])
def test_points_are_apart(linked: bool) -> None:
    data = text(3 * MIB)
    first_pass = FirstPass(BytesSource(compressed := frame(data, linked=linked)))
    assert b"".join(first_pass) == data
    points = opened(compressed, first_pass).points
    assert points == [0] if linked else [0, MIB, 2 * MIB]
    output, passed = decoded(compressed, 512 * KIB, 1)
    assert len(opened(compressed, passed).points) == 6
    check_all_points(opened(compressed, passed), output)


def test_windows_are_a_small_part_of_the_source() -> None:
    data = text(12 * MIB)
    compressed = frame(data, linked=True)
    first_pass = FirstPass(BytesSource(compressed))
    assert sum(map(len, first_pass)) == len(data)
    assert len(opened(compressed, first_pass).points) > 2
    assert len(first_pass.index()) < len(compressed) / 80


def test_zeros_are_never_far_from_a_point() -> None:
    compressed = frame(bytes(70 * MIB), linked=True)
    first_pass = FirstPass(BytesSource(compressed))
    assert sum(map(len, first_pass)) == 70 * MIB
    points = opened(compressed, first_pass).points
    assert all(later - earlier <= 33 * MIB for earlier, later in pairwise([*points, 70 * MIB]))
    assert len(first_pass.index()) < 10_000


def test_the_index_is_canonical() -> None:
    compressed = frame(DATA, linked=True)
    assert decoded(compressed)[1].index() == decoded(compressed)[1].index()


def test_beside_a_name() -> None:
    assert CODEC.name == "lz4" and CODEC.magic
    assert CODEC.suffixes[b".tlz4"] == b".tar"
    assert CODEC.first_pass(BytesSource(frame(b"")), Limits()).name == b""
