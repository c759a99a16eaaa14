"""uuencode: what of a text is data, how its lines are read, and what is said of the rest."""

from __future__ import annotations

import binascii

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.codecs import named
from rofuse_formats.codecs.uu import lines
from tests.formats.units_support import Decoded, check_reads, clean
from tests.formats.zstd_support import mixed, text

DATA = mixed(300_000)
CODEC = named("uu")


def encoded(
    data: bytes, *, begin: bytes = b"begin 644 file\n", end: bytes = b"`\nend\n", width: int = 45
) -> bytes:
    pieces = (data[at : at + width] for at in range(0, len(data), width))
    return begin + b"".join(binascii.b2a_uu(piece, backtick=True) for piece in pieces) + end


def encoded64(data: bytes) -> bytes:
    pieces = (data[at : at + 45] for at in range(0, len(data), 45))
    return b"begin-base64 644 file\n" + b"".join(map(binascii.b2a_base64, pieces)) + b"====\n"


@pytest.mark.parametrize("size", [0, 1, 44, 45, 46, 300_000])
def test_sizes(size: int) -> None:
    for source in (encoded(DATA[:size]), encoded64(DATA[:size])):
        assert CODEC.recognise(source[:1000])
        check_reads(clean("uu", source, DATA[:size]), count=5)


@pytest.mark.parametrize("encode", [encoded, encoded64])
@pytest.mark.parametrize("piece", [1 << 10, 61 * 70])
def test_units_meet_where_lines_do(encode: object, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the bytes that are read at once end with a line, or in the end mark."""
    monkeypatch.setattr(lines, "PIECE", piece)
    for size in range(3_000, 3_000 + 45 * 20, 45):
        source = encoded(DATA[:size]) if encode is encoded else encoded64(DATA[:size])
        decoded = clean("uu", source, DATA[:size])
        assert decoded.passed.frames >= len(source) // piece
    long = encoded(DATA[:60_000])
    stream = clean("uu", long, DATA[:60_000]).stream()
    assert stream.size == 60_000


@given(st.binary(max_size=2000), st.integers(1, 15), st.booleans())
@settings(max_examples=60, deadline=None)
def test_anything(data: bytes, groups: int, is_base64: bool) -> None:
    clean("uu", encoded64(data) if is_base64 else encoded(data, width=3 * groups), data)


def test_lines_as_others_write_them() -> None:
    data = text(500) + bytes(100) + text(60) + b"\xff\0\0"
    plain = encoded(data)
    for other in (
        plain.replace(b"`", b" "),
        plain.replace(b"\n", b"\r\n"),
        b"".join(line.rstrip(b" ") + b"\n" for line in plain.replace(b"`", b" ").splitlines()),
        plain.replace(b"`\nend", b"end"),  # no line without bytes
        b"Subject: a file\nTo: you,\n and me\n\nhere it is\n\n" + plain,
        plain.removesuffix(b"\n"),
    ):
        assert CODEC.recognise(other), other[:80]
        clean("uu", other, data)
    body, end = plain.split(b"`\nend")
    checked = b"".join(line + (b"K" if line[:1] == b"M" else b"") + b"\n" for line in body.splitlines())
    clean("uu", checked + b"`\nend" + end, data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_full_lines_are_decoded_as_any_other(end: bytes) -> None:
    """By another way: with each character that there is, and with those that there are not."""
    body = b"M" + bytes(range(32, 92)) + end + b"M" + bytes(range(37, 97)) + end
    assert lines.full_line(body) == 61 + len(end)
    whole = b"begin 644 file\n" + body + b"`\nend\n"
    clean("uu", whole, b"".join(map(binascii.a2b_uu, body.splitlines())))
    for character in (0, 9, 10, 13, 31, 97, 127, 255):
        broken = bytearray(whole)
        broken[15 + 20] = character
        assert Decoded("uu", bytes(broken)).damages, character


def test_the_text_says_what_the_file_is_called() -> None:
    decoded = clean("uu", encoded(b"x", begin=b"begin 644 some where.tar\r\n"), b"x")
    assert decoded.passed.name == b"some where.tar"


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"begin 644 file\n",
        b"begin 644 file\nThis is how a uuencoded file begins.\n",
        b"begin 699 file\n" + encoded(b"x").split(b"\n", 1)[1],
        b"a line of a text\n" * 20 + encoded(b"x"),
        b"\0\0\0\n" + encoded(b"x"),
        b" " + encoded(b"x"),
        b"begin-base64 644 file\n!\n",
    ],
)
def test_other_texts_are_none(other: bytes) -> None:
    assert not CODEC.recognise(other)


def test_what_is_no_line_is_damage_and_the_next_unit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PIECE", 620)
    source = bytearray(encoded(DATA[:4500]))  # in full lines
    at = source.index(b"\n", 1500) + 5
    source[at] = ord("~")
    decoded = Decoded("uu", bytes(source))
    (damage,) = decoded.damages
    assert "line" in damage and len(decoded.data) == 4500
    ((start, end),) = decoded.passed.suspect
    assert 900 < start < 1200 and end - start <= 450
    assert decoded.data[:start] == DATA[:start] and decoded.data[end:] == DATA[end:4500]


@pytest.mark.parametrize("encode", [encoded, encoded64])
def test_truncation_is_told(encode: object) -> None:
    whole = encoded(DATA[:5000]) if encode is encoded else encoded64(DATA[:5000])
    for cut in (*range(30, 200, 7), len(whole) - 12, len(whole) - 200):
        decoded = Decoded("uu", whole[:cut])
        assert DATA.startswith(decoded.data) and not decoded.passed.suspect
        (damage,) = decoded.damages
        assert str(cut) in damage


def test_what_follows_is_told() -> None:
    decoded = Decoded("uu", encoded(b"first") + encoded(b"second"))
    assert decoded.data == b"first" and not decoded.damages
    assert "bytes behind the end of the uuencoded data" in decoded.passed.warnings[0]
    assert not Decoded("uu", encoded(b"first") + b"\n\n").passed.warnings
    decoded = Decoded("uu", encoded(b"first", end=b"`\nand more\n"))
    assert decoded.data == b"first" and "without its end mark" in str(decoded.passed.damages[0])
