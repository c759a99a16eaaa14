"""What zstd makes of an archive."""

from __future__ import annotations

import random
import struct

from testdata.recipes import recipe, text
from testdata.workshop import Shop, noise, prose, run


@recipe()
def zstd(shop: Shop, _: str) -> None:
    """One archive, compressed in every way that changes the stream."""
    text(shop)
    shop.zstd()
    for options in (["-1"], ["-19"], ["--no-check"]):
        shop.zstd(options[-1].lstrip("-").replace("=", ""), *options)
    shop.zstd("streamed", streamed=True)
    shop.zstd("long27", "--long=27", streamed=True)
    shop.zstd("small-blocks", "--target-compressed-block-size=2000", "-3")

    data = shop.archive.read_bytes()
    pieces = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    frames = [run(["zstd", "-qc"], stdin=piece) for piece in pieces]
    shop.keep(".frames.tar.zst", b"".join(frames))
    empty = run(["zstd", "-qc"])
    shop.keep(".empty-frames.tar.zst", empty + empty.join(frames) + empty)
    shop.keep(
        ".skippable.tar.zst", skippable(0, b"first") + skippable(15, b"").join(frames) + skippable(7, b"last")
    )
    shop.keep(".seekable.tar.zst", b"".join(frames) + seek_table(frames, pieces))
    shop.keep(".pzstd.tar.zst", run(["pzstd", "-q", "-c", "-1", "-p", "4", str(shop.archive)]))


def skippable(number: int, data: bytes) -> bytes:
    """A skippable frame (RFC 8878, 3.1.2)."""
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def seek_table(frames: list[bytes], pieces: list[bytes]) -> bytes:
    """The seek table of the seekable format, without checksums (zstd's contrib/seekable_format)."""
    sizes = [struct.pack("<II", len(frame), len(piece)) for frame, piece in zip(frames, pieces, strict=True)]
    return skippable(14, b"".join(sizes) + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1))


@recipe()
def zstd_blocks(shop: Shop, _: str) -> None:
    """A window of 16 KiB, and so many small blocks: of noise (stored raw), of zeros (run-length), of text."""
    with shop.source() as source:
        for name, data in ((b"a", prose(1, 50_000)), (b"b", noise(2, 60_000)), (b"c", prose(2, 50_000)),
                           (b"d", bytes(100_000)), (b"e", prose(3, 50_000))):  # fmt: skip
            source.file(name, data)
    shop.gnu_tar(".")
    shop.zstd("", "--zstd=wlog=14", streamed=True)


@recipe()
def zstd_big(shop: Shop, _: str) -> None:
    """One frame of 48 MB, in which a reader has to find places to start from."""
    choose = random.Random(7)
    library = [prose(100 + number, 6_000) for number in range(20)]
    with shop.source() as source:
        for number in range(6):
            parts = []
            for line in range(1_350):
                parts += [b"%d.%d " % (number, line), choose.choice(library)]
            source.file(b"%d" % number, b"".join(parts))
    shop.gnu_tar(".")
    shop.zstd("3", "-3", streamed=True)
    shop.zstd("19", "-19", streamed=True)
