"""bzip2 streams put together by hand, bit by bit."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rofuse_formats.codecs.bzip2 import CODEC, apart
from rofuse_formats.codecs.bzip2.bits import BLOCK, END
from rofuse_formats.codecs.bzip2.cursor import Stream
from rofuse_formats.codecs.bzip2.first_pass import FirstPass
from rofuse_formats.limits import Limits
from rofuse_formats.source import FileSource
from tests.formats.codec_support import BytesSource, output_of

END_OF_BLOCK = 15


beside: list[FirstPass] | None = None
"""The passes that had a process decode for them, where ``decoded`` is to have one."""


def decoded(data: bytes, spacing: int = 1) -> tuple[bytes, FirstPass]:
    """What a first pass yields, and the pass; where ``beside`` is a list, also of a pass with a process beside, and the
    two must be the same."""
    output, passed = output_of(FirstPass(BytesSource(data), Limits(), spacing=spacing))
    if beside is not None:
        other, passed_beside = output_of(FirstPass(file_of(data), Limits(may_fork=True), spacing=spacing))
        assert other == output
        assert outcome(passed_beside) == outcome(passed)
        beside.append(passed_beside)
    return output, passed


def outcome(passed: FirstPass) -> dict[str, Any]:
    """All that is known after a pass, but for its chunks."""
    damages = [(type(damage), str(damage), damage.offset) for damage in passed.damages]
    return {
        "index": passed.index(),
        "consumed": passed.consumed,
        "frames": passed.frames,
        "damages": damages,
        "suspect": passed.suspect,
        "warnings": passed.warnings,
    }


def file_of(data: bytes) -> FileSource:
    """A file without a name."""
    fd = os.memfd_create("data")
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    return FileSource("data", fd, named=False)


@pytest.fixture(scope="module", params=["here", "beside"], autouse=True)
def where(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has a module's tests run twice: as they are, and with processes beside."""
    global beside
    if request.param == "here":
        yield
        return
    pytest.importorskip("rapidgzip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "LEAST_SOURCE", 0)
        beside = []
        yield
        alone = [passed for passed in beside if not passed._apart]
        beside = None
        assert not alone


def opened(data: bytes, first_pass: FirstPass) -> Stream:
    return CODEC.open(BytesSource(data), first_pass.index(), Limits())


class Bits:
    """Bits in a row, the first one the most significant."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def add(self, value: int, count: int) -> None:
        self.parts.append(f"{value:0{count}b}")

    def take(self, data: bytes, start: int, end: int) -> None:
        """The bits of ``data`` from ``start`` to ``end``."""
        every = f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}"
        self.parts.append(every[start:end])

    def bytes(self) -> bytes:
        every = "".join(self.parts)
        every += "0" * (-len(every) % 8)
        return int(every, 2).to_bytes(len(every) // 8, "big")


def crc32(data: bytes) -> int:
    """The CRC of bzip2: most significant bit first."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value ^ 0xFFFFFFFF


def _unwound(symbols: Sequence[int]) -> bytes:
    """What the symbols of a block stand for: runs of the front of a list of the bytes 0 to 13, and moves to front."""
    front, column, run, weight = list(range(14)), bytearray(), 0, 1
    for symbol in [*symbols, END_OF_BLOCK]:
        if symbol < 2:
            run += weight << symbol
            weight <<= 1
            continue
        column += bytes((front[0],)) * run
        run, weight = 0, 1
        if symbol != END_OF_BLOCK:
            front.insert(0, front.pop(symbol - 1))
            column.append(front[0])
    order = sorted(range(len(column)), key=lambda place: (column[place], place))
    place, text = order[0], bytearray()
    for _ in column:
        text.append(column[place])
        place = order[place]
    return bytes(text)


def _run_lengths(data: bytes) -> bytes:
    """Undone: four equal bytes are followed by how many more there are. Raises ValueError where that is missing."""
    output, same, at = bytearray(), 0, 0
    while at < len(data):
        same = same + 1 if output and same and output[-1] == data[at] else 1
        output.append(data[at])
        at += 1
        if same == 4:
            if at == len(data):
                raise ValueError("the block ends within a run")
            output += output[-1:] * data[at]
            same = 0
            at += 1
    return bytes(output)


def add_block(stream: Bits, symbols: Sequence[int]) -> tuple[bytes, int]:
    """Adds a block whose symbols (0 to 14) are written as they are, in four bits each: any bits can be in a block.
    Returns what it decodes to, and its checksum."""
    data = _run_lengths(_unwound(symbols))
    checksum = crc32(data)
    stream.add(BLOCK, 48)
    stream.add(checksum, 32)
    stream.add(0, 1 + 24)  # not randomised; the first row
    stream.add(0x8000, 16)
    stream.add(0xFFFC, 16)  # bytes 0 to 13
    selectors = len(symbols) // 50 + 1
    stream.add(2, 3)
    stream.add(selectors, 15)
    stream.add(0, selectors)
    for _table in range(2):
        stream.add(4, 5)
        stream.add(0, 16)
    for symbol in (*symbols, END_OF_BLOCK):
        stream.add(symbol, 4)
    return data, checksum


def crafted(*blocks: Sequence[int]) -> tuple[bytes, bytes]:
    """A stream of such blocks, and what it decodes to."""
    stream, output, combined = Bits(), b"", 0
    stream.add(int.from_bytes(b"BZh9", "big"), 32)
    for symbols in blocks:
        data, checksum = add_block(stream, symbols)
        output += data
        combined = (combined << 1 & 0xFFFFFFFF | combined >> 31) ^ checksum
    stream.add(END, 48)
    stream.add(combined, 32)
    return stream.bytes(), output


def nibbles(mark: int) -> list[int]:
    """A mark as symbols."""
    return [mark >> shift & 15 for shift in range(44, -1, -4)]


def symbols(count: int, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(15) for _ in range(count)]
