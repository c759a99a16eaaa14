"""Streams and readers over a codec that decodes nothing: which bytes, how many cursors, how far they run."""

from __future__ import annotations

import os
import random
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats import Archive, Settings, index
from rofuse_formats.codecs import Cursor
from rofuse_formats.entry import Extent
from rofuse_formats.errors import DamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.readers import DecodedReader, SourceReader
from rofuse_formats.source import FileSource
from rofuse_formats.streams import (
    BLOCK,
    BlockCache,
    DecodedStream,
    PartStream,
    SpannedStream,
    StoredStream,
)

BYTES = random.Random(1).randbytes(40 * BLOCK + 777)


class Copying:
    """A codec's stream whose decoded bytes are ``data``; counts what is made and decoded."""

    def __init__(
        self, data: bytes, points: list[int], cursor_bytes: int = 1 << 20, damage: int | None = None
    ) -> None:
        self.data, self.size, self.points, self.cursor_bytes = data, len(data), points, cursor_bytes
        self.damage = len(data) + 1 if damage is None else damage
        self.started: list[int] = []
        self.decoded = 0
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    def cursor(self, point: int) -> Cursor:
        self.started.append(point)
        return _Copy(self, self.points[point])


class _Copy:
    def __init__(self, stream: Copying, position: int) -> None:
        self.stream, self.position = stream, position

    def read(self, size: int) -> bytes:
        stream = self.stream
        with stream.lock:
            stream.running += 1
            stream.most_running = max(stream.most_running, stream.running)
        data = stream.data[self.position : self.position + size]
        self.position += len(data)
        with stream.lock:
            stream.running -= 1
            stream.decoded += len(data)
        if self.position >= stream.damage:
            raise DamagedError("damaged")
        return data

    def skip(self, size: int) -> None:
        self.read(size)


def test_every_read_is_the_bytes() -> None:
    stream = DecodedStream(
        Copying(BYTES, [0, 5 * BLOCK + 3, 20 * BLOCK, 39 * BLOCK + 1]), BlockCache(6 * BLOCK)
    )
    chance = random.Random(2)
    for _round in range(300):
        offset, size = chance.randrange(len(BYTES) + 10), chance.choice((1, 4096, BLOCK, 3 * BLOCK + 5))
        assert b"".join(stream.read(offset, size)) == BYTES[offset : offset + size]


def test_reading_in_sequence_decodes_each_byte_once() -> None:
    codec = Copying(BYTES, [0, 7 * BLOCK, 20 * BLOCK])
    stream = DecodedStream(codec, BlockCache(4 * BLOCK))
    got = [b"".join(stream.read(offset, 5000)) for offset in range(0, len(BYTES), 5000)]
    assert b"".join(got) == BYTES
    assert codec.started == [0]
    assert codec.decoded == len(BYTES)


def test_reading_begins_at_the_nearest_point() -> None:
    codec = Copying(BYTES, [0, 7 * BLOCK, 20 * BLOCK])
    DecodedStream(codec, BlockCache()).read(22 * BLOCK, 10)
    assert codec.started == [2]
    assert codec.decoded == 3 * BLOCK


def test_what_was_passed_over_is_not_decoded_again() -> None:
    codec = Copying(BYTES, [0])
    stream = DecodedStream(codec, BlockCache())
    for offset in range(10 * BLOCK, 0, -BLOCK):
        assert stream.read(offset, 1) == [BYTES[offset : offset + 1]]
    assert codec.decoded == 11 * BLOCK


def test_many_threads_share_the_work_and_the_memory() -> None:
    codec = Copying(BYTES, list(range(0, len(BYTES), 5 * BLOCK)), cursor_bytes=15 << 20)
    stream = DecodedStream(codec, BlockCache(2 * len(BYTES)))
    wrong = []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for _round in range(100):
            offset = chance.randrange(len(BYTES))
            if b"".join(stream.read(offset, 9000)) != BYTES[offset : offset + 9000]:
                wrong.append(offset)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert codec.most_running == 1  # 40 MiB for all cursors, half of it for those that run
    assert codec.decoded <= 2 * len(BYTES)


def test_damage_is_raised_and_does_not_spread() -> None:
    stream = DecodedStream(Copying(BYTES, [0, 20 * BLOCK], damage=10 * BLOCK), BlockCache())
    assert b"".join(stream.read(8 * BLOCK, 100)) == BYTES[8 * BLOCK :][:100]
    for _try in range(2):
        with pytest.raises(DamagedError):
            stream.read(9 * BLOCK, 100)
    stream._stream.damage = len(BYTES) + 1  # type: ignore[attr-defined]
    assert b"".join(stream.read(9 * BLOCK, 100)) == BYTES[9 * BLOCK :][:100]


def test_a_stream_that_ends_early_is_damaged() -> None:
    codec = Copying(BYTES, [0])
    codec.size += 1
    with pytest.raises(DamagedError, match="ends before"):
        DecodedStream(codec, BlockCache()).read(len(BYTES) - 5, 100)


def test_stored_bytes_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    stream = StoredStream(FileSource(path))
    assert stream.read(100, 50) == [BYTES[100:150]]
    assert stream.read(len(BYTES) - 5, 50) == [BYTES[-5:]]
    assert stream.read(len(BYTES) + 5, 50) == []
    path.write_bytes(b"")
    assert StoredStream(FileSource(path)).read(0, 10) == []


