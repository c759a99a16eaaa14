"""Damaged zip files: what is intact is shown, what is read is right, and nothing hangs."""

from __future__ import annotations

import random
import stat
import time
import zlib

import pytest

from rofuse_formats import Archive
from rofuse_formats.archives.zip.reading import SMALL
from rofuse_formats.errors import FormatError
from rofuse_formats.image import layout
from testdata.by_hand import Member, archive, local_header
from testdata.workshop import noise, prose
from tests.formats.zip_support import content, opened, paths

MUTATIONS = 500
SECONDS = 10  # for one archive, on a busy machine

DESCRIBED = 1 << 3


def streamed(member: Member, *, signature: bool = True, wide: bool = False) -> bytes:
    """A member as it is written to a pipe: its sizes stand behind its data."""
    content = member.content()
    header = bytearray(local_header(member._replace(flags=member.flags | DESCRIBED)))
    header[14:26] = bytes(12)
    sizes = b"".join(size.to_bytes(8 if wide else 4, "little") for size in (len(content), len(member.data)))
    crc = zlib.crc32(member.data).to_bytes(4, "little")
    return bytes(header) + (b"PK\7\10" if signature else b"") + crc + sizes


def everything() -> list[Member]:
    """Members of all kinds."""
    files = [Member(b"text/%d" % n, prose(n, 700 * n + 1)) for n in range(8)]
    files += [Member(b"stored/%d" % n, noise(n, 500 * n), 0) for n in range(4)]
    files += [Member(b"dir/"), Member(b"link", b"text/1", attributes=(stat.S_IFLNK | 0o777) << 16)]
    return [*files, Member(b"wide", prose(9, 3_000), wide=True)]


def mutated(data: bytes, chance: random.Random) -> bytes:
    copy = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        at = chance.randrange(len(copy))
        match chance.randrange(5):
            case 0:
                copy[at] ^= 1 << chance.randrange(8)
            case 1:
                copy[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"PK\1\2", b"PK\3\4", b"PK\5\6"))
            case 2:
                del copy[at : at + chance.randrange(1, 200)]
            case 3:
                copy[at:at] = chance.randbytes(chance.randrange(1, 200))
            case _:
                at = chance.choice(
                    (copy.rfind(b"PK\1\2"), copy.rfind(b"PK\5\6"), copy.find(b"PK\1\2"))
                ) + chance.randrange(46)
                copy[at : at + 1] = chance.randbytes(1)
    return bytes(copy[: chance.randrange(len(copy))]) if chance.randrange(6) == 0 else bytes(copy)


def read_all(found: Archive) -> tuple[int, int]:
    """Reads every file; returns how many could be read and how many not. Nothing that can be read is unchecked."""
    good = bad = 0
    for path, node in found.image.walk():
        size, word = found.image.size[node - 1], found.image.data[node - 1]
        if not stat.S_ISREG(found.image.mode[node - 1]) or not size:
            continue
        member = found.image.member(word & layout.DATA_MASK)
        try:
            data = b"".join(found.read(node, 0, min(size, SMALL)))
        except FormatError as error:
            assert "\n" not in str(error)
            bad += 1
            continue
        assert len(data) == min(size, SMALL)
        assert size > SMALL or zlib.crc32(data) == member.crc, path
        good += 1
    return good, bad


@pytest.mark.parametrize("part", range(5))
def test_a_matrix_of_damage(part: int) -> None:
    chance, whole = random.Random(part), archive(*everything(), wide=part == 1)
    good = bad = refused = 0
    for _ in range(MUTATIONS // 5):
        started = time.monotonic()
        try:
            found = opened(mutated(whole, chance))
        except FormatError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        counts = read_all(found)
        good, bad = good + counts[0], bad + counts[1]
        assert time.monotonic() - started < SECONDS
    assert good > bad > 0  # it is worth opening what is damaged
    assert refused < MUTATIONS // 50


@pytest.mark.parametrize("descriptors", [False, True])
def test_cut_anywhere(descriptors: bool) -> None:
    """What is whole before the cut is there, and nothing else can be read."""
    members = [Member(b"%d" % n, prose(n, 300)) for n in range(5)]
    parts = [streamed(member) if descriptors else local_header(member) for member in members]
    body = b"".join(parts)
    whole = body + archive(*members)[sum(len(local_header(member)) for member in members) :]
    ends = [sum(map(len, parts[: n + 1])) for n in range(5)]
    for cut in range(31, len(whole) - 22, 7):
        try:
            found = opened(whole[:cut])
        except FormatError:
            assert cut < ends[0]
            continue
        assert found.report.damage
        intact = [member for member, end in zip(members, ends, strict=True) if end <= cut]
        for member in intact:
            assert content(found, member.name) == member.data
        assert read_all(found)[0] <= len(intact) + 1  # the descriptor alone may be cut


@pytest.mark.parametrize("signature", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_descriptors_of_every_kind(signature: bool, wide: bool) -> None:
    members = [Member(b"%d" % n, prose(n, 5_000)) for n in range(3)]
    data = b"".join(streamed(member, signature=signature, wide=wide) for member in members)
    found = opened(data + b"PK\1\2")
    assert paths(found) == [b"0", b"1", b"2"]
    assert [content(found, member.name) for member in members] == [member.data for member in members]
    assert "no central directory" in found.report.damage[0][0]


def test_a_size_in_a_local_header_that_lies() -> None:
    """The next header is searched."""
    data = bytearray(b"".join(local_header(Member(b"%d" % n, prose(n, 900))) for n in range(3)))
    data[18:22] = b"\x07\0\0\0"
    found = opened(bytes(data))
    assert paths(found) == [b"0", b"1", b"2"]
    assert content(found, b"2") == prose(2, 900)
    assert "the next is at byte" in " ".join(message for message, _offset in found.report.damage)


def test_what_a_rebuilt_archive_says() -> None:
    data = (
        local_header(Member(b"d/"))
        + local_header(Member("ü".encode("cp437"), b"x"))
        + local_header(Member(b"e\\f", b"x"))
    )
    found = opened(data, encoding="cp437")
    assert paths(found) == [b"d", "ü".encode(), b"e", b"e/f"]
    assert found.image.mtime[found.image.resolve(b"e/f") - 1] > 0


def test_many_false_signatures_do_not_take_long() -> None:
    """Descriptors are searched in linear time."""
    started = time.monotonic()
    noise_of_signatures = b"PK\7\10" * 40_000
    member = streamed(Member(b"first", noise_of_signatures, 0))
    found = opened(member)
    assert content(found, b"first") == noise_of_signatures
    assert time.monotonic() - started < SECONDS


def test_headers_without_end_are_given_up() -> None:
    """Each of them has its size behind its data, and nothing there says it."""
    header = bytearray(local_header(Member(b"x", b"", 0, flags=DESCRIBED)))
    started = time.monotonic()
    try:
        opened(bytes(header) * 3_000 + bytes(300_000))
    except FormatError:
        pass
    assert time.monotonic() - started < 3 * SECONDS
