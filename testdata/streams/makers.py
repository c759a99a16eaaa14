"""Who made the streams of this folder: one Maker for each tool, with the options that change what it writes.

A new maker is a new line of ``MAKERS``; then ``python3 -m testdata.streams.make NAME``.
"""

from __future__ import annotations

import binascii
import gzip
import itertools
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from testdata.streams.content import LONG
from testdata.workshop import KIB, MTIME, run

Make = Callable[[bytes], bytes]
"""Compresses."""


NAME = "orchard.txt"

FEW = "byte blocks"
MANY = "empty byte block block-and-byte blocks"
LONG_TOO = f"{MANY} long"


class Maker(NamedTuple):
    name: str
    suffix: str
    """Of its files: which codec reads them."""
    make: Make
    block: int
    """Bytes that fill one block (member, chunk) of it; where the format has none, some number."""
    judge: tuple[str, ...]
    """Decompresses standard input to standard output: another tool where there is one."""
    shapes: str = MANY
    checked: bool = True
    """Whether what it wrote lets a reader notice every flipped bit that changes the content."""
    parts: int = 1
    """Streams that its files are joined of, not counting empty ones."""
    says: bytes = b""
    """What its streams say that their file is called."""

    def size(self, shape: str) -> int:
        """Bytes of content in a file of this shape."""
        sizes = {
            "empty": 0,
            "byte": 1,
            "block": self.block,
            "block-and-byte": self.block + 1,
            "blocks": 3 * self.block + self.block // 3,
            "zeros": self.block // 2,
            "garbage": self.block // 2,
            "long": LONG,
        }
        return sizes[shape]

    def compress(self, content: bytes, shape: str) -> bytes:
        return self.make(content) + TAILS.get(shape, b"")


TAILS = {"zeros": bytes(1024), "garbage": b"No stream starts like this. " * 9}
"""What follows the stream in files of these shapes."""


def piped(*command: str) -> Make:
    """The tool between two pipes: it knows neither name nor size."""
    return lambda content: run(command, stdin=content)


def from_file(*command: str, result: str = "") -> Make:
    """The tool on a file: it knows name, time and size. It writes to standard output, or the file ``result``."""

    def make(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="streams-") as scratch:
            path = Path(scratch) / NAME
            path.write_bytes(content)
            os.utime(path, (MTIME, MTIME))
            output = run([*command, NAME], cwd=Path(scratch))
            return (Path(scratch) / result).read_bytes() if result else output

    return make


def joined(make: Make, parts: int = 3, between: bytes = b"") -> Make:
    """Several streams one after the other."""
    return lambda content: between.join(map(make, pieces(content, parts)))


def with_empty(make: Make, parts: int = 3) -> Make:
    """Several streams, empty ones before, between and behind them."""

    def join(content: bytes) -> bytes:
        empty = make(b"")
        return empty + empty.join(map(make, pieces(content, parts))) + empty

    return join


