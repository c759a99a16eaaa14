"""Frames that say how much they hold, and hold less or more.

The library compares the two where the last block is not empty, or where it decodes the frame at once: then a reader
whose buffer has room for the frame is refused what another, who reads it block by block, is given.
"""

from __future__ import annotations

from itertools import product

import pytest
import zstandard

from tests.formats.zstd_support import MIB, check_law, decoded, text


def block(kind: int, size: int, content: bytes = b"", last: int = 0) -> bytes:
    return (last | kind << 1 | size << 3).to_bytes(3, "little") + content


LAST = block(0, 0, last=1)  # empty
MAGIC = b"\x28\xb5\x2f\xfd"


def checksum(content: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(write_checksum=True)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)[-4:]


def framed(blocks: bytes, claim: int | None, check: bytes = b"", window: int = 0) -> bytes:
    """A frame with a window of ``1 << 10 + window`` bytes."""
    descriptor = (0 if claim is None else 0xC0) | (4 if check else 0)
    size = b"" if claim is None else claim.to_bytes(8, "little")
    return MAGIC + bytes((descriptor, window << 3)) + size + blocks + check


SINGLE = MAGIC + b"\x20\x02"  # two bytes are claimed, and are the window
SOUND = MAGIC + b"\x20\x05" + block(1, 5, b"s", 1)
PIECES = {
    "sound": SOUND,
    "unclaimed": framed(block(0, 3, b"abc", 1), None),
    "empty": MAGIC + b"\x20\x00" + LAST,
    "skippable": b"\x50\x2a\x4d\x18" + b"\1\0\0\0" + b"k",
    "ends empty": framed(block(0, 3, b"abc") + LAST, 3, checksum(b"abc")),
    "nothing": SINGLE + block(0, 0) + LAST,
    "less": SINGLE + block(0, 1, b"l") + LAST,
    "less, checked": framed(block(0, 1, b"l") + LAST, 2, checksum(b"l")),
    "nothing, checked": framed(LAST, 2, checksum(b"")),
    "less, check fails": framed(block(0, 1, b"l") + LAST, 2, b"wron"),
    "empty, check fails": framed(LAST, 0, b"wron"),
    "less, told by the library": SINGLE + block(1, 1, b"l", 1),
    "much": framed(block(0, 1, b"m") + LAST, 1 << 62),
    "more": framed(block(1, 40, b"m") * 60 + LAST, 2399),
    "more, checked": framed(block(1, 40, b"m") * 60 + LAST, 2390, checksum(b"m" * 2400)),
    "more, told by the library": SINGLE + block(1, 3, b"m", 1),
    "of no bytes": SINGLE + block(0, 2, b"ab") + block(2, 0, last=1),  # a compressed block has two at least
    "of no bytes, midway": framed(block(0, 2, b"ab") + block(2, 0) + block(0, 1, b"c", 1), None),
    "damaged": framed(block(1, 3, b"d") + block(2, 9, b"\xff" * 9) + LAST, 6),
}  # fmt: skip
WRONG = [name for name in PIECES if name not in ("sound", "unclaimed", "empty", "skippable", "ends empty")]


@pytest.mark.parametrize("first", PIECES)
@pytest.mark.parametrize("spacing", [1, 4 * MIB])
def test_every_cursor_gives_what_is_intact_of_any_three_frames(first: str, spacing: int) -> None:
    for names in ((first, *others) for others in product(PIECES, repeat=2)):
        _, passed = check_law(b"".join(map(PIECES.__getitem__, names)), free_spacing=spacing)
        assert bool(passed.damages) == any(name in WRONG for name in names), names


@pytest.mark.parametrize("name", WRONG)
def test_it_is_told_and_what_came_before_is_intact(name: str) -> None:
    output, passed = check_law(SOUND + PIECES[name] + SOUND)
    assert output.startswith(b"sssss")
    assert len(passed.damages) == 1
    assert all(start >= 5 for start, _end in passed.suspect)


@pytest.mark.parametrize(
    ("blocks", "check", "is_certain"),
    [
        (block(0, 3, b"abc") + LAST, b"", False),
        (block(0, 3, b"abc") + LAST, checksum(b"abc"), True),  # so it is the claim that is wrong
        (block(0, 3, b"abc") + LAST, checksum(b"abcd"), False),
        (block(0, 5, b"abcde") + LAST, b"", False),
        (block(0, 5, b"abcde") + LAST, checksum(b"abcde"), False),  # what follows lies where the claim says
        (block(0, 5, b"abcde") + LAST, checksum(b"abcd"), True),  # the claim it is that is right
    ],
)
def test_whether_what_follows_is_where_it_belongs(blocks: bytes, check: bytes, is_certain: bool) -> None:
    """Where it is not certain nothing that follows is given out."""
    output, passed = check_law(SOUND + framed(blocks, 4, check) + SOUND)
    assert len(passed.damages) == 1
    assert output.endswith(b"sssss")
    assert passed.suspect[-1][1] == len(output) - (5 if is_certain else 0)


@pytest.mark.parametrize("size", [699_000, 701_000])
def test_points_within_a_frame_that_claims_less_or_more(size: int) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=15, write_content_size=False)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = text(700_000)
    blocks = encoder.compress(data) + encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + encoder.flush()
    for check in (b"", checksum(data)):
        compressed = SOUND + framed(blocks[6:], size, check, window=5) + SOUND
        _, passed = check_law(compressed, spacing=64 << 10, free_spacing=1, windows_apart=1)
        assert len(passed.damages) == 1
        assert passed.suspect[0][0] == 5


def test_what_is_claimed_is_named() -> None:
    _, passed = decoded(SOUND + PIECES["much"])
    (damage,) = passed.damages
    assert damage.offset == len(SOUND)
    assert str(damage) == f"zstd frame at offset {len(SOUND)} claims {1 << 62} bytes and holds 1"


@pytest.mark.parametrize("repeated", [600, 1200, 3000])
def test_match_from_before_the_window(repeated: int) -> None:
    """A decoder that sees the whole frame at once has what it refers to, and another one may not."""
    data = text(repeated) * 3
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=14)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    parts = []
    for at in range(0, len(data), 500):
        parts.append(encoder.compress(data[at : at + 500]))
        parts.append(encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    blocks = b"".join(parts)[6:]  # without magic, descriptor, and window
    last = block(1, 1, b"l", 1)
    check_law(SOUND + framed(blocks + last, len(data) + 1) + SOUND)
