"""Huffman streams that do not end where they should.

The library notices but few of them, and what it makes of one depends on whether it reads one symbol a step or two.
A seek point's decoder is to read as the frame's own does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import zstandard

from rofuse_formats.codecs.zstd import decoding, entropy, frame
from rofuse_formats.errors import DamagedError
from tests.formats.zstd_support import BytesSource, check_law

# Codes of 1, 2, ... 9, 10 and 10 bits: literals of any ratio. The weights are those of all symbols but the last.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10)
WEIGHTS = bytes((127 + 10, 0xA9, 0x87, 0x65, 0x43, 0x21))


def stream(symbols: Sequence[int]) -> bytes:
    """Read backward from the end mark: the first symbol is the last bits. Longer codes are the lower numbers."""
    bits = "1" + "".join("0" * (LENGTHS[s] - 1) + "1" if s < 9 else "0" * 10 for s in symbols)
    return int(bits, 2).to_bytes((len(bits) + 7) // 8, "little")


def literals(kind: int, size: int, content: bytes) -> bytes:
    """A literals section of four streams, and no sequences: what a block holds."""
    header = kind | 3 << 2 | size << 4 | len(content) << 22
    return header.to_bytes(5, "little") + content + b"\0"


def four(streams: Sequence[bytes]) -> bytes:
    return b"".join((*(len(part).to_bytes(2, "little") for part in streams[:3]), *streams))


def sender(size: int, sixteenths: int) -> bytes:
    """A block of ``size`` literals, compressed to so many sixteenths of that, that sends the table."""
    quarter = -(-size // 4)
    target = size * sixteenths // 16 + size // 32 - len(WEIGHTS) - 6  # bytes, of all streams
    length = min(9, max(1, target * 8 // size))
    longer = min(size, max(0, target * 8 - size * length))  # so many are a bit longer
    symbols = [length if i * longer // size != (i + 1) * longer // size else length - 1 for i in range(size)]
    return literals(
        2, size, WEIGHTS + four([stream(symbols[i : i + quarter]) for i in range(0, size, quarter)])
    )


def probes() -> list[bytes]:
    """Blocks whose streams are noise and too short, but one, to be read with the table sent before."""
    rng = random.Random(1)
    made = []
    for size, length in 12 * ((100, 24), (100, 64), (200, 8), (400, 24)):
        streams = [rng.randbytes(size // 14) + b"\1" for _ in range(4)]
        streams[rng.randrange(4)] = rng.randbytes(length - 1) + b"\1"
        made.append(literals(3, size, four(streams)))
    return made


def outcome(stretch: decoding.Stretch, size: int) -> bytes | None:
    """What comes of a block behind ``size`` bytes."""
    try:
        stretch.read(size)
        return stretch.read(1 << 10)
    except DamagedError:
        return None


DESCRIPTOR = frame.window_descriptor(1 << 17)


def of_the_frame(block: bytes, size: int, probe: bytes) -> bytes | None:
    blocks = frame.block(frame.COMPRESSED, block) + frame.block(frame.COMPRESSED, probe)
    source = frame.bare_header(DESCRIPTOR) + blocks
    return outcome(decoding.Stretch(BytesSource(source), 0, len(source), 1 << 17), size)


def of_a_point(number: int, probe: bytes) -> bytes | None:
    tables = b"".join(entropy.predefined(entropy.CODES[i]) for i in (1, 2, 0))
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (1, 4, 8))
    magic = decoding.DICTIONARY_MAGIC.to_bytes(4, "little")
    dictionary = b"".join((magic, number.to_bytes(4, "little"), WEIGHTS, tables, offsets, bytes(8)))
    source = BytesSource(frame.block(frame.COMPRESSED, probe))
    return outcome(decoding.rest_of_frame(source, 0, source.size, DESCRIPTOR, dictionary), 0)


LIMITS = [3, 5, 5, 6, 7, 9, 12, 15, 18, 27, 41, 173]  # of 2 sixteenths and more


@pytest.mark.parametrize(
    ("sixteenths", "size"),
    [
        *(
            (sixteenths, limit * 256 - below)
            for sixteenths, limit in enumerate(LIMITS, 2)
            for below in (0, 1)
        ),
        *((sixteenths, size) for sixteenths in (14, 15, 16) for size in (1 << 10, 100_000)),
    ],
)
def test_it_is_known_how_the_library_reads(sixteenths: int, size: int) -> None:
    block = sender(size, sixteenths)
    assert min(16, (len(block) - 6) * 16 // size) == sixteenths
    singly, doubly = (
        [of_a_point(number, probe) for probe in probes()]
        for number in (decoding.READ_SINGLY, decoding.READ_DOUBLY)
    )
    if singly == doubly:
        pytest.skip("the library of this machine makes the same of both")
    given = [of_the_frame(block, size, probe) for probe in probes()]
    assert given == (singly if entropy.is_read_singly(block) else doubly)


def test_one_stream_is_read_singly() -> None:
    """Of as many literals in four streams it reads two a step."""
    content = WEIGHTS + stream([0] * 800)
    block = (2 | 800 << 4 | len(content) << 14).to_bytes(3, "little") + content + b"\0"
    assert entropy.is_read_singly(block)
    assert not entropy.is_read_singly(literals(2, 800, content))
    given = [of_the_frame(block, 800, probe) for probe in probes()]
    assert given == [of_a_point(decoding.READ_SINGLY, probe) for probe in probes()]


@pytest.mark.parametrize("seed", range(3))
def test_points_before_streams_that_end_elsewhere(seed: int) -> None:
    rng = random.Random(seed)
    data = bytes(rng.choices(b"abcdefghijkl", range(1, 13), k=6000))
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=10)
    compressed = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    # The second half's blocks use the table that the first one sent.
    for at in range(len(compressed) // 2, len(compressed) - 40, 40):
        damaged = bytearray(compressed)
        damaged[at : at + 24] = rng.choice((bytes(24), rng.randbytes(24)))
        check_law(bytes(damaged), spacing=1500, free_spacing=1, windows_apart=1)
