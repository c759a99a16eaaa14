"""Damaged LZ4: what is intact, the place of the damage, and nothing wrong that is not called suspect."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats import seek_index
from rofuse_formats.codecs.lz4 import CODEC
from rofuse_formats.codecs.lz4.cursor import MAGIC
from rofuse_formats.errors import DamagedError, FormatError, IndexDamagedError, TruncatedError
from rofuse_formats.limits import Limits
from rofuse_formats.seek_index import Point, SeekIndex, Window
from tests.formats.codec_support import KIB, BytesSource, check_all_points, outside, read_at
from tests.formats.lz4_support import (
    BLOCK,
    block,
    block_offsets,
    decoded,
    frame,
    header,
    legacy,
    opened,
    skippable,
    word,
)
from tests.formats.zstd_support import mixed, text

DATA = text(350 * KIB)
BLOCKS = -(-len(DATA) // BLOCK)
CHECKED = {
    "content": frame(DATA, content_checksum=True),
    "blocks": frame(DATA, block_checksum=True),
    "both": frame(DATA, block_checksum=True, content_checksum=True, content_size=True),
    "linked": frame(DATA, linked=True, content_checksum=True),
    "linked blocks": frame(DATA, linked=True, block_checksum=True),
}
UNCHECKED = {"none": frame(DATA), "legacy": legacy(DATA)}
AFTER = text(100 * KIB, 9)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    broken = bytearray(data)
    broken[at] ^= 1 << bit
    return bytes(broken)


def check_damaged(
    compressed: bytes, expected: bytes
) -> tuple[bytes, list[DamagedError], list[tuple[int, int]]]:
    """Damage is told, all but what is suspect is as it should be, and can be read."""
    output, passed = decoded(compressed)
    assert all(
        damage.offset is not None and 0 <= damage.offset <= len(compressed) for damage in passed.damages
    )
    for start, end in outside(passed.suspect, len(output)):
        assert output[start:end] == expected[start:end]
    stream = opened(compressed, passed)
    check_all_points(stream, output, passed.suspect)
    assert all(end in stream.points for _start, end in passed.suspect if end < len(output))
    return output, passed.damages, passed.suspect


@pytest.mark.parametrize("kind", [*CHECKED, *UNCHECKED])
def test_truncation(kind: str) -> None:
    whole = (CHECKED | UNCHECKED)[kind]
    rng = random.Random(5)
    longest = 0
    for cut in sorted(
        [*range(1, 20), *range(len(whole) - 12, len(whole)), *rng.sample(range(20, len(whole)), 30)]
    ):
        output, damages, suspect = check_damaged(whole[:cut], DATA)
        assert DATA.startswith(output)
        assert len(output) >= longest
        longest = len(output)
        assert suspect == []
        if kind != "legacy" or cut != 4:  # a legacy frame has no end
            (damage,) = damages
            assert isinstance(damage, TruncatedError)
    assert longest == len(DATA) or kind == "legacy"


@pytest.mark.parametrize("kind", CHECKED)
def test_flipped_bits(kind: str) -> None:
    """Where there is a check, nothing wrong is given out unless it is suspect. The size of a block has none of its own
    in frames that have checksums of blocks only: it is spared here."""
    whole = CHECKED[kind] + frame(AFTER, content_checksum=True)
    sizes = (
        {at + i for at in block_offsets(CHECKED[kind]) for i in range(4)}
        if kind.endswith("blocks")
        else set()
    )
    rng = random.Random(11)
    for _ in range(100):
        at = rng.randrange(len(whole))
        if at in sizes:
            continue
        output, damages, _suspect = check_damaged(flipped(whole, at, rng.randrange(8)), DATA + AFTER)
        assert damages or output == DATA + AFTER


@pytest.mark.parametrize("kind", UNCHECKED)
def test_flipped_bits_without_a_check(kind: str) -> None:
    """Wrong bytes cannot be told, but nothing worse happens."""
    rng = random.Random(12)
    for _ in range(100):
        broken = flipped(UNCHECKED[kind], rng.randrange(len(UNCHECKED[kind])), rng.randrange(8))
        output, _damages, _suspect = check_damaged(broken, decoded(broken)[0])
        assert len(output) <= len(DATA) + 8 * BLOCK


def spoilt(made: bytes, number: int) -> bytes:
    """The frame with a block that neither keeps its checksum nor decodes."""
    start, end = block_offsets(made)[number : number + 2]
    checksum = 4 if made[4] & 0x10 else 0
    return made[: start + 4] + b"\xff" * (end - checksum - start - 4) + made[end - checksum :]


def test_block_with_a_checksum_is_lost_alone() -> None:
    for number in range(BLOCKS - 1):
        broken = spoilt(CHECKED["blocks"], number) + frame(AFTER)
        output, damages, suspect = check_damaged(broken, DATA + AFTER)
        assert suspect == [(number * BLOCK, number * BLOCK + BLOCK)]
        assert len(output) == len(DATA + AFTER)
        assert [damage.offset for damage in damages] == [block_offsets(CHECKED["blocks"])[number]]


def test_neighbouring_blocks_are_lost_together() -> None:
    broken = spoilt(spoilt(CHECKED["blocks"], 2), 1)
    _output, damages, suspect = check_damaged(broken, DATA)
    assert suspect == [(BLOCK, 3 * BLOCK)]
    assert len(damages) == 2


def test_last_block_is_lost_alone_where_its_size_is_known() -> None:
    after = frame(AFTER)
    output, _damages, suspect = check_damaged(spoilt(CHECKED["both"], BLOCKS - 1) + after, DATA + AFTER)
    assert suspect == [((BLOCKS - 1) * BLOCK, len(DATA))]
    assert len(output) == len(DATA + AFTER)
    output, damages, suspect = check_damaged(spoilt(CHECKED["blocks"], BLOCKS - 1) + after, DATA + AFTER)
    assert output == DATA[: (BLOCKS - 1) * BLOCK]
    assert suspect == [] and len(damages) == 1


def test_what_is_linked_to_a_damaged_block_is_lost_with_it() -> None:
    for number in range(BLOCKS - 1):
        broken = spoilt(CHECKED["linked blocks"], number) + frame(AFTER)
        output, _damages, suspect = check_damaged(broken, DATA + AFTER)
        assert suspect[0] == (number * BLOCK, len(DATA))
        assert output[len(DATA) :] == AFTER


@pytest.mark.parametrize("kind", ["content", "linked"])
def test_frame_that_cannot_be_checked_any_more_is_suspect(kind: str) -> None:
    broken = spoilt(CHECKED[kind], 1) + frame(AFTER)
    output, _damages, suspect = check_damaged(broken, DATA + AFTER)
    assert suspect == [(0, len(DATA))]
    assert output[len(DATA) :] == AFTER


def test_block_that_does_not_decode_is_lost_alone_where_nothing_is_checked() -> None:
    output, _damages, suspect = check_damaged(spoilt(UNCHECKED["none"], 1) + frame(AFTER), DATA + AFTER)
    assert suspect == [(BLOCK, 2 * BLOCK)]
    assert output[len(DATA) :] == AFTER


@pytest.mark.parametrize("kind", ["content", "both", "linked"])
def test_content_checksum_that_fails(kind: str) -> None:
    """What follows is where it should be only if the size of the frame is beyond doubt."""
    whole = CHECKED[kind]
    broken = flipped(whole, len(whole) - 1)
    output, damages, suspect = check_damaged(broken + frame(AFTER), DATA + AFTER)
    assert output == (DATA + AFTER if kind == "both" else DATA)
    assert suspect == [(0, len(DATA))]
    assert "checksum" in str(damages[0])


def test_cursor_verifies_the_content_of_a_frame() -> None:
    """When it has read all of it, and goes on."""
    source = BytesSource(CHECKED["both"] + frame(AFTER))
    stream = CODEC.open(source, decoded(source.data, spacing=1 << 30)[1].index(), Limits())
    source.data = flipped(source.data, len(CHECKED["both"]) - 1)
    cursor = stream.cursor(0)
    assert cursor.read(len(DATA)) == DATA
    with pytest.raises(DamagedError, match="checksum"):
        cursor.read(1)


def test_block_that_is_missing() -> None:
    """No block is wrong, and yet the frame is."""
    start, end = block_offsets(CHECKED["both"])[1:3]
    output, damages, suspect = check_damaged(
        CHECKED["both"][:start] + CHECKED["both"][end:] + frame(AFTER), b""
    )
    assert suspect == [(0, len(output))] == [(0, len(DATA) - BLOCK)]
    assert "not as long" in str(damages[0])


@pytest.mark.parametrize("short_before", [False, True])
def test_hole_among_blocks_of_unequal_size(short_before: bool) -> None:
    """How much is missing cannot be told; nothing that might be moved is given out."""
    full, short = block(DATA[:BLOCK], checksum=True), block(b"short", checksum=True)
    bad = word(100) + b"\xff" * 104
    parts = [short, full, bad, full] if short_before else [full, bad, full, short, full]
    broken = header(0x30) + b"".join(parts) + word(0) + frame(AFTER)
    output, damages, suspect = check_damaged(
        broken, b"short" + DATA[:BLOCK] if short_before else DATA[:BLOCK]
    )
    assert damages
    assert len(output) == (5 + BLOCK if short_before else 3 * BLOCK)
    assert suspect == ([] if short_before else [(BLOCK, 3 * BLOCK)])


def test_damaged_block_that_decodes_to_another_size_ends_it() -> None:
    bad = bytearray(block(b"short", checksum=True))
    bad[-1] ^= 1
    full = block(DATA[:BLOCK], checksum=True)
    output, damages, suspect = check_damaged(header(0x30) + full + bad + full + word(0), DATA[:BLOCK])
    assert output == DATA[:BLOCK]
    assert suspect == [] and len(damages) == 1


@pytest.mark.parametrize("garbage", [b"garbage", b"\0\0\0\1", b"\x04\x22\x4d\x19", bytes(100) + b"x"])
def test_what_follows_the_last_frame(garbage: bytes) -> None:
    output, damages, suspect = check_damaged(CHECKED["both"] + garbage, DATA)
    assert output == DATA and suspect == []
    assert [damage.offset for damage in damages] == [len(CHECKED["both"])]


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"no LZ4 at all",
        bytes(100),
        header(0x20)[:-1] + b"\0",
        header(0x20) + word(BLOCK + 1) + bytes(BLOCK + 1),
        header(0x20) + word(0x7FFFFFFF),
        header(0x20) + word(0xFFFFFFFF),
        header(0x28, b"\xff" * 8) + word(5) + b"\xff" * 5 + word(0),
        header(0x28, bytes(8)) + word(5) + b"\xff" * 5 + word(0),
        header(0x20) + block(bytes(BLOCK + 1)) + word(0),
        skippable(5)[:-1],
        word(0x184D2A50) + b"\xff" * 4,
        word(0x184D2A50) + b"\xff",
        legacy() + word(8_421_505) + b"x",
        legacy() + word(10) + b"\xff" * 10,
    ],
)
def test_hostile(hostile: bytes) -> None:
    output, damages, suspect = check_damaged(hostile, b"")
    assert output == b"" and suspect == []
    assert len(damages) == (1 if hostile else 0)
    if hostile:
        output, damages, suspect = check_damaged(frame(AFTER) + hostile, AFTER)
        assert output == AFTER and suspect == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_blocks(data: st.DataObject) -> None:
    """Frames put together from good and bad blocks of any size, with and without checksums."""
    flags = data.draw(st.sampled_from((0x20, 0x30, 0x00, 0x10, 0x34, 0x24)))
    parts = []
    for kind in data.draw(st.lists(st.integers(0, 5), max_size=12)):
        content = AFTER[:BLOCK] if kind < 3 else AFTER[: data.draw(st.integers(0, 100))]
        made = bytearray(block(content, plain=kind % 2 == 0, checksum=bool(flags & 0x10)))
        if kind in (2, 5):
            made[-1 - data.draw(st.integers(0, min(50, len(made) - 1)))] ^= 1 + data.draw(st.integers(0, 254))
        parts.append(bytes(made))
    tail = data.draw(st.sampled_from((b"", word(0), word(0) + bytes(4), word(0) + frame(b"more"))))
    broken = header(flags) + b"".join(parts) + tail
    check_damaged(broken, decoded(broken)[0])


def test_source_that_changes_after_it_was_indexed() -> None:
    """Where blocks have a checksum the cursor tells; elsewhere it gives bytes, as many as were asked for."""
    for kind, whole in (CHECKED | UNCHECKED).items():
        source = BytesSource(whole)
        stream = CODEC.open(source, decoded(whole)[1].index(), Limits())
        rng = random.Random(12)
        for _ in range(60):
            at = rng.randrange(len(whole))
            source.data = flipped(flipped(whole, at), min(at + 5, len(whole) - 1), 3)
            offset = rng.randrange(len(DATA) - 80_000)
            try:
                found = read_at(stream, offset, 80_000)
            except FormatError:
                continue
            assert len(found) == 80_000
            assert found == DATA[offset : offset + 80_000] or kind not in ("blocks", "both", "linked blocks")
        source.data = whole[: len(whole) // 3]
        with pytest.raises(DamagedError):
            read_at(stream, len(DATA) - 100, 100)


# Indexes


WHOLE = CHECKED["linked"]
INDEX = decoded(WHOLE)[1].index()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_index_is_noticed(data: st.DataObject) -> None:
    broken = bytearray(INDEX)
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IndexDamagedError):
        stream = CODEC.open(BytesSource(WHOLE), bytes(broken), Limits())
        for number in range(len(stream.points)):
            stream.cursor(number).read(1)
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(WHOLE), INDEX[:at], Limits())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_forged_index_is_refused_or_harmless(data: st.DataObject) -> None:
    """With its checksum put right."""
    end = seek_index.HEADER.size + BLOCKS * seek_index.RECORD.size
    broken = bytearray(INDEX)
    broken[data.draw(st.integers(8, end - 1))] = data.draw(st.integers(0, 255))
    seek_index.CHECKSUM.pack_into(broken, end, zlib.crc32(broken[:end]))
    try:
        stream = CODEC.open(BytesSource(WHOLE), bytes(broken), Limits())
    except IndexDamagedError:
        return
    for number in range(len(stream.points)):
        try:
            stream.cursor(number).read(3000)
        except FormatError:
            pass


def points(*found: Point, word: int = BLOCK) -> SeekIndex:
    return SeekIndex(len(WHOLE), len(WHOLE), 10, word, list(found))


@pytest.mark.parametrize(
    "index",
    [
        points(Point(0, len(WHOLE) + 1)),
        points(Point(0, 0), Point(1, 0)),
        points(Point(0, 0), word=1 << 30),
        points(Point(0, 0, 0x4080)),
        points(Point(0, 0, 1 << 17)),
        points(Point(0, 0, 0x4040)),  # linked, without a window
        points(Point(0, 0, 0x4060, Window.pack(b"w"))),
        points(Point(0, 0, 0, Window.pack(b"w"))),
        points(Point(0, 0, 0x4040, Window.pack(bytes(BLOCK + 1)))),
    ],
)
def test_index_that_cannot_be(index: SeekIndex) -> None:
    with pytest.raises(IndexDamagedError):
        CODEC.open(BytesSource(WHOLE), seek_index.write(MAGIC, index), Limits())


def test_index_that_could_be() -> None:
    window = Window.pack(mixed(BLOCK))
    index = points(Point(0, 0), Point(1, 7, 0x4040, window))
    stream = CODEC.open(BytesSource(WHOLE), seek_index.write(MAGIC, index), Limits())
    assert stream.points == [0, 1]
