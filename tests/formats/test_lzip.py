"""lzip: members, random reads, damage."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs import named
from rofuse_formats.codecs.lzip import members
from rofuse_formats.errors import DamagedError, LimitError, TruncatedError
from rofuse_formats.limits import Limits
from rofuse_formats.units import FAIR
from tests.formats.lzip_support import member
from tests.formats.units_support import (
    MIB,
    Decoded,
    check_damaged,
    check_flips,
    check_reads,
    check_truncation,
    clean,
    cuts,
    needs,
    read_at,
    run,
)
from tests.formats.zstd_support import mixed

DATA = mixed(360_000)
PARTS = [DATA[:150_000], DATA[150_000:150_100], DATA[150_100:300_000], DATA[300_000:]]
MEMBERS = b"".join(map(member, PARTS))
ONE = member(DATA)


@needs["lzip"]
@pytest.mark.parametrize("options", ["-0", "-6", "-9 -b 100KiB"])
def test_made_by_lzip(options: str) -> None:
    check_reads(clean("lzip", run(DATA, "lzip", "-c", *options.split()), DATA))


@needs["plzip"]
def test_made_by_plzip() -> None:
    decoded = clean("lzip", run(DATA, "plzip", "-c", "-0", "-B", "100KiB", "-n2"), DATA)
    assert decoded.passed.frames == 4
    check_reads(decoded)


@needs["lzip"]
def test_the_members_of_these_tests_are_members() -> None:
    assert run(MEMBERS + member(b""), "lzip", "-dc") == DATA


@pytest.mark.parametrize("size", [0, 1, 5000, 200_000])
def test_sizes(size: int) -> None:
    check_reads(clean("lzip", member(DATA[:size]), DATA[:size]))


def test_empty_members_anywhere() -> None:
    empty = member(b"")
    assert clean("lzip", empty * 3, b"").stream().points == [0]
    check_reads(
        clean("lzip", empty + member(PARTS[0]) + empty * 2 + member(PARTS[1]) + empty, DATA[:150_100])
    )


def test_a_member_is_a_point_and_small_ones_share_one() -> None:
    parts = [DATA[:300_000] * 2, DATA[:1000], DATA[1000:2000], DATA[2000:3000], DATA[:300_000] * 2]
    decoded = clean("lzip", b"".join(map(member, parts)), b"".join(parts))
    assert decoded.stream().points == [0, 600_000, 603_000]
    assert decoded.passed.frames == 5
    check_reads(decoded)


def test_large_members_are_not_to_be_sought_in() -> None:
    size = FAIR + MIB
    decoded = clean(
        "lzip", member(b"small") + member(bytes(size)) + member(b"x"), b"small" + bytes(size) + b"x"
    )
    assert sum(end - start for start, end in decoded.unseekable) == size
    assert decoded.stream().points == [0, 5, size + 5]


@pytest.mark.parametrize(
    "head",
    [b"LZIP\0\x0c", b"LZIP\2\x0c", b"LZIP\1\x0b", b"LZIP\1\x1e", b"LZIP\1\xec", b"LZIP\1", b"LZIQ\1\x0c"],
)
def test_not_recognised(head: bytes) -> None:
    assert not named("lzip").recognise(head)
    assert named("lzip").recognise(ONE)


@pytest.mark.parametrize(
    ("coded", "size"), [(0x0C, 4096), (0xD3, 320 << 10), (0x1D, 512 * MIB), (0xEC, 0), (0x0B, 0), (0x3E, 0)]
)
def test_dictionary_sizes(coded: int, size: int) -> None:
    """The second is the manual's example."""
    assert members.dictionary(b"LZIP\1" + bytes((coded,))) == size


def test_window_over_the_limit_is_refused() -> None:
    large = b"LZIP\1\x1d" + ONE[6:]
    with pytest.raises(LimitError, match="512 MiB, the limit is 128 MiB; --max-window"):
        Decoded("lzip", large)
    assert Decoded("lzip", large, Limits(max_window=512 * MIB)).data == DATA


# Damage


@pytest.mark.parametrize("source", [MEMBERS, ONE], ids=["members", "one"])
def test_truncation(source: bytes) -> None:
    check_truncation("lzip", source, DATA, cuts(len(source)))


