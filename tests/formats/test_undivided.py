"""The codecs of one stream without index and check (.lzma, .Z, .br): read from the start, kept decoded, told apart."""

from __future__ import annotations

import lzma
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs import codecs, named
from rofuse_formats.codecs.brotli.decoding import window
from rofuse_formats.errors import DamagedError, LimitError, MissingLibraryError
from rofuse_formats.limits import Limits
from rofuse_formats.lzma_reader import LITTLE
from tests.formats.lzw_support import lzw
from tests.formats.units_support import (
    MIB,
    Decoded,
    check_damaged,
    check_flips,
    check_reads,
    clean,
    cursor_at,
    needs,
    run,
)
from tests.formats.zstd_support import BytesSource, mixed, text

DATA = mixed(400_000)
UNDIVIDED = ("brotli", "compress", "lzma")


def compressed(codec: str, data: bytes) -> bytes:
    if codec == "lzma":
        return lzma.compress(data, format=lzma.FORMAT_ALONE, preset=0)
    return brotli.compress(data, quality=3) if codec == "brotli" else lzw(data)


@pytest.mark.parametrize("codec", UNDIVIDED)
@pytest.mark.parametrize("size", [0, 1, 5000, 400_000])
def test_sizes(codec: str, size: int) -> None:
    decoded = clean(codec, compressed(codec, DATA[:size]), DATA[:size])
    assert decoded.stream().points == [0] and decoded.passed.frames == 1
    assert sum(end - start for start, end in decoded.unseekable) == size
    check_reads(decoded, count=5)


@pytest.mark.parametrize(
    ("codec", "command"),
    [
        pytest.param("lzma", "xz --format=lzma -0", marks=needs["xz"]),
        pytest.param("lzma", "xz --format=lzma -9", marks=needs["xz"]),
        pytest.param("compress", "compress -c", marks=needs["compress"]),
        pytest.param("compress", "compress -c -b 12", marks=needs["compress"]),
        pytest.param("brotli", "brotli -c -q 1", marks=needs["brotli"]),
        pytest.param("brotli", "brotli -c -q 9 -w 24", marks=needs["brotli"]),
    ],
)
def test_made_by_tools(codec: str, command: str) -> None:
    data = text(3 * MIB)
    check_reads(clean(codec, run(data, *command.split()), data), count=3)


