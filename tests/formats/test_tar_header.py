"""A tar header by itself: number fields, checksums, and what is recognised as the beginning of an archive."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.archives.tar import FORMAT
from rofuse_formats.archives.tar.header import Checksums, checksum_right, number, plausible, stored_size
from tests.formats.tar_support import END, checksummed, header, patched


@given(st.integers(0, 8**11 - 1), st.sampled_from([b"\0", b" ", b""]), st.sampled_from([b"", b" ", b"  "]))
def test_octal_round_trip(value: int, end: bytes, start: bytes) -> None:
    assert number(start + b"%o" % value + end) == value


@given(st.integers(-(1 << 94), (1 << 94) - 1))
def test_base_256_round_trip(value: int) -> None:
    field = bytearray((value % (1 << 96)).to_bytes(12, "big"))
    field[0] |= 0x80
    assert number(bytes(field)) == value


@given(st.integers(-(1 << 56), (1 << 56) - 1))
def test_numbers_as_tarfile_writes_them(value: int) -> None:
    member = tarfile.TarInfo("member")
    member.uid = value
    assert number(member.tobuf(tarfile.GNU_FORMAT)[108:116]) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"        ", 0),
        (bytes(8), 0),
        (b"644    \0", 0o644),
        (b"\0000644\0", 0o644),  # a NUL left over from the field before
        (b"644\0junk", 0o644),
        (b"77777777", 0o77777777),
        (b"\x80\0\0\0\0\0\0\x01", 1),
        (b"\xff" * 8, -1),
    ],
)
def test_number_spellings(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize(
    "field",
    [b"0000648\0", b"00_0644\0", b"+000644\0", b"-000644\0", b"0x00644\0", b"00064a4\0", b"\x0b644\0\0\0\0"],
)
def test_not_a_number(field: bytes) -> None:
    with pytest.raises(ValueError):
        number(field)


@pytest.mark.parametrize("field", [b"\xff" * 12, b"\x80\0\0\0\x40" + bytes(7), b"zzzzzzzzzzz\0"])
def test_impossible_sizes(field: bytes) -> None:
    with pytest.raises(ValueError):
        stored_size(patched(header(b"x"), 124, field))


@given(st.binary(min_size=512, max_size=512))
def test_fast_sum_is_the_sum(block: bytes) -> None:
    from zlib import adler32

    block = checksummed(block)
    assert checksum_right(block)
    assert adler32(block) & 0xFFFF == Checksums()[block[148:156]]
    other = bytes([block[0] ^ 1]) + block[1:]
    assert not checksum_right(other)
    assert adler32(other) & 0xFFFF != Checksums()[other[148:156]]


def test_signed_sum() -> None:
    block = header(b"\xff\xfe\xfd")
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    block = block[:148] + b"%06o\0 " % signed + block[156:]
    assert checksum_right(block)
    assert FORMAT.recognise(block + END)


@pytest.mark.parametrize("field", [bytes(8), b" " * 8, b"0000000\0", b"9999999\0", b"7777777\0", b"\xff" * 8])
def test_a_checksum_that_cannot_be(field: bytes) -> None:
    assert Checksums()[field] == -1
    block = header(b"x")
    assert not checksum_right(block[:148] + field + block[156:])


def test_recognised() -> None:
    for magic in (b"ustar\x0000", b"ustar  \0", b""):
        assert FORMAT.recognise(header(b"name", magic=magic) + END)
    assert FORMAT.recognise(header(b"dir/", b"5", magic=b"") + END)
    assert FORMAT.recognise(header(b"label", b"V", magic=b"") + END)
    assert FORMAT.recognise(header(b"./", b"5") + END)
    assert FORMAT.recognise(header(b"pax_global_header", b"g", 52))


def test_zeros_are_an_archive_from_two_blocks_on() -> None:
    assert FORMAT.recognise(bytes(1024))
    assert FORMAT.recognise(bytes(10240))
    assert not FORMAT.recognise(bytes(512))
    assert not FORMAT.recognise(bytes(1023))
    assert not FORMAT.recognise(bytes(9000) + b"x")
    assert not FORMAT.recognise(bytes(1 << 16))  # of a disk, more likely


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"x",
        header(b"x")[:511],
        bytes(257) + b"ustar\x0000" + bytes(247),
        b"\x7fELF" + bytes(1020),
        patched(header(b"x"), 124, b"99999999999\0"),
        patched(header(b"x"), 136, b"?" * 12),
        patched(header(b"x"), 156, b"\xc3"),
        header(b"", magic=b""),
        header(b"x", b"S", magic=b""),
        bytes([header(b"x")[0] ^ 1]) + header(b"x")[1:],
    ],
)
def test_not_recognised(head: bytes) -> None:
    assert not FORMAT.recognise(head)


@given(st.binary(min_size=512, max_size=512))
def test_garbage_is_not_recognised(block: bytes) -> None:
    assert not plausible(block)
