"""Archives that are damaged or not wanted."""

from __future__ import annotations

from testdata.recipes import recipe, text, tiny
from testdata.workshop import BLOCK, BSDTAR, KIB, Judge, Shop, noise, prose, run


@recipe(judge=None)
def should_fail_garbage(shop: Shop, _: str) -> None:
    shop.keep(".tar", noise(3, 5_000))
    shop.keep(".text.tar", prose(5, 5_000))
    shop.keep(".short.tar", b"x")


@recipe(judge=None)
def should_fail_empty_file(shop: Shop, _: str) -> None:
    shop.keep(".tar", b"")
    shop.keep(".tar.zst", b"")


@recipe(judge=None)
def should_fail_dictionary(shop: Shop, _: str) -> None:
    """Compressed with a dictionary, which is not there to read it with."""
    text(shop)
    samples = []
    for number in range(200):
        samples.append(shop.scratch / f"sample{number}")
        samples[-1].write_bytes(prose(1_000 + number, 1_000))
    words = shop.scratch / "dictionary"
    run(["zstd", "-q", "--train", "--maxdict=4096", "--dictID=7", "-o", words, *samples])
    shop.zstd("", "-D", str(words))


@recipe(judge=None)
def should_fail_window(shop: Shop, _: str) -> None:
    """Wants a window of 2 GiB, more than the limit."""
    with shop.source() as source:
        tiny(source)
    shop.gnu_tar(".")
    shop.zstd("", "--ultra", "--long=31", streamed=True)


def should_fail(shop: Shop) -> bytearray:
    """What the damaged ones are made of."""
    with shop.source() as source:
        tiny(source)
        source.file(b"three", prose(6, 5_000))
        source.file(b"zero", b"0")
    shop.gnu_tar("d", "three", "two", "zero")
    return bytearray(shop.archive.read_bytes())


@recipe("first-header", judge=None)
def should_fail_truncated(shop: Shop, _: str) -> None:
    shop.keep(data=should_fail(shop)[:300])


@recipe("first-header", judge=None)
def should_fail_checksum(shop: Shop, _: str) -> None:
    data = should_fail(shop)
    data[0] ^= 1
    shop.keep(data=data)


CUT = Judge(
    BSDTAR,
    statuses=(0, 1),
    damaged=True,
    notes=("rule: a file that the damage cuts is shown as its header has it",),
)


@recipe("in-header", "in-data", judge=CUT)
def should_fail_cut(shop: Shop, where: str) -> None:
    """Ends in the header or in the data of one member."""
    data = should_fail(shop)
    at = data.index(b"three")
    del data[at + 200 if where == "in-header" else at + BLOCK + 1_000 :]
    shop.archive.write_bytes(data)
    shop.keep()
    shop.zstd()


@recipe(judge=Judge(statuses=(2,), notes=("rule: what follows the damage is found again, as by the tool",)))
def should_fail_bad_checksum(shop: Shop, _: str) -> None:
    """A header in the middle has a wrong checksum."""
    data = should_fail(shop)
    data[data.index(b"three")] ^= 1
    shop.archive.write_bytes(data)
    shop.keep()


@recipe("truncated", "block", "checksum", judge=CUT)
def should_fail_zstd(shop: Shop, what: str) -> None:
    """A frame that ends at its third block, has there one of the reserved type, or fails its checksum at the end."""
    text(shop)
    whole, data = shop.archive.read_bytes(), bytearray(shop.zstd())
    shop.archive.write_bytes(whole[: 2 * 128 * KIB])  # two blocks, each as large as blocks become
    if what == "truncated":
        del data[third_block(data) + 1 :]
    elif what == "block":
        data[third_block(data)] |= 0b110
    else:
        data[-1] ^= 1
        shop.archive.write_bytes(whole[: -20 * KIB])  # the end cannot be had without the checksum
    shop.keep(".tar.zst", data)


def third_block(data: bytes | bytearray) -> int:
    """Offset of the third block of a frame whose size is given in four bytes (RFC 8878, 3.1.1)."""
    if data[4] >> 5 != 0b101:
        raise SystemExit("not the frame header that zstd 1.5 writes for a file")
    at = 4 + 1 + 4
    for _ in range(2):
        at += 3 + (int.from_bytes(data[at : at + 3], "little") >> 3)
    return at