@needs["bsdtar"]
@pytest.mark.parametrize("filter_", ["compress", "lzma"])
def test_made_by_libarchive(filter_: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    source = run(b"", "bsdtar", "-cf", "-", f"--{filter_}", "-C", str(tmp_path), "file")
    decoded = Decoded(filter_, source)
    assert DATA in decoded.data and not decoded.damages
    check_reads(decoded, count=3)


@pytest.mark.parametrize("codec", ["brotli", "lzma"])
def test_truncation_is_told(codec: str) -> None:
    source = compressed(codec, DATA)
    for cut in (*range(14, 40), *range(1000, len(source), len(source) // 12), len(source) - 1):
        decoded = Decoded(codec, source[:cut])
        assert DATA.startswith(decoded.data) and not decoded.passed.suspect
        (damage,) = decoded.damages
        assert str(cut) in damage
        check_damaged(decoded, DATA)


def test_truncation_of_lzw_cannot_be_told() -> None:
    source = compressed("compress", DATA)
    for cut in (3, 4, 5, 1000, len(source) // 2):
        decoded = Decoded("compress", source[:cut])
        assert DATA.startswith(decoded.data) and not decoded.damages
        assert len(decoded.data) >= (cut - 3) * 8 // 16


@pytest.mark.parametrize("codec", UNDIVIDED)
def test_flipped_bits(codec: str) -> None:
    """No check, so wrong bytes cannot be told; but what is read at random is what was read in order."""
    check_flips(codec, compressed(codec, DATA), DATA, 60, checked=False)


@pytest.mark.parametrize("codec", UNDIVIDED)
def test_garbage_is_damage(codec: str) -> None:
    source = compressed(codec, DATA)
    rng = random.Random(2)
    decoded = Decoded(codec, source[:200_000] + rng.randbytes(100_000))
    assert not decoded.passed.suspect
    assert decoded.damages or codec == "compress"
    check_damaged(decoded, None)


def test_lzma_of_known_size() -> None:
    source = bytearray(compressed("lzma", DATA))
    source[5:13] = struct.pack("<Q", len(DATA))
    decoded = clean("lzma", bytes(source), DATA)
    assert not decoded.unseekable  # known to be small
    source[5:13] = struct.pack("<Q", len(DATA) - 5)
    decoded = Decoded("lzma", bytes(source))
    assert decoded.damages and DATA.startswith(decoded.data)
    assert len(decoded.data) >= len(DATA) - LITTLE
    source[5:13] = struct.pack("<Q", len(DATA) + 5)
    assert Decoded("lzma", bytes(source)).damages


def test_what_follows_the_stream_is_told() -> None:
    decoded = Decoded("lzma", compressed("lzma", DATA) + b"garbage")
    assert decoded.data == DATA and not decoded.damages
    assert "7 bytes of garbage" in decoded.passed.warnings[0]


def test_a_bomb_comes_in_chunks() -> None:
    for codec in ("brotli", "lzma"):
        chunks = iter(named(codec).first_pass(BytesSource(compressed(codec, bytes(60 * MIB))), Limits()))
        assert max(len(next(chunks)) for _ in range(20)) <= 4 * MIB


def test_window_over_the_limit_is_refused() -> None:
    source = bytearray(compressed("lzma", DATA))
    source[1:5] = struct.pack("<I", 1 << 30)
    with pytest.raises(LimitError, match="1,024 MiB, the limit is 128 MiB; --max-window"):
        Decoded("lzma", bytes(source))


@pytest.mark.parametrize(
    ("options", "bits"), [((11, 10), 10), ((5, 16), 16), ((5, 17), 17), ((5, 22), 22), ((5, 24), 24)]
)
def test_window_of_brotli(options: tuple[int, int], bits: int) -> None:
    quality, lgwin = options
    assert window(brotli.compress(DATA, quality=quality, lgwin=lgwin)) == 1 << bits


def test_source_that_changes_after_it_was_indexed() -> None:
    rng = random.Random(12)
    for codec in UNDIVIDED:
        source = compressed(codec, DATA)
        decoded = Decoded(codec, source)
        stream = decoded.stream()
        for _ in range(20):
            at = rng.randrange(len(source) - 20)
            decoded.source.data = source[:at] + rng.randbytes(20) + source[at + 20 :]
            try:
                assert len(cursor_at(stream, rng.randrange(len(DATA) - 1000)).read(1000)) == 1000
            except DamagedError as damage:
                assert damage.offset is not None


# Which is which


def heads() -> dict[str, bytes]:
    rng = random.Random(4)
    made = {codec: compressed(codec, DATA[:1000]) for codec in UNDIVIDED}
    return made | {
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "text": text(70_000),
        "icon": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(100),
        "font": b"\0\1\0\0\0\x0f\0\x80\0\3\0\x70" + bytes(100),
        "elf": b"\x7fELF\2\1\1" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + rng.randbytes(100),
        "packed": b"\x1f\x9e" + rng.randbytes(100),
        "nothing": b"",
    }


@pytest.mark.parametrize("name", heads())
@pytest.mark.parametrize("codec", ["compress", "lzma"])
def test_recognised(name: str, codec: str) -> None:
    assert named(codec).recognise(heads()[name]) == (name == codec)


@pytest.mark.parametrize("codec", ["compress", "lzma"])
def test_noise_is_not_recognised(codec: str) -> None:
    rng = random.Random(5)
    assert not any(named(codec).recognise(rng.randbytes(100)) for _ in range(20_000))


def test_brotli_is_told_by_decoding() -> None:
    codec = codecs()["brotli"]
    assert not codec.magic
    for quality in (0, 5, 11):
        whole = brotli.compress(text(300_000), quality=quality)
        assert codec.recognise(whole[: 64 << 10])
    assert codec.recognise(brotli.compress(bytes(100 * MIB), quality=1))
    for name in ("text", "elf", "gzip", "nothing", "ones"):
        assert not codec.recognise(heads()[name]), name


# Libraries


@pytest.mark.parametrize(
    ("codec", "module", "message"),
    [
        ("brotli", "brotli", "Python package brotli"),
        ("compress", "libarchive", "libarchive-c .*libarchive13"),
    ],
)
def test_a_missing_package_is_named(
    codec: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = compressed(codec, DATA)
    monkeypatch.setitem(sys.modules, module, None)
    assert named(codec).recognise(source[: 64 << 10])
    with pytest.raises(MissingLibraryError, match=message):
        Decoded(codec, source)


def test_a_missing_system_library_is_named(tmp_path: Path) -> None:
    """The binding fails at its first symbol then, as it does in a library that is another."""
    (tmp_path / "file.Z").write_bytes(compressed("compress", DATA))
    program = """
import sys
path, *sys.path[:0] = sys.argv[1:]
from rofuse_formats.codecs import named
from rofuse_formats.errors import MissingLibraryError
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource
try:
    list(named("compress").first_pass(FileSource(path), Limits()))
except MissingLibraryError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "file.Z"), *filter(None, sys.path)]
    environment = os.environ | {"LIBARCHIVE": "libc.so.6"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert "libarchive13" in done.stdout


class FailingSource(BytesSource):
    def pread(self, size: int, offset: int, /) -> bytes:
        if offset > 100_000:
            raise OSError(5, "Input/output error")
        return super().pread(min(size, 64 << 10), offset)


@pytest.mark.parametrize("codec", UNDIVIDED)
def test_errors_of_the_source_pass(codec: str) -> None:
    source = FailingSource(compressed(codec, DATA + DATA[::-1]))
    with pytest.raises(OSError, match="Input/output error"):
        list(named(codec).first_pass(source, Limits()))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(UNDIVIDED), st.binary(max_size=3000))
def test_anything(codec: str, data: bytes) -> None:
    clean(codec, compressed(codec, data), data)
