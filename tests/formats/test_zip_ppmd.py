"""The method ppmd: bounded by what its header says, and never wrong bytes. (7-Zip's archives are in ``testdata``.)"""

from __future__ import annotations

import random
import struct
import sys

import pytest

from rofuse_formats import Archive
from rofuse_formats.errors import DamagedError, FormatError, LimitError, MissingLibraryError
from rofuse_formats.limits import MIB
from testdata.by_hand import Member, archive
from testdata.workshop import prose
from tests.formats.zip_support import content, opened, piece

pyppmd = pytest.importorskip("pyppmd")

TEXT = prose(1, 150_000) * 8  # larger than what is decoded whole
ORDER, MEMORY = 6, 2 * MIB


def packed(data: bytes, restoration: int = 0) -> bytes:
    encoder = pyppmd.Ppmd8Encoder(ORDER, MEMORY, restoration)
    head = struct.pack("<H", ORDER - 1 | (MEMORY // MIB - 1) << 4 | restoration << 12)
    return bytes(head + encoder.encode(data) + encoder.flush())


def archived(data: bytes, content: bytes) -> Archive:
    return opened(archive(Member(b"file", data, 98, content)))


@pytest.mark.parametrize("restoration", [0, 1])
@pytest.mark.parametrize("size", [1, 5_000, len(TEXT)])
def test_it_is_read(size: int, restoration: int) -> None:
    data = TEXT[:size]
    assert content(archived(data, packed(data, restoration)), b"file") == data


def test_at_random() -> None:
    found, chance = archived(TEXT, packed(TEXT)), random.Random(1)
    for _ in range(20):
        offset = chance.randrange(len(TEXT))
        assert piece(found, b"file", offset, 5_000) == TEXT[offset : offset + 5_000]


def test_a_model_beyond_the_limit() -> None:
    for data in (TEXT, TEXT[:100]):
        found = opened(archive(Member(b"file", data, 98, packed(data))), max_window=MIB)
        with pytest.raises(LimitError, match="max-window"):
            content(found, b"file")


@pytest.mark.parametrize("head", [b"", b"\x05", b"\x10\x00", b"\x15\x20", b"\xff\xff"])
def test_a_model_that_cannot_be(head: bytes) -> None:
    for data in (TEXT, TEXT[:100]):
        with pytest.raises(DamagedError):
            content(archived(data, head + packed(data)[2:] if len(head) == 2 else head), b"file")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    with pytest.raises(MissingLibraryError, match="pip install pyppmd"):
        content(archived(TEXT, packed(TEXT)), b"file")


def test_what_ends_early() -> None:
    for data in (TEXT, TEXT[:5_000]):
        whole = packed(data)
        for size in (2, 5, 100, len(whole) // 2):
            with pytest.raises(DamagedError):
                content(archived(data, whole[:size]), b"file")


def test_damage_gives_no_wrong_bytes() -> None:
    data = TEXT[:50_000]
    whole, chance, refused = packed(data), random.Random(2), 0
    for _ in range(100):
        damaged = bytearray(whole)
        for _byte in range(chance.randrange(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            assert content(archived(data, bytes(damaged)), b"file") == data
        except FormatError:
            refused += 1
    assert refused > 50
