"""deflate with random access: from any block, by any library, with windows of which only what is needed is kept."""

from __future__ import annotations

import ctypes
import random
import sys
import types
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rofuse_formats.deflate import inflate, libz, points, reader
from rofuse_formats.deflate.decoding import Decoding
from rofuse_formats.deflate.feed import Feed
from rofuse_formats.deflate.points import INSIDE, START, Points, kept_window, trimmed
from rofuse_formats.deflate.reader import Reader, filler
from rofuse_formats.errors import DamagedError, TruncatedError
from tests.formats.gzip_support import LIBRARIES, deflated
from tests.formats.zstd_support import KIB, MIB, SHAPES, BytesSource, mixed, text

WINDOW = inflate.LARGEST_WINDOW


def whole(stream: Reader) -> bytes:
    parts = []
    while data := stream.read(100_000):
        parts.append(data)
    return b"".join(parts)


def boundaries(stream: bytes) -> list[tuple[int, int]]:
    """(bit, decoded offset) of all blocks but the first, as zlib finds them."""
    inflater = libz.inflater()
    assert inflater
    inflater.begin()
    inflater.give(stream, 0)
    found, size = [], 0
    while not inflater.ended:
        inflater.run(to_block=True)
        unused = inflater.unused_bits()
        if unused is not None:
            found.append((8 * (len(stream) - inflater.left) - unused, size + inflater.filled))
        if inflater.filled == libz.BUFFER:
            size += len(inflater.take())
    return found


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("shift", range(8))
def test_filler_is_nothing_and_ends_at_its_bit(shift: int, library: inflate.Library) -> None:
    value, bits = filler(shift)
    assert bits % 8 == shift
    assert bits < 128
    last = value | 0b011 << bits  # the last block, fixed codes; seven zeros end it
    decompressor = library.decompressor()
    assert decompressor.decompress(last.to_bytes((bits + 10 + 7) // 8, "little")) == b""
    assert decompressor.eof
    assert decompressor.unused_data == b""


def test_isal_is_among_the_libraries() -> None:
    pytest.importorskip("isal")
    assert inflate.fastest() is not inflate.ZLIB


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_reading_from_every_block_at_every_shift(library: inflate.Library) -> None:
    data = mixed(600 * KIB)
    stream = deflated(data, memory=1)
    shifts = set()
    for bit, decoded in boundaries(stream):
        source = BytesSource(b"xyz" + stream + b"behind")
        stretch = Reader(Feed(source), bit + 24, data[max(0, decoded - WINDOW) : decoded], library)
        assert whole(stretch) == data[decoded:]
        assert stretch.ended
        assert stretch.offset == 3 + len(stream)
        shifts.add(bit % 8)
    assert shifts == set(range(8))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 32),
    level=st.integers(0, 9),
    memory=st.integers(1, 9),
    strategy=st.sampled_from((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED)),
    flush=st.sampled_from((None, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH)),
)
def test_law_of_points(seed: int, level: int, memory: int, strategy: int, flush: int | None) -> None:
    """Whatever the encoder: from each point with its kept window the rest is decoded, by each library."""
    chance = random.Random(seed)
    data = SHAPES[chance.choice(sorted(SHAPES))](chance.randrange(1, 300 * KIB), seed)
    encoder, parts, at = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy), [], 0
    while at < len(data):
        size = chance.randrange(1, 30_000)
        parts.append(encoder.compress(data[at : at + size]))
        parts.append(encoder.flush(flush) if flush is not None else b"")
        at += size
    before = chance.randbytes(chance.randrange(10))
    source = BytesSource(b"".join((before, *parts, encoder.flush(), b"behind")))
    found = Points(source, spacing=16 * KIB)
    decoding = Decoding(Feed(source), len(before), libz.inflater(), found)
    assert b"".join(decoding) == data
    assert decoding.offset == source.size - len(b"behind")
    kept = found.finish(len(data))
    found.close()
    assert memory > 4 or len(kept) > len(data) // (100 * KIB)
    for point in kept:
        bit = point.offset if point.detail == INSIDE else 8 * len(before)
        window = point.window.unpack() if point.window else b""
        for library in LIBRARIES.values():
            assert whole(Reader(Feed(source), bit, window, library)) == data[point.decoded :]


