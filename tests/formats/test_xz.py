"""xz: every maker, filter, check and shape; random reads; what cannot be sought in."""

from __future__ import annotations

import lzma
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs import FirstPass, named
from rofuse_formats.codecs.xz import blocks, layout
from rofuse_formats.errors import LimitError, UnsupportedError
from rofuse_formats.limits import Limits
from rofuse_formats.units import FAIR
from tests.formats.units_support import KIB, MIB, Decoded, check_reads, clean, needs, run
from tests.formats.xz_support import CHECKS, block, of_parts, stream
from tests.formats.zstd_support import BytesSource, mixed, text

DATA = mixed(3 * MIB // 2)


@needs["xz"]
@pytest.mark.parametrize(
    "options",
    [
        "-0",
        "-6",
        "-9",
        "-T2 -1 --block-size=300KiB",
        "-T1 -1 --block-size=300KiB",
        "-1 --block-size=4KiB",
        "-1 --block-list=1MiB,10KiB,1KiB,700KiB,5KiB,0",
        "-1 --check=none",
        "-1 --check=crc32 --block-size=500KiB",
        "-1 --check=sha256 --block-size=500KiB",
        "--x86 --lzma2=preset=0 --block-size=1MiB",
        "--delta=dist=4 --lzma2=preset=0,dict=64KiB --block-size=1MiB",
        "--arm --delta --x86 --lzma2=preset=0",
        "-0 --flush-timeout=1",
    ],
)
def test_made_by_xz(options: str) -> None:
    check_reads(clean("xz", run(DATA, "xz", "-c", *options.split()), DATA))


@needs["pixz"]
def test_made_by_pixz() -> None:
    data = text(3 * MIB)
    decoded = clean("xz", run(data, "pixz", "-0", "-f", "2", "-t"), data)
    assert decoded.passed.frames > 2
    check_reads(decoded)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("size", [0, 1, 3, 4096, 200_000])
def test_checks_and_sizes(check: int, size: int) -> None:
    check_reads(clean("xz", lzma.compress(DATA[:size], check=check, preset=0), DATA[:size]))


def test_sources_of_nothing() -> None:
    empty = lzma.compress(b"")
    for source in (empty, empty * 3, empty + bytes(8) + empty + bytes(400), of_parts([b"", b"", b""])):
        decoded = clean("xz", source, b"")
        assert decoded.stream().points == [0]
        assert decoded.stream().cursor(0).read(10) == b""


def test_streams_padding_and_checks_in_turn() -> None:
    parts, source = [DATA[at : at + 70_000] for at in range(0, 1_400_000, 70_000)], b""
    for number, part in enumerate(parts):
        source += lzma.compress(part, check=CHECKS[number % 4], preset=0) + bytes(number % 3 * 4)
        if number % 5 == 0:
            source += lzma.compress(b"") + of_parts([b"", part[:10], b""]) + bytes(blocks.WIDEST_GAP + 4)
            parts[number] += part[:10]
    decoded = clean("xz", source, b"".join(parts))
    check_reads(decoded)


def test_a_block_is_a_point() -> None:
    parts = [DATA[:700_000], DATA[700_000:1_200_000], DATA[1_200_000:]]
    decoded = clean("xz", of_parts(parts, preset=0), DATA)
    assert decoded.passed.frames == 3
    assert decoded.stream().points == [0, 700_000, 1_200_000]
    assert not decoded.unseekable


def test_small_blocks_and_streams_share_points() -> None:
    """And the library goes from one to the next, whatever lies between."""
    block_of_many = of_parts([DATA[at : at + 5000] for at in range(0, 1_000_000, 5000)], preset=0)
    decoded = clean("xz", block_of_many, DATA[:1_000_000])
    assert len(decoded.stream().points) == 2
    check_reads(decoded)
    streams = [lzma.compress(DATA[at : at + 5000], preset=0) + bytes(4) for at in range(0, 1_000_000, 5000)]
    decoded = clean("xz", b"".join(streams), DATA[:1_000_000])
    assert len(decoded.stream().points) == 2
    assert decoded.passed.frames == 200
    check_reads(decoded)


def test_a_run_does_not_leave_a_stream_that_it_entered_midway() -> None:
    """The index behind it would be of blocks that the library has not seen."""
    first = of_parts([DATA[:600_000], DATA[600_000:610_000]], preset=0)
    second = of_parts([DATA[610_000:620_000], DATA[620_000:630_000]], preset=0)
    decoded = clean("xz", first + second, DATA[:630_000])
    assert decoded.stream().points == [0, 600_000, 610_000]
    check_reads(decoded)


def test_large_blocks_are_not_to_be_sought_in() -> None:
    size = FAIR + MIB
    large, small = block(bytes(size), preset=0), block(b"small", preset=0)
    decoded = clean("xz", stream([small, large, small]), b"small" + bytes(size) + b"small")
    assert decoded.unseekable[0][0] == 5 and decoded.unseekable[-1][1] == size + 5
    assert sum(end - start for start, end in decoded.unseekable) == size
    assert decoded.stream().points == [0, 5, size + 5]
    clean_small = clean("xz", stream([block(bytes(FAIR), preset=0)]), bytes(FAIR))
    assert not clean_small.unseekable


def test_recognised_by_magic() -> None:
    codec = named("xz")
    assert codec.recognise(lzma.compress(b"x"))
    assert not codec.recognise(lzma.compress(b"x")[:5])
    assert not codec.recognise(b"\xfd7zXY\0" + bytes(100))


def test_window_over_the_limit_is_refused() -> None:
    source = lzma.compress(DATA[:1000], preset=9)
    with pytest.raises(LimitError, match=r"64 MiB, the limit is 8 MiB; --max-window"):
        Decoded("xz", source, Limits(max_window=8 * MIB))
    exact = Limits(max_window=64 * MIB)
    assert Decoded("xz", source, exact).data == DATA[:1000]


def test_window_of_a_later_block_is_refused_too() -> None:
    source = of_parts([DATA[:1000]], preset=0) + of_parts([DATA[:1000]], preset=9)
    with pytest.raises(LimitError, match="--max-window"):
        Decoded("xz", source, Limits(max_window=8 * MIB))
    index = Decoded("xz", source).index
    stream = named("xz").open(BytesSource(source), index, Limits(max_window=8 * MIB))
    with pytest.raises(LimitError, match="--max-window"):
        stream.cursor(0).read(2000)


def test_memory_of_a_cursor_is_told_by_what_is_decoded() -> None:
    small = Decoded("xz", lzma.compress(DATA[:MIB], preset=6)).stream()
    assert MIB < small.cursor_bytes < 4 * MIB
    large = Decoded("xz", lzma.compress(bytes(40 * MIB), preset=6)).stream()
    assert 8 * MIB < large.cursor_bytes < 11 * MIB


@pytest.mark.parametrize("flags", [b"\0\7", b"\1\4", b"\0\x14"])
def test_unknown_checks_are_refused(flags: bytes) -> None:
    header = layout.MAGIC + flags + zlib.crc32(flags).to_bytes(4, "little")
    unknown = header + of_parts([b"x"])[layout.HEADER :][:20]
    with pytest.raises(UnsupportedError, match=flags.hex()):
        Decoded("xz", unknown)
    chunks = iter(named("xz").first_pass(BytesSource(lzma.compress(b"before") + unknown), Limits()))
    assert next(chunks) == b"before"
    with pytest.raises(UnsupportedError, match=flags.hex()):
        next(chunks)


def test_a_first_pass_may_be_left() -> None:
    """Its threads end with it."""
    source = of_parts([bytes(2 * MIB)] * 20, preset=0)
    passed: FirstPass = named("xz").first_pass(BytesSource(source), Limits())
    chunks = iter(passed)
    next(chunks)
    del chunks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


def test_memory_of_the_first_pass(tmp_path: Path) -> None:
    """300 MiB in blocks of 24 MiB, by two threads, and in one of 60 MiB."""
    blocks_of_24 = stream([block(bytes(24 * MIB), preset=0)] * 10)
    (tmp_path / "source.xz").write_bytes(blocks_of_24 + stream([block(bytes(60 * MIB), preset=0)]))
    program = """
import sys
path, *sys.path[:0] = sys.argv[1:]
from rofuse_formats.codecs import named
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource
size = sum(map(len, named("xz").first_pass(FileSource(path), Limits())))
assert size == 300 << 20, size
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "source.xz"), *filter(None, sys.path)]
    peak = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert peak < 120 * KIB  # in KiB; the interpreter takes 20 MiB of it


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(CHECKS),
            st.lists(st.binary(max_size=300) | st.just(DATA[:20_000]), max_size=5),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_streams_of_any_blocks(streams: list[tuple[int, list[bytes], int]]) -> None:
    source = b"".join(
        of_parts(parts, check, preset=0) + bytes(4 * padding) for check, parts, padding in streams
    )
    decoded = clean("xz", source, b"".join(part for _, parts, _ in streams for part in parts))
    assert decoded.passed.frames == sum(len(parts) for _, parts, _ in streams)
    check_reads(decoded, count=5)


@given(st.integers(0, (1 << 63) - 1))
def test_multibyte_integers(number: int) -> None:
    data = layout.encoded(number)
    assert len(data) <= 9
    assert layout.integer(b"x" + data + b"y", 1) == (number, 1 + len(data))
    for end in range(len(data)):
        with pytest.raises(ValueError):
            layout.integer(data[:end], 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\0", b"\xff" * 9 + b"\1", b"\xff" * 20])
def test_no_multibyte_integers(data: bytes) -> None:
    with pytest.raises(ValueError):
        layout.integer(data, 0)