def test_whole_members_of_a_cut_source_are_points() -> None:
    source = member(DATA[:150_000]) * 10
    decoded = Decoded("lzip", source[: len(source) * 3 // 4])
    assert len(decoded.data) > 1_000_000
    assert len(decoded.stream().points) > 2
    (damage,) = decoded.passed.damages
    assert isinstance(damage, TruncatedError)


@pytest.mark.parametrize("source", [MEMBERS, ONE], ids=["members", "one"])
def test_flipped_bits(source: bytes) -> None:
    assert check_flips("lzip", source, DATA, 100) < 5


def start_of(number: int) -> int:
    return sum(len(member(part)) for part in PARTS[:number])


def broken(offset: int, value: bytes) -> bytes:
    return MEMBERS[:offset] + value + MEMBERS[offset + len(value) :]


@pytest.mark.parametrize("where", ["header", "data", "checksum"])
def test_what_follows_a_broken_member_is_intact(where: str) -> None:
    offset = {"header": start_of(2), "data": start_of(2) + 30_000, "checksum": start_of(3) - 20}[where]
    decoded = Decoded("lzip", broken(offset, b"\xaa\x55\xaa"))
    assert len(decoded.data) == len(DATA)
    assert decoded.passed.suspect == [(150_100, 300_000)]
    assert len(decoded.damages) == 1 and str(start_of(2)) in decoded.damages[0]
    check_damaged(decoded, DATA)
    with pytest.raises(DamagedError):
        read_at(decoded.stream(), 150_100, 149_900)


@pytest.mark.parametrize("where", [-16, -8])
def test_a_trailer_that_lies_ends_it(where: int) -> None:
    """What was decoded cannot be told from what should have been: nothing has a place behind it."""
    decoded = Decoded("lzip", broken(start_of(3) + where, b"\xaa\x55"))
    assert decoded.damages
    assert decoded.passed.suspect == [(150_100, len(decoded.data))]
    check_damaged(decoded, DATA)


@pytest.mark.parametrize("claim", [1 << 40, (1 << 64) - 1])
def test_claims_that_no_member_can_hold_are_not_filled(claim: int) -> None:
    lie = MEMBERS[:-16] + struct.pack("<Q", claim) + MEMBERS[-8:]
    decoded = Decoded("lzip", lie)
    assert len(decoded.data) <= len(DATA) and decoded.damages
    check_damaged(decoded, DATA)


@pytest.mark.parametrize("garbage", [b"\0", bytes(5000), b"garbage", b"G" * 100_000, b"LAMB" * 5])
def test_garbage_behind_the_last_member_is_told(garbage: bytes) -> None:
    for source in (MEMBERS, ONE):
        decoded = Decoded("lzip", source + garbage)
        assert decoded.data == DATA and not decoded.passed.suspect and not decoded.damages
        assert f"{len(garbage)} bytes of garbage" in decoded.passed.warnings[0]
        check_reads(decoded, count=5)


@pytest.mark.parametrize(
    ("tail", "message"),
    [(b"LZ", "ends within the member header"), (b"LZIQ\1\x0c" + bytes(50), "header at offset")],
)
def test_what_looks_like_a_header_is_damage(tail: bytes, message: str) -> None:
    decoded = Decoded("lzip", MEMBERS + tail)
    assert decoded.data == DATA and not decoded.passed.suspect
    (damage,) = decoded.damages
    assert message in damage and str(len(MEMBERS)) in damage


def test_magic_in_the_data_is_no_member() -> None:
    """Seen only when members are looked for from the front: where something follows the last one."""
    data = random.Random(1).randbytes(20_000) + (b"LZIP\1\x0c" + bytes(range(256))) * 50
    decoded = Decoded("lzip", member(data) + member(data) + b"?")
    assert decoded.data == data * 2 and decoded.passed.frames == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=300) | st.just(DATA[:20_000]), min_size=1, max_size=8), st.binary(max_size=3)
)
def test_any_members(parts: list[bytes], garbage: bytes) -> None:
    decoded = Decoded("lzip", b"".join(map(member, parts)) + b"\xff" * len(garbage))
    assert decoded.data == b"".join(parts)
    assert not decoded.damages and bool(decoded.passed.warnings) == bool(garbage)
    check_reads(decoded, count=5)


def test_a_member_whose_end_marker_is_damaged_is_no_truncation() -> None:
    """The trailer behind it says that nothing was cut off, so what was decoded beyond the data is not to be shown."""
    for back in range(21, 28):
        for bit in range(8):
            broken = bytearray(ONE)
            broken[-back] ^= 1 << bit
            decoded = Decoded("lzip", bytes(broken))
            if decoded.data == DATA and not decoded.passed.damages:
                continue  # a bit that the decoder does not look at
            assert not isinstance(decoded.passed.damages[0], TruncatedError)
            assert decoded.passed.suspect == ([(0, len(decoded.data))] if decoded.data else [])