def test_a_window_is_kept_as_far_as_it_is_needed() -> None:
    data = text(300 * KIB)
    stream = deflated(data, memory=5)
    for bit, decoded in boundaries(stream):
        window = data[max(0, decoded - WINDOW) : decoded]
        kept = trimmed(BytesSource(stream), bit, window)
        assert len(kept) == len(window)
        assert all(a in (0, b) for a, b in zip(kept, window, strict=True))
        assert whole(Reader(Feed(BytesSource(stream)), bit, kept)) == data[decoded:]
        if len(data) - decoded > WINDOW:
            assert kept.count(0) > len(kept) // 4  # text refers to itself; yet not to all of itself


def test_no_window_is_kept_where_none_is_needed() -> None:
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    parts: list[bytes] = []
    for part in (text(100 * KIB, 1), text(100 * KIB, 2), text(100 * KIB, 3)):
        parts += (encoder.compress(part), encoder.flush(zlib.Z_FULL_FLUSH))
    source = BytesSource(b"".join((*parts, encoder.flush())))
    window = kept_window(source, 8 * (len(parts[0]) + len(parts[1])), text(100 * KIB, 1)[-WINDOW:])
    assert window == (b"", 0, 0)


def test_what_cannot_be_decoded_from_is_no_point() -> None:
    stream = deflated(text(200 * KIB), memory=5)
    bit, decoded = boundaries(stream)[1]
    window = text(200 * KIB)[max(0, decoded - WINDOW) : decoded]
    assert kept_window(BytesSource(stream), bit, window)
    assert kept_window(BytesSource(stream), bit + 5, window) is None
    assert kept_window(BytesSource(stream[: bit // 8 + 1000]), bit, window) is None
    assert kept_window(BytesSource(stream), 8 * len(stream), window) is None


def test_windows_take_no_more_than_their_share() -> None:
    """32 KiB of noise, over and over: each window is all noise, and hardly a byte of source lies between."""
    noise = random.Random(1).randbytes(WINDOW - 300)
    data = noise * 4000
    source = BytesSource(deflated(data, level=9, memory=1))
    found = Points(source, spacing=64 * KIB)
    decoding = Decoding(Feed(source), 0, libz.inflater(), found)
    assert sum(map(len, decoding)) == len(data)
    kept = found.finish(len(data))
    found.close()
    packed = sum(len(point.window.packed) for point in kept if point.window)
    assert packed <= source.size // points.SHARE + points.FREE_WINDOWS + WINDOW + 100
    assert len(kept) > 5


def test_points_at_starts() -> None:
    found = Points(BytesSource(b""), free_spacing=100)
    for decoded, offset in ((0, 0), (0, 5), (50, 10), (100, 20), (150, 30), (199, 40), (201, 50)):
        found.start(decoded, offset)
    found.start(210, 60, needed=True)
    found.start(210, 70, needed=True)
    found.start(210, 170)  # much is between, though it comes to nothing
    found.start(211, 269)
    found.start(212, 270)
    found.start(300, 280, needed=True)
    places = [(point.decoded, point.offset, point.detail) for point in found.finish(300)]
    assert places == [
        (0, 0, START),
        (100, 160, START),
        (201, 400, START),
        (210, 1360, START),
        (212, 2160, START),
    ]


@pytest.mark.parametrize("inflater", [True, False])
def test_truncation_and_damage_come_after_what_is_intact(inflater: bool) -> None:
    data = mixed(MIB)
    stream = deflated(data)
    for cut in (0, 1, 2, 100, len(stream) // 2, len(stream) - 1):
        source = BytesSource(stream[:cut])
        found = Points(source)
        pieces = iter(Decoding(Feed(source), 0, libz.inflater() if inflater else None, found))
        output = b""
        with pytest.raises(TruncatedError) as failed:
            for piece in pieces:
                output += piece
        found.close()
        assert data.startswith(output)
        assert cut < 1000 or len(output) > cut // 2
        assert failed.value.offset == cut
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    intact = encoder.compress(data) + encoder.flush(zlib.Z_FULL_FLUSH)
    source = BytesSource(intact + b"\7" + bytes(1000))  # a block of a type that does not exist
    found, output = Points(source), b""
    with pytest.raises(DamagedError) as damaged:
        for piece in Decoding(Feed(source), 0, libz.inflater() if inflater else None, found):
            output += piece
    found.close()
    assert output == data if inflater else data.startswith(output)
    assert not isinstance(damaged.value, TruncatedError)
    assert damaged.value.offset is not None
    assert len(intact) - reader.LARGEST_PIECE < damaged.value.offset <= source.size


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_reader_gives_what_a_truncated_stream_holds(name: str, library: inflate.Library) -> None:
    """zlib all of it, whatever the end; so an index that knows of an early end is read with zlib."""
    data = text(100 * KIB)
    stream = deflated(data, memory=4)
    for cut in (*range(60), *random.Random(3).sample(range(len(stream)), 40)):
        stretch, output = Reader(Feed(BytesSource(stream[:cut])), 0, library=library), b""
        with pytest.raises(TruncatedError):
            while True:
                output += stretch.read(1000)
        everything = zlib.decompressobj(-15).decompress(stream[:cut])
        assert output == everything if name == "zlib" else everything.startswith(output)


def test_sizes_asked_for_are_sizes_got() -> None:
    stream = deflated(bytes(10 * MIB))
    for library in LIBRARIES.values():
        stretch = Reader(Feed(BytesSource(stream)), 0, library=library)
        for size in (1, 7, 300, 70_000):
            assert 0 < len(stretch.read(size)) <= size


def test_a_source_that_shrank_is_said_to_have() -> None:
    source = BytesSource(bytes(100))
    source.size = 200
    feed = Feed(source)
    assert feed.bytes(0, 100) == bytes(100)
    with pytest.raises(TruncatedError, match="shorter"):
        feed.bytes(150, 10)


def test_feed_moves_anywhere() -> None:
    data = random.Random(1).randbytes(3 * MIB)
    feed, chance = Feed(BytesSource(data), 2 * MIB), random.Random(2)
    for _ in range(300):
        offset, size = chance.randrange(2 * MIB + 1), chance.choice((0, 1, 100, 300_000))
        assert feed.bytes(offset, size) == data[offset : min(offset + size, 2 * MIB)]
        view = feed.view(offset, size)
        assert view == data[offset : offset + len(view)]
        assert len(view) <= size
        assert view or not size or offset == 2 * MIB


def test_loading_of_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def nothing(name: object) -> object:
        asked.append(name)
        if len(asked) == 2:
            raise OSError
        return object()  # a library without these functions

    libz.library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", nothing)
    try:
        assert libz.library() is None
        assert libz.inflater() is None
    finally:
        libz.library.cache_clear()
    assert asked[0] == "libz.so.1"
    assert asked[-1] is None


def test_isal_that_loses_what_is_behind_a_stream_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decompressor:
        eof, unused_data = True, b""

        def decompress(self, data: bytes) -> bytes:
            return b""

    old = types.ModuleType("isal")
    vars(old)["isal_zlib"] = types.SimpleNamespace(
        error=zlib.error, decompressobj=lambda wbits: Decompressor()
    )
    monkeypatch.setitem(sys.modules, "isal", old)
    inflate.fastest.cache_clear()
    try:
        assert inflate.fastest() is inflate.ZLIB
    finally:
        inflate.fastest.cache_clear()


def test_without_isal_zlib_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    inflate.fastest.cache_clear()
    try:
        assert inflate.fastest() is inflate.ZLIB
        data = text(10_000)
        assert whole(reader.Reader(Feed(BytesSource(deflated(data))), 0)) == data
    finally:
        inflate.fastest.cache_clear()