class Chunks:
    """A first pass that yields these chunks, then raises ``error`` if there is one."""

    frames, name, unseekable, slow = 1, b"", False, False

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.chunks, self.error, self.consumed = chunks, error, 0
        self.damages: list[DamagedError] = []
        self.suspect: list[tuple[int, int]] = []
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.consumed += len(chunk)
            yield chunk
        if self.error:
            raise self.error

    def index(self) -> bytes:
        return b""


steps = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 1500)), max_size=20)


@given(st.lists(st.integers(1, 2000), max_size=20), steps)
def test_windows_of_decoded_chunks(sizes: list[int], moves: list[tuple[int, int]]) -> None:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(BYTES[at : at + size])
        at += size
    whole, position = BYTES[:at], 0
    reader = DecodedReader(Chunks(chunks))
    try:
        for jump, need in moves:
            position += jump
            buffer, base = reader.window(position, need)
            got = buffer[max(position - base, 0) :]
            assert whole[position : position + len(got)] == got
            assert len(got) >= min(need, max(len(whole) - position, 0))
        assert reader.drain(lambda: None) == len(whole)
        assert reader.end == len(whole)
    finally:
        reader.close()


@given(steps)
def test_windows_of_a_file(moves: list[tuple[int, int]]) -> None:
    fd = os.memfd_create("file")
    os.write(fd, BYTES[:20_000])
    source = FileSource(f"/proc/self/fd/{fd}")
    reader, position = SourceReader(source), 0
    for jump, need in moves:
        position += jump
        buffer, base = reader.window(position, need)
        got = buffer[position - base :]
        assert BYTES[:20_000][position : position + len(got)] == got
        assert len(got) >= min(need, max(20_000 - position, 0))
    source.close()
    os.close(fd)


def test_an_error_of_the_first_pass_reaches_the_scanner() -> None:
    reader = DecodedReader(Chunks([b"x" * 10], OSError(5, "I/O error")))
    assert reader.window(0, 10)[0] == b"x" * 10
    with pytest.raises(OSError, match="I/O"):
        reader.window(0, 20)
    reader.close()


def test_closing_early_ends_the_thread() -> None:
    reader = DecodedReader(Chunks([b"x"] * 1000))
    reader.window(0, 1)
    reader.close()
    assert not reader._thread.is_alive()


def test_a_file_in_very_many_pieces_is_one_answer(tmp_path: Path) -> None:
    """More pieces than a writev takes are joined, and not by touching the map."""
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    count = 2000
    builder = ImageBuilder()
    extents = builder.extents([Extent(1000 * i, 10, 7 * i) for i in range(count)])
    builder.add(b"f", stat.S_IFREG | 0o644, builder.owner(0, 0), 1000 * count, 0, 0, extents)
    fd = os.memfd_create("index")
    meta = {"format": "x", "codecs": [], "frames": [], "suspect": [], "outer": 0, "parts": []}
    meta["report"] = builder.report.to_json()
    index.write(fd, meta, builder.finish(), [])
    archive = Archive(FileSource(path), index.Index(fd), Settings())
    os.close(fd)
    expected = b"".join(BYTES[7 * i : 7 * i + 10] + bytes(990) for i in range(count))
    assert len(archive.read(2, 0, 1 << 20)) == 1
    assert len(archive.read(2, 5, 100_000)) > 100
    for offset, size in ((0, 1 << 30), (5, 100_000), (999, 2), (1_000_000, 1 << 20)):
        assert b"".join(archive.read(2, offset, size)) == expected[offset : offset + size]


class _Growing:
    """A stream that gets a seek point while its first block is decoded, as if another reader came just then."""

    size, cursor_bytes = 4 * BLOCK, 1

    def __init__(self) -> None:
        self.points, self.made = [0], 0
        self.busy = threading.Event()

    def cursor(self, point: int) -> _GrowingCursor:
        self.made += 1
        return _GrowingCursor(self, self.points[point])


class _GrowingCursor:
    def __init__(self, stream: _Growing, position: int) -> None:
        self.position, self._stream = position, stream

    def read(self, size: int) -> bytes:
        if not self.position:
            self._stream.points.append(BLOCK)
            self._stream.busy.set()
            time.sleep(0.2)
        self.position += size
        return bytes(size)

    def skip(self, size: int) -> None:
        self.position += size


def test_nobody_overtakes_the_cursor_that_makes_points() -> None:
    growing = _Growing()
    stream = DecodedStream(growing, BlockCache())
    first = threading.Thread(target=stream.read, args=(0, BLOCK))
    first.start()
    growing.busy.wait()
    stream.read(BLOCK, BLOCK)
    first.join()
    assert growing.made == 1


def test_spanned_streams_do_not_go_on_in_one_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    stored = StoredStream(FileSource(path))
    stream = SpannedStream([stored, PartStream(stored, 100, 50), PartStream(stored, len(BYTES) - 10, 50)])
    for span, data in enumerate((BYTES, BYTES[100:150], BYTES[-10:])):
        base = span << layout.SPAN_SHIFT
        for offset, size in ((0, 20), (40, 20), (49, 1), (50, 1), (len(data) - 5, 100), (len(data), 9)):
            assert b"".join(stream.read(base + offset, size)) == data[offset : offset + size]
            assert stream.pread(size, base + offset) == data[offset : offset + size]
        assert stream.read(base + layout.SPAN - 1, 2) == []
    for nowhere in (layout.NOWHERE, layout.NOWHERE + layout.SPAN, 3 << layout.SPAN_SHIFT):
        assert stream.read(nowhere, 1) == [] and stream.pread(1, nowhere) == b""
