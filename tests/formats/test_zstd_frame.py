"""Frame and block headers."""

from __future__ import annotations

from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.codecs.zstd import CODEC, frame
from rofuse_formats.errors import DamagedError
from tests.formats.zstd_support import zstd

MAGIC = b"\x28\xb5\x2f\xfd"
EMPTY = zstandard.ZstdCompressor().compress(b"")


def skippable(content: bytes, number: int = 0) -> bytes:
    return (0x184D2A50 + number).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


@pytest.mark.parametrize(
    ("size", "options"),
    [(0, {}), (1, {}), (255, {}), (256, {}), (70_000, {}), (70_000, {"write_content_size": False}),
     (1000, {"write_checksum": True}), (3_000_000, {"level": 1})],
)  # fmt: skip
def test_header_says_what_the_library_says(size: int, options: dict[str, Any]) -> None:
    data = zstandard.ZstdCompressor(**options).compress(b"x" * size)
    ours = frame.frame_header(data[: frame.LONGEST_HEADER], 0)
    theirs = zstandard.get_frame_parameters(data)
    assert ours is not None
    assert ours.header == zstandard.frame_header_size(data)
    assert ours.window == theirs.window_size
    assert ours.checksum == theirs.has_checksum
    assert ours.content == (size if options.get("write_content_size", True) else None)
    for cut in range(5, ours.header):
        assert frame.frame_header(data[:cut], 0) is None


def test_window_descriptor_of_every_window() -> None:
    for descriptor in range(256):
        size = frame.window_size(descriptor)
        assert frame.window_descriptor(size) == descriptor
        if descriptor < 255:
            assert frame.window_descriptor(size + 1) == descriptor + 1
    assert frame.window_descriptor(0) == frame.window_descriptor(1) == 0


@given(st.binary(max_size=20))
def test_any_bytes_are_a_header_or_damage(data: bytes) -> None:
    try:
        header = frame.frame_header(MAGIC + data, 0)
    except DamagedError:
        return
    assert header is None or header.header <= len(data) + 4


@pytest.mark.parametrize("levels", ["-1", "-19"])
def test_small_frame_is_measured_exactly(levels: str) -> None:
    data = zstd(b"some text, " * 1000, levels)
    assert frame.small_frame(b"??" + data + b"more", 2, 1 << 27) is not None
    assert (frame.small_frame(b"??" + data + b"more", 2, 1 << 27) or (0,))[0] == len(data)
    for cut in range(len(data)):
        assert frame.small_frame(data[:cut], 0, 1 << 27) is None


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", False),
        (MAGIC, True),
        (EMPTY, True),
        (MAGIC + b"\x08", False),
        (MAGIC[:3], False),
        (skippable(b"abc") + EMPTY, True),
        (skippable(b"abc", 15) + skippable(b"") + EMPTY, True),
        (skippable(b"abc"), True),
        (skippable(b"a" * 100)[:50], True),
        (skippable(b"abc") + b"\x04\x22\x4d\x18", False),  # LZ4
        (skippable(b"abc") + b"PK\3\4", False),
        (b"\x04\x22\x4d\x18", False),
        (b"\x25\xb5\x2f\xfd\0\0", True),  # v0.5
        (b"\x1f\x8b\x08", False),
        (b"PK\3\4", False),
    ],
)
def test_recognise(head: bytes, expected: bool) -> None:
    assert CODEC.recognise(head) is expected
