"""Extended headers: records, times, attributes, access lists."""

from __future__ import annotations

import base64
import struct
from decimal import ROUND_FLOOR, Decimal
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.archives.tar import acl, pax
from rofuse_formats.entry import Time
from tests.formats.tar_support import record

KEYS = st.binary(min_size=1, max_size=80).filter(lambda key: b"=" not in key and b"\n" not in key)
PAIRS = st.lists(st.tuples(KEYS, st.binary(max_size=200)), max_size=100)


@given(PAIRS)
def test_records_round_trip(pairs: list[tuple[bytes, bytes]]) -> None:
    assert pax.records(b"".join(record(key, value) for key, value in pairs)) == (pairs, True)


@given(PAIRS, st.binary(min_size=1, max_size=30).filter(lambda data: data.strip(b"\0") != b""))
def test_what_precedes_a_fault_is_kept(pairs: list[tuple[bytes, bytes]], garbage: bytes) -> None:
    found, whole = pax.records(b"".join(record(key, value) for key, value in pairs) + b"!" + garbage)
    assert (found, whole) == (pairs, False)


@given(st.binary(max_size=300))
def test_records_of_anything_end(body: bytes) -> None:
    found, whole = pax.records(body)
    if whole:
        rebuilt = sum(len(key) + len(value) + 3 for key, value in found)
        assert rebuilt <= len(body)


@pytest.mark.parametrize(
    "body",
    [
        b"11 path=abc",  # no newline
        b"12 path=abcx",
        b"11 path=abc\n",  # one less than it has
        b"13 path=abc\n",  # one more
        b"12 path=abc\nx",
        b"99999999999999999999999 path=abc\n",
        b"-11 path=abc\n",
        b"+11 path=abc\n",
        b"1_1 path=abc\n",
        b" 11 path=abc\n",
        b"8 =abc\n",
        b"10 pathabc\n",
        b"3 \n",
        b"0 path=\n",
    ],
)
def test_malformed(body: bytes) -> None:
    good = record(b"mtime", b"1")
    found, whole = pax.records(good + body)
    assert not whole
    assert found[0] == (b"mtime", b"1")
    assert found[1:] in ([], [(b"path", b"abc")])


def test_padding_counted_in_is_forgiven() -> None:
    assert pax.records(record(b"path", b"x") + bytes(17)) == ([(b"path", b"x")], True)


@given(st.decimals(-(10**15), 10**15, places=12) | st.decimals(-5, 5, places=9))
def test_times_are_exact(value: Decimal) -> None:
    whole = int((value * 10**9).to_integral_value(ROUND_FLOOR))
    assert pax.moment(b"%s" % format(value, "f").encode()) == Time(*divmod(whole, 10**9))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"0", (0, 0)),
        (b"-0.5", (-1, 500_000_000)),
        (b"-1", (-1, 0)),
        (b"-1.000000001", (-2, 999_999_999)),
        (b"-0.0000000001", (-1, 999_999_999)),
        (b"0.9999999999", (0, 999_999_999)),
        (b"1.", (1, 0)),
        (b".25", (0, 250_000_000)),
        (b"9223372036854775807.000000001", ((1 << 63) - 1, 1)),
    ],
)
def test_times(text: bytes, time: tuple[int, int]) -> None:
    assert pax.moment(text) == Time(*time)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-",
        b".",
        b"x",
        b"1e9",
        b"+1",
        b" 1",
        b"1 ",
        b"1.-5",
        b"--1",
        b"1_0",
        b"1.2.3",
        b"9" * 19,
        b"9" * 5000,
    ],
)
def test_no_times(text: bytes) -> None:
    with pytest.raises(ValueError):
        pax.moment(text)


@pytest.mark.parametrize("text", [None, b"", b"-1", b"+1", b"1_0", b" 1", b"9" * 21, b"100"])
def test_no_decimal(text: bytes | None) -> None:
    with pytest.raises(ValueError):
        pax.decimal(text, 100)


def test_identifiers() -> None:
    assert pax.identifier(b"4294967295") == 4294967295
    assert pax.identifier(b"-2") == -2
    with pytest.raises(ValueError):
        pax.identifier(b"4294967296")


def test_gnu_attributes() -> None:
    pairs = [
        (b"SCHILY.xattr.user.a%3Db%25c%20", b"\0\xff\n="),
        (b"SCHILY.xattr.user.empty", b""),
        (b"path", b"x"),
    ]
    assert pax.xattrs(pairs) == {b"user.a=b%c%20": b"\0\xff\n=", b"user.empty": b""}


@given(st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=50), min_size=1))
def test_libarchive_attributes(attributes: dict[bytes, bytes]) -> None:
    pairs = []
    for name, value in attributes.items():
        escaped = quote_from_bytes(name, safe="").encode()
        pairs.append((b"SCHILY.xattr." + escaped, value))
        pairs.append((b"LIBARCHIVE.xattr." + escaped, base64.b64encode(value).rstrip(b"=")))
    assert pax.xattrs(pairs) == attributes


def test_attributes_that_do_not_decode() -> None:
    pairs = [
        (b"LIBARCHIVE.xattr.user.a", b"!!"),
        (b"LIBARCHIVE.xattr.user.%zz%4", b"eA"),
        (b"LIBARCHIVE.xattr.b", b"A"),
    ]
    assert pax.xattrs(pairs) == {b"user.%zz%4": b"x"}


def entries(*rows: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


NO_ID = 0xFFFFFFFF
LISA = entries(
    (1, 6, NO_ID), (2, 4, 7), (2, 5, 1234), (4, 4, NO_ID), (8, 6, 1), (16, 6, NO_ID), (32, 4, NO_ID)
)


@pytest.mark.parametrize(
    "text",
    [
        b"user::rw-\nuser:1234:r-x\nuser:7:r--\ngroup::r--\ngroup:1:rw-\nmask::rw-\nother::r--\n",
        b"user::rw-,user:lisa:r-x:1234,user:7:r--,group::r--,group:daemon:rw-:1,mask::rw-,other::r--",
        b"u::rw-,u:1234:r-x\t#effective:r--,u:7:r--,g::r--,g:1:rw-,m:rw-,o:r--",
    ],
)
def test_access_lists(text: bytes) -> None:
    value = acl.binary(text)
    assert value == LISA
    assert acl.says_more_than_mode(value)


def test_a_plain_access_list_says_no_more_than_the_mode() -> None:
    value = acl.binary(b"user::rw-,group::r--,other::---")
    assert value == entries((1, 6, NO_ID), (4, 4, NO_ID), (32, 0, NO_ID))
    assert not acl.says_more_than_mode(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"user::rw-,group::r--",
        b"user::rw-,user:lisa:r--,group::r--,mask::r--,other::r--",  # whose number is hers?
        b"user::rw-,user:7:r--,group::r--,other::r--",  # no mask
        b"user::rw-,user::r--,group::r--,other::r--",
        b"user::rwz,group::r--,other::r--",
        b"user::rw,group::r--,other::r--",
        b"user::rw-,group::r--,other:5:r--",
        b"nonsense",
        b"user::rw-,user:4294967295:r--,group::r--,mask::r--,other::r--",
    ],
)
def test_access_lists_that_are_not_understood(text: bytes) -> None:
    assert acl.binary(text) is None
