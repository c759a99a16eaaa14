"""lzop: its headers, its checksums, where it can be sought in, and what cannot be."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import pytest

from rofuse_formats.codecs import named
from rofuse_formats.codecs.lzop import library
from rofuse_formats.errors import MissingLibraryError, UnsupportedError
from tests.formats.lzop_support import ADLER, CRC, block, file, header
from tests.formats.units_support import Decoded, check_flips, check_reads, clean
from tests.formats.zstd_support import mixed

DATA = mixed(600_000)
PIECES = [DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000)]
NOISE = random.Random(1).randbytes(70_000)


@pytest.fixture(autouse=True)
def _library() -> None:
    try:
        library.version()
    except MissingLibraryError as error:  # liblzo2 is no dependency, but of lzop, which .ci/setup installs
        pytest.skip(str(error))


@pytest.mark.parametrize("flags", [0, 0x1, 0x2, 0x100, 0x200, ADLER, CRC, ADLER | CRC, ADLER | 0x1000])
def test_checksums(flags: int) -> None:
    source = file(*PIECES, NOISE, flags=flags)
    decoded = clean("lzop", source, DATA + NOISE)
    assert len(decoded.stream().points) == decoded.passed.frames == 7
    check_reads(decoded, count=10)
    if flags & 0x303:
        check_flips("lzop", file(*PIECES[:2], flags=flags), DATA[:200_000], 30, checked=True)


@pytest.mark.parametrize(
    "said", [{"version": 0x0900}, {"name": b"a file"}, {"extra": b"x" * 900}, {"method": 3}]
)
def test_headers(said: dict[str, Any]) -> None:
    decoded = clean("lzop", file(*PIECES, **said), DATA)
    assert decoded.passed.name == said.get("name", b"")


def test_files_one_behind_the_other() -> None:
    whole = file(*PIECES[:3]) + file(flags=CRC) + file(*PIECES[3:], flags=CRC)
    check_reads(clean("lzop", whole, DATA), count=10)


@pytest.mark.parametrize("said", [{"method": 0x80}, {"flags": ADLER | 0x800}])
def test_what_is_not_supported_is_named(said: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="which is not supported"):
        Decoded("lzop", file(*PIECES, **said))


def test_a_damaged_block_leaves_the_others_alone() -> None:
    whole = bytearray(file(*PIECES))
    whole[len(header(ADLER)) + len(block(PIECES[0], ADLER)) + 500] ^= 4
    decoded = Decoded("lzop", bytes(whole))
    assert decoded.passed.suspect == [(100_000, 200_000)] and "lzop block at offset" in decoded.damages[0]
    assert decoded.data[200_000:] == DATA[200_000:]


@pytest.mark.parametrize("size", [0xFFFFFFFF, (64 << 20) + 1, 1 << 26, 99_999, 100_001])
def test_a_size_that_cannot_be_is_not_believed(size: int) -> None:
    source = header(ADLER) + block(PIECES[0], ADLER, size=size) + bytes(4)
    decoded = Decoded("lzop", source)
    assert decoded.damages and not any(decoded.data)


def test_truncation_is_told() -> None:
    whole = file(*PIECES[:2]) + file(PIECES[2])
    for cut in (12, 30, 45, 60, 5_000, len(whole) // 2, len(whole) - 1, len(whole) - 4):
        decoded = Decoded("lzop", whole[:cut])
        assert DATA.startswith(decoded.data) and not decoded.passed.suspect
        assert len(decoded.damages) == 1, cut


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    source = file(*PIECES)
    library._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert named("lzop").recognise(source)
    with pytest.raises(MissingLibraryError, match="package liblzo2-2"):
        Decoded("lzop", source)
