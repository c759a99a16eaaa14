"""Reading members: by every method, at random, and never what is not theirs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest

import rofuse_formats
from rofuse_formats import Archive
from rofuse_formats.archives.zip.reading import SMALL
from rofuse_formats.errors import (
    DamagedError,
    LimitError,
    PasswordError,
    RatioError,
    TruncatedError,
    UnsupportedError,
)
from rofuse_formats.limits import MIB
from rofuse_formats.verify import verify
from testdata.by_hand import Member, archive, central_header, end
from testdata.workshop import noise, prose
from tests.formats.zip_support import content, node_of, opened, piece

LARGE = prose(1, 150_000) * 8  # 1.2 MB


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def lzma_packed(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20}]
    return (
        b"\x10\4"
        + struct.pack("<HBI", 5, 0x5D, 1 << 20)
        + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    )


def zstd_packed(data: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdCompressor().compress(data))


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    8: deflated,
    12: bz2.compress,
    14: lzma_packed,
    20: zstd_packed,
    93: zstd_packed,
    95: lzma.compress,
}
METHODS = pytest.mark.parametrize("method", PACKERS)


@cache
def _pack(method: int, data: bytes) -> bytes:
    return PACKERS[method](data)


def packed(method: int, data: bytes, name: bytes = b"file") -> Member:
    return Member(name, data, method, _pack(method, data))


def corrupted(member: Member) -> Member:
    """With another content than its checksum is of, well packed."""
    other = bytearray(member.data)
    other[len(other) // 2] ^= 1
    return member._replace(packed=_pack(member.method, bytes(other)))


@METHODS
@pytest.mark.parametrize("size", [1, 131_072, 131_073, SMALL, len(LARGE)])
def test_any_size_at_random(method: int, size: int) -> None:
    data = LARGE[:size]
    found = opened(archive(Member(b"before", b"x"), packed(method, data)))
    chance = random.Random(size)
    for _ in range(5):
        offset, count = chance.randrange(size), chance.choice((1, 4096, 200_000))
        assert piece(found, b"file", offset, count) == data[offset : offset + count]
    assert content(found, b"file") == data


@METHODS
@pytest.mark.parametrize("size", [5_000, len(LARGE)])
def test_many_at_once(method: int, size: int) -> None:
    data = LARGE[:size]
    found = opened(archive(packed(method, data)))
    wrong: list[int] = []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(5):
            offset = chance.randrange(size)
            if piece(found, b"file", offset, 10_000) != data[offset : offset + 10_000]:
                wrong.append(offset)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_large_members_share_the_cursors() -> None:
    data = deflated(LARGE)
    members = [Member(b"%d" % number, LARGE, 8, data) for number in range(20)]
    found = opened(archive(*members))
    for offset in (0, 600_000, 1_100_000):
        for member in members:
            assert piece(found, member.name, offset, 10) == member.data[offset : offset + 10]


def test_stored_bytes_are_those_of_the_map() -> None:
    found = opened(archive(packed(0, LARGE)))
    (view,) = found.read(node_of(found, b"file"), 5, 100)
    assert view.obj is found.read(node_of(found, b"file"), 5, 100)[0].obj


# -- checks


@METHODS
def test_a_wrong_checksum_of_a_small_member_is_never_read(method: int) -> None:
    member = corrupted(packed(method, LARGE[:5_000]))
    found = opened(archive(member))
    for _ in range(2):
        with pytest.raises(DamagedError, match="failed its check"):
            piece(found, b"file", 4_000, 10)
    salvaged = opened(archive(member), salvage=True)
    assert content(salvaged, b"file") != member.data
    assert len(content(salvaged, b"file")) == len(member.data)


@pytest.mark.parametrize("method", [method for method in PACKERS if method])
def test_a_wrong_checksum_of_a_large_member_is_found_at_its_end(method: int) -> None:
    found = opened(archive(corrupted(packed(method, LARGE))))
    with pytest.raises(DamagedError, match="failed its check"):
        for offset in range(0, len(LARGE), 100_000):
            piece(found, b"file", offset, 100_000)
    for offset in (0, len(LARGE) - 1):  # what was read before is in doubt, too
        with pytest.raises(DamagedError, match="failed its check"):
            piece(found, b"file", offset, 1)


@METHODS
@pytest.mark.parametrize("size", [3_000, len(LARGE)])
def test_a_size_that_lies(method: int, size: int) -> None:
    data = LARGE[:size]
    real = packed(method, data)
    for claimed in (size - 10, size + 10, size + 5 * MIB, 1 << 40):
        whole = bytearray(archive(real))
        at = whole.rindex(b"PK\1\2")
        if claimed < 1 << 32:
            struct.pack_into("<I", whole, at + 24, claimed)
        else:
            wide = struct.pack("<HHQ", 1, 8, claimed)
            header = bytearray(central_header(real._replace(extra=wide), 0))
            struct.pack_into("<I", header, 24, 0xFFFFFFFF)
            whole = whole[:at] + header + end(1, len(header), at)
        found = opened(bytes(whole))
        assert found.image.size[node_of(found, b"file") - 1] == claimed
        with pytest.raises((DamagedError, RatioError)):
            piece(found, b"file", claimed - 5, 5)
            content(found, b"file")


def test_a_claim_that_deflate_cannot_fulfil_is_refused_at_once() -> None:
    started = time.monotonic()
    found = opened(bomb(8, 1 << 60))
    for offset in (0, 1 << 59):
        with pytest.raises((DamagedError, RatioError), match="more than"):
            piece(found, b"bomb", offset, 5)
    assert content(opened(archive(packed(8, bytes(10 * MIB)))), b"file") == bytes(10 * MIB)
    assert time.monotonic() - started < 30


def test_something_before_it_inside_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "setup.exe.gz"
    path.write_bytes(gzip.compress(b"MZ" + noise(2, 300_000) + archive(packed(8, LARGE))))
    found = rofuse_formats.open(path, keep=False)
    assert (found.format, found.compression) == ("zip", ["gzip"])
    assert content(found, b"file") == LARGE


def test_members_that_overlap_are_read_within_their_bounds() -> None:
    body = archive(packed(8, LARGE[:5_000]))
    header = central_header(packed(8, LARGE[:5_000]), 0)
    at = body.index(b"PK\1\2")
    bomb = body[:at] + header * 1_000 + end(1_000, len(header) * 1_000, at)
    assert content(opened(bomb), b"file") == LARGE[:5_000]


@METHODS
def test_what_is_cut_is_an_error(method: int) -> None:
    """The directory is whole; the data of the last member reaches beyond the end of the file."""
    member = packed(method, LARGE[:50_000])
    header = central_header(member, 10_000)
    found = opened(header + end(1, len(header), 0))
    with pytest.raises(TruncatedError):
        content(found, b"file")


def test_a_local_header_of_another_member() -> None:
    for other in (Member(b"else", b"x\n"), Member(b"file", b"x\n", 0), Member(b"file", b"x\n", flags=1)):
        data = archive(other)
        at = data.index(b"PK\1\2")
        header = central_header(Member(b"file", b"x\n"), 0)
        found = opened(data[:at] + header + end(1, len(header), at))
        with pytest.raises(DamagedError, match="central directory"):
            content(found, b"file")


def test_no_local_header() -> None:
    data = archive(Member(b"file", b"x\n" * 100))
    with pytest.raises(DamagedError, match="no member's header"):
        content(opened(b"#!" + data[2:]), b"file")


# -- what cannot be read


def test_unknown_methods_are_listed_and_counted() -> None:
    found = opened(
        archive(Member(b"a", b"xyz", 97, b"?"), Member(b"b", b"xyz", 97, b"?"), Member(b"c", b"xyz", 1, b"?"))
    )
    assert found.report.warnings == [
        "1 file is compressed by method 1 (shrink): not to be read",
        "2 files are compressed by method 97 (wavpack): not to be read",
    ]
    with pytest.raises(UnsupportedError, match="wavpack"):
        content(found, b"a")


def test_encrypted_members_are_listed(tmp_path: Path) -> None:
    found = opened(archive(Member(b"file", b"x" * 20, 0, b"?" * 32, flags=1)))
    with pytest.raises(PasswordError):
        content(found, b"file")


def test_a_window_beyond_the_limit() -> None:
    import zstandard

    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=24, format=0)
    ).compressobj()
    data = noise(1, 3 * MIB)
    frame = wide.compress(data) + wide.flush()
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 16 * MIB}]
    members = (
        Member(b"zstd", data, 93, frame),
        Member(b"xz", data, 95, lzma.compress(data, filters=filters)),
        Member(b"lzma", data, 14, b"\x10\4" + struct.pack("<HBI", 5, 0x5D, 1 << 30) + bytes(100)),
    )
    found = opened(archive(*members), max_window=2 * MIB)
    for member in members:
        with pytest.raises(LimitError, match="max-window"):
            content(found, member.name)


# -- memory

_BOMB_READER = """
import resource, sys
import rofuse_formats
archive = rofuse_formats.open(sys.argv[1], keep=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path, node in archive.image.walk():
    try:
        for offset in (0, 1 << 20, 64 << 20, archive.image.size[node - 1] - 10):
            archive.read(node, offset, 1 << 17)
            if offset > 1 << 20 and archive.image.size[node - 1] > 1 << 32:
                break
    except rofuse_formats.errors.FormatError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@cache
def bomb(method: int, claimed: int) -> bytes:
    """Zeros that claim to be more than they are."""
    packers: dict[int, Callable[[], bytes]] = {
        8: lambda: _stream(zlib.compressobj(9, zlib.DEFLATED, -15)),
        12: lambda: _stream(bz2.BZ2Compressor()),
        95: lambda: _stream(lzma.LZMACompressor()),
    }
    member = Member(b"bomb", b"", method, packers[method]())
    wide = struct.pack("<HHQ", 1, 8, claimed)
    header = bytearray(central_header(member._replace(extra=wide), 0))
    struct.pack_into("<I", header, 24, 0xFFFFFFFF)
    whole = archive(member)
    at = whole.rindex(b"PK\1\2")
    return whole[:at] + bytes(header) + end(1, len(header), at)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _stream(compressor: _Compressor, size: int = 80 * MIB) -> bytes:
    parts = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join(parts) + compressor.flush()


@pytest.mark.parametrize("method", [8, 12, 95])
def test_a_terabyte_of_zeros_is_read_within_bounds(method: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(bomb(method, 70 << 30 if method == 8 else 1 << 40))
    done = subprocess.run(
        [sys.executable, "-c", _BOMB_READER, path], capture_output=True, check=True, timeout=60
    )
    assert int(done.stdout) < 100 * 1024  # KiB; the block cache is 24 MiB of it


# -- by real tools


def test_deflate64_by_7z(tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "command -v 7z"], capture_output=True, check=False).returncode:
        pytest.skip("7z is not installed")
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "small").write_bytes(LARGE[:9_000])
    command = ["7z", "a", "-bd", "-tzip", "-mm=Deflate64", "it.zip", "large", "small"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    found = opened((tmp_path / "it.zip").read_bytes())
    assert content(found, b"large") == LARGE
    assert content(found, b"small") == LARGE[:9_000]


def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as file:
        for number in range(65_540):
            file.writestr(f"{number // 1000}/{number}", b"")
        file.writestr("last", b"last")
    found: Archive = opened((tmp_path / "it.zip").read_bytes())
    assert found.image.inode_count == 65_540 + 66 + 2
    assert content(found, b"last") == b"last"


@METHODS
def test_verify_finds_what_is_wrong(method: int) -> None:
    members = [packed(method, LARGE[:5_000], b"good"), packed(method, LARGE, b"large")]
    members += [corrupted(member)._replace(name=b"bad-" + member.name) for member in members]
    found = {finding.path: finding.error for finding in verify(opened(archive(*members)))}
    assert found[b"good"] == found[b"large"] == ""
    assert "failed its check" in found[b"bad-good"]
    assert "failed its check" in found[b"bad-large"]


def test_inside_a_damaged_stream(tmp_path: Path) -> None:
    """Members that lie in a frame whose checksum is wrong cannot be read, those behind it can."""
    import zstandard

    first, second = packed(0, noise(1, 500_000), b"first"), packed(8, LARGE[:500_000], b"second")
    data = archive(first, second)
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    frames = [bytearray(compressor.compress(part)) for part in (data[:400_000], data[400_000:])]
    frames[0][-1] ^= 1
    path = tmp_path / "it.zip.zst"
    path.write_bytes(b"".join(frames))
    found = rofuse_formats.open(path, keep=False)
    assert found.compression == ["zstd"]
    assert any("1 files (first: 'first')" in line for line in found.report.warnings)
    assert content(found, b"second") == second.data
    with pytest.raises(DamagedError):
        content(found, b"first")