def pieces(content: bytes, parts: int) -> list[bytes]:
    """The content in so many pieces, none of them empty unless there are fewer bytes."""
    edges = [len(content) * number // parts for number in range(parts + 1)]
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def skippable(make: Make) -> Make:
    """With skippable frames, as zstd and lz4 have them, before, between and behind."""
    frames = [struct.pack("<II", 0x184D2A50 + n, n * 100) + bytes(n * 100) for n in (0, 7, 15)]
    return lambda content: frames[0] + joined(make, 2, frames[1])(content) + frames[2]


def python_uu(content: bytes) -> bytes:
    """As encoders of old: blanks are blanks, in a message whose lines end as mails' do."""
    pieces = (content[at : at + 45] for at in range(0, len(content), 45))
    lines = [binascii.b2a_uu(piece).rstrip(b"\n") for piece in pieces]
    return b"\r\n".join((b"From: somebody", b"", f"begin 640 {NAME}".encode(), *lines, b" ", b"end", b""))


def python_gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def python_zstandard(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


GUNZIP = ("gzip", "-dc")
BUNZIP2 = ("bzip2", "-dc")
UNXZ = ("xz", "-dc")
UNLZIP = ("lzip.lzip", "-dc")
UNLZMA = ("xz", "-dc", "--format=lzma")
UNLZ4 = ("lz4", "-qdc")
UNZSTD = ("zstd", "-qdc", "--long=31")
UNBROTLI = ("brotli", "-dc")
UNUU = ("uudecode", "-o", "/dev/stdout")
UNLZO = ("lzop", "-dc")
UNLRZ = ("lrzip", "-d", "-q")

GZIP, BZIP2, LZ4, ZSTD = ("gzip", "-nc"), ("bzip2", "-c"), ("lz4", "-qc", "-B4"), ("zstd", "-qc")
XZ, LZIP = ("xz", "-c", "-T2", "--block-size=64KiB"), ("lzip.lzip", "-c")

BZIP2_BLOCK = 100_000 - 19

_MAKERS = (
    Maker("gzip-1", ".gz", piped(*GZIP, "-1"), 32 * KIB, GUNZIP),
    Maker("gzip-9", ".gz", piped(*GZIP, "-9"), 32 * KIB, GUNZIP, f"{LONG_TOO} zeros garbage"),
    Maker("gzip-name", ".gz", from_file("gzip", "-c"), 32 * KIB, GUNZIP, FEW, says=NAME.encode()),
    Maker("gzip-members", ".gz", joined(piped(*GZIP), 40), 32 * KIB, GUNZIP, f"{FEW} zeros garbage",
          parts=40),
    Maker("gzip-empty-members", ".gz", with_empty(piped(*GZIP)), 32 * KIB, GUNZIP, f"empty {FEW}", parts=3),
    Maker("pigz", ".gz", piped("pigz", "-ncm", "-p2"), 128 * KIB, GUNZIP, LONG_TOO),
    Maker("pigz-b", ".gz", piped("pigz", "-ncm", "-p2", "-b", "32", "-i"), 32 * KIB, GUNZIP),
    Maker("bgzip", ".gz", piped("bgzip", "-c"), 0xFF00, GUNZIP, LONG_TOO),
    Maker("dictzip", ".gz", from_file("dictzip", "-k", result=f"{NAME}.dz"), 58_315, GUNZIP,
          says=NAME.encode()),
    Maker("python-gzip", ".gz", python_gzip, 32 * KIB, GUNZIP, f"empty {FEW}"),
    Maker("bzip2-1", ".bz2", piped(*BZIP2, "-1"), BZIP2_BLOCK, BUNZIP2, f"{MANY} garbage"),
    Maker("bzip2-9", ".bz2", piped(*BZIP2, "-9"), 9 * BZIP2_BLOCK, BUNZIP2, "byte long"),
    Maker("bzip2-streams", ".bz2", joined(piped(*BZIP2, "-1"), 5), BZIP2_BLOCK, BUNZIP2, f"{FEW} garbage",
          parts=5),
    Maker("bzip2-empty-streams", ".bz2", with_empty(piped(*BZIP2, "-1")), BZIP2_BLOCK, BUNZIP2,
          f"empty {FEW}", parts=3),
    Maker("lbzip2", ".bz2", piped("lbzip2", "-c", "-1", "-n2"), BZIP2_BLOCK, BUNZIP2, LONG_TOO),
    Maker("pbzip2", ".bz2", piped("pbzip2", "-c", "-1", "-b1", "-p2"), 100_000, BUNZIP2),
    Maker("xz-T1", ".xz", piped("xz", "-c", "-T1"), 64 * KIB, UNXZ, LONG_TOO),
    Maker("xz-T2", ".xz", piped(*XZ), 64 * KIB, UNXZ, f"{LONG_TOO} zeros garbage"),
    Maker("xz-none", ".xz", piped(*XZ, "--check=none"), 64 * KIB, UNXZ, FEW, checked=False),
    Maker("xz-crc32", ".xz", piped(*XZ, "--check=crc32"), 64 * KIB, UNXZ, FEW),
    Maker("xz-sha256", ".xz", piped(*XZ, "--check=sha256"), 64 * KIB, UNXZ, f"empty {FEW}"),
    Maker("xz-delta", ".xz", piped(*XZ, "--delta=dist=4", "--lzma2=preset=6"), 64 * KIB, UNXZ, FEW),
    Maker("xz-x86", ".xz", piped(*XZ, "--x86", "--lzma2=preset=6"), 64 * KIB, UNXZ, FEW),
    Maker("xz-streams", ".xz", joined(piped(*XZ), 3, bytes(8)), 64 * KIB, UNXZ, f"{FEW} zeros", parts=3),
    Maker("xz-empty-streams", ".xz", with_empty(piped(*XZ)), 64 * KIB, UNXZ, f"empty {FEW}", parts=3),
    Maker("pixz", ".xz", piped("pixz", "-t", "-1", "-p2"), 64 * KIB, UNXZ, LONG_TOO),
    Maker("lzma", ".lzma", piped("xz", "-c", "--format=lzma"), 64 * KIB, UNLZMA, LONG_TOO, checked=False),
    Maker("lzip", ".lz", piped(*LZIP), 64 * KIB, UNLZIP, f"{LONG_TOO} garbage"),
    Maker("lzip-b", ".lz", piped(*LZIP, "-0", "-b100kB"), 100_000, UNLZIP, "byte long"),
    Maker("lzip-members", ".lz", joined(piped(*LZIP), 5), 64 * KIB, UNLZIP, f"{FEW} garbage", parts=5),
    Maker("plzip", ".lz", piped("plzip", "-c", "-n2", "-B64KiB"), 64 * KIB, UNLZIP),
    Maker("lz4", ".lz4", piped("lz4", "-qc"), 4 * KIB * KIB, UNLZ4, "empty byte block-and-byte long"),
    Maker("lz4-BD", ".lz4", piped("lz4", "-qc", "-BD"), 4 * KIB * KIB, UNLZ4, "byte long"),
    Maker("lz4-B4", ".lz4", piped(*LZ4), 64 * KIB, UNLZ4, f"{MANY} garbage"),
    Maker("lz4-B4-BD", ".lz4", piped(*LZ4, "-BD"), 64 * KIB, UNLZ4, LONG_TOO),
    Maker("lz4-no-crc", ".lz4", piped(*LZ4, "--no-frame-crc"), 64 * KIB, UNLZ4, f"empty {FEW}",
          checked=False),
    Maker("lz4-BX", ".lz4", piped(*LZ4, "-BX"), 64 * KIB, UNLZ4, FEW),
    Maker("lz4-BX-BD", ".lz4", piped(*LZ4, "-BX", "-BD"), 64 * KIB, UNLZ4, FEW),
    Maker("lz4-size", ".lz4", from_file(*LZ4, "--content-size"), 64 * KIB, UNLZ4, f"empty {FEW}"),
    Maker("lz4-legacy", ".lz4", piped("lz4", "-qcl"), 8 * KIB * KIB, UNLZ4,
          "empty byte block block-and-byte long", checked=False),
    Maker("lz4-frames", ".lz4", joined(piped(*LZ4), 5), 64 * KIB, UNLZ4, f"{FEW} garbage", parts=5),
    Maker("lz4-empty-frames", ".lz4", with_empty(piped(*LZ4)), 64 * KIB, UNLZ4, f"empty {FEW}", parts=3),
    Maker("lz4-skippable", ".lz4", skippable(piped(*LZ4)), 64 * KIB, UNLZ4, f"empty {FEW}", parts=2),
    Maker("zstd", ".zst", piped(*ZSTD), 128 * KIB, UNZSTD, f"{LONG_TOO} garbage"),
    Maker("zstd-size", ".zst", from_file(*ZSTD), 128 * KIB, UNZSTD, f"empty {FEW}"),
    Maker("zstd-no-check", ".zst", piped(*ZSTD, "--no-check"), 128 * KIB, UNZSTD, f"empty {FEW}",
          checked=False),
    Maker("zstd-19", ".zst", piped(*ZSTD, "-19"), 128 * KIB, UNZSTD, f"{FEW} long"),
    Maker("zstd-long27", ".zst", piped(*ZSTD, "--long=27"), 128 * KIB, UNZSTD, f"{FEW} long"),
    Maker("zstd-frames", ".zst", joined(piped(*ZSTD), 5), 128 * KIB, UNZSTD, f"{FEW} garbage", parts=5),
    Maker("zstd-empty-frames", ".zst", with_empty(piped(*ZSTD)), 128 * KIB, UNZSTD, f"empty {FEW}", parts=3),
    Maker("zstd-skippable", ".zst", skippable(piped(*ZSTD)), 128 * KIB, UNZSTD, f"empty {FEW}", parts=2),
    Maker("pzstd", ".zst", piped("pzstd", "-qc", "-1", "-p2"), 128 * KIB, UNZSTD, LONG_TOO),
    Maker("python-zstandard", ".zst", python_zstandard, 128 * KIB, UNZSTD, f"empty {FEW}", checked=False),
    Maker("compress", ".Z", piped("compress", "-cf"), 64 * KIB, GUNZIP, checked=False),
    Maker("compress-b12", ".Z", piped("compress", "-cf", "-b12"), 64 * KIB, GUNZIP, FEW, checked=False),
    Maker("uuencode", ".uu", piped("uuencode", NAME), 64 * KIB, UNUU, checked=False, says=NAME.encode()),
    Maker("uuencode-m", ".uu", piped("uuencode", "-m", NAME), 64 * KIB, UNUU, f"empty {FEW}",
          checked=False, says=NAME.encode()),
    Maker("python-uu", ".uu", python_uu, 64 * KIB, UNUU, "empty byte garbage", checked=False,
          says=NAME.encode()),
    Maker("lzop", ".lzo", piped("lzop", "-c"), 256 * KIB, UNLZO, f"{MANY} garbage"),
    Maker("lzop-9", ".lzo", from_file("lzop", "-c", "-9", "--crc32"), 256 * KIB, UNLZO, FEW,
          says=NAME.encode()),
    Maker("lzop-no-check", ".lzo", piped("lzop", "-c", "-F"), 256 * KIB, UNLZO, FEW, checked=False),
    Maker("lzop-files", ".lzo", joined(piped("lzop", "-c", "-1")), 64 * KIB, UNLZO, FEW, parts=3),
    Maker("lrzip", ".lrz", piped("lrzip", "-q"), 64 * KIB, UNLRZ, "byte block"),
    Maker("lrzip-n", ".lrz", piped("lrzip", "-q", "-n"), 64 * KIB, UNLRZ, "byte"),
    Maker("lrzip-z", ".lrz", piped("lrzip", "-q", "-z"), 64 * KIB, UNLRZ, "byte"),
    Maker("brotli", ".br", piped("brotli", "-c"), 64 * KIB, UNBROTLI, LONG_TOO, checked=False),
    Maker("brotli-1", ".br", piped("brotli", "-c", "-1", "-w", "16"), 64 * KIB, UNBROTLI, FEW, checked=False),
)  # fmt: skip

MAKERS = {maker.name: maker for maker in _MAKERS}

UNFRAMED = {".gz", ".zst", ".lz4"}
"""Suffixes of formats in which nothing but the data says where it ends, and one check stands behind much of it. Where
damage hides that end, a reader runs into the end of the source, and cannot tell it from a source that was cut off."""
