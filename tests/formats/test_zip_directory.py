"""Where a zip file's central directory is found, whatever stands before and behind it."""

from __future__ import annotations

import io
import struct
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rofuse_formats.archives.zip import FORMAT
from rofuse_formats.archives.zip.directory import find
from rofuse_formats.errors import DamagedError, UnknownFormatError, UnsupportedError
from testdata import by_hand
from testdata.by_hand import Member, archive, central_header, end, end64, local_header
from tests.formats.zip_support import MemorySource, content, opened, paths

ONE, TWO = Member(b"one", b"1\n" * 50), Member(b"two", b"2\n", 0)
PLAIN = archive(ONE, TWO)


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n", b"MZ" + bytes(70_000), b"\x7fELF" + PLAIN])
def test_something_before_it(before: bytes) -> None:
    found = opened(before + PLAIN)
    assert paths(found) == [b"one", b"two"]
    assert content(found, b"one") == ONE.data
    assert content(found, b"two") == TWO.data


@pytest.mark.parametrize("size", [1, 1_000, 70_000, 500_000])
def test_garbage_behind_it(size: int) -> None:
    found = opened(PLAIN + b"\xaa" * size)
    assert paths(found) == [b"one", b"two"]
    assert f"{size} bytes of garbage" in found.report.warnings[0]


def test_zip64_with_something_before_it() -> None:
    wide = archive(ONE, ONE._replace(name=b"wide", wide=True), wide=True)
    for before in (b"", b"#!" + bytes(999)):
        found = opened(before + wide)
        assert content(found, b"wide") == ONE.data
        assert found.report.lines() == []


def test_a_comment_that_looks_like_an_end_record_is_none() -> None:
    directory = PLAIN[PLAIN.index(b"PK\1\2") : PLAIN.index(b"PK\5\6")]
    at = PLAIN.index(b"PK\1\2")
    for false in (end(0, 0, 0), end(1, 46, 4), end(9, 0, 0), end64(1, 46, 0)):
        data = PLAIN[: at + len(directory)] + end(2, len(directory), at, b"say: " + false + b".")
        assert paths(opened(data)) == [b"one", b"two"]


def test_of_two_archives_the_second_counts() -> None:
    found = opened(archive(ONE) + archive(TWO))
    assert paths(found) == [b"two"]
    assert content(found, b"two") == TWO.data


def test_counts_are_not_believed() -> None:
    """Of a directory with 2**40 entries as many are read as are there."""
    body, directory = local_header(ONE), central_header(ONE, 0)
    data = body + directory + end64(1 << 40, len(directory), len(body))
    started = time.monotonic()
    found = opened(data)
    assert time.monotonic() - started < 5
    assert paths(found) == [b"one"]
    more = body + directory + end64((1 << 40) + 7, len(directory), len(body))
    assert "tells of" in opened(more).report.warnings[0]


def test_a_directory_beyond_the_file_is_not_there() -> None:
    body, directory = local_header(ONE), central_header(ONE, 0)
    for size, at in ((1 << 50, 1 << 50), (len(directory), 1 << 61), (1 << 63, 1 << 62)):
        assert find(MemorySource(body + directory + end64(1, size, at))) is None
    lied = find(MemorySource(body + directory + end64(1, 1 << 50, len(body))))  # its offset is right
    assert lied is not None
    assert (lied.start, lied.end) == (len(body), len(body + directory))


def test_without_members() -> None:
    for data in (end(0, 0, 0), end(0, 0, 0, b"comment"), end64(0, 0, 0)[:-22] + end(0, 0, 0)):
        assert paths(opened(data)) == []


def test_the_last_part_of_a_split_archive_is_refused() -> None:
    at = PLAIN.index(b"PK\5\6")
    with pytest.raises(UnsupportedError, match="split"):
        opened(PLAIN[: at + 4] + b"\1\0" + PLAIN[at + 6 :])


def test_recognised() -> None:
    assert FORMAT.recognise(PLAIN)
    assert FORMAT.recognise(end(0, 0, 0, b"comment"))
    assert FORMAT.recognise(b"PK\7\10" + PLAIN)
    for other in (b"", b"PK", b"PK\3\4", b"PK\5\6 and some text that goes on and on", b"\x7fELF" + PLAIN):
        assert not FORMAT.recognise(other)
    assert FORMAT.recognise_end(b"\x7fELF" + PLAIN)
    assert FORMAT.recognise_end(b"MZ" + PLAIN + b"a signature")
    assert not FORMAT.recognise_end(PLAIN[PLAIN.index(b"PK\5\6") :] + b"more")
    assert not FORMAT.recognise_end(b"PK\5\6")


def test_a_program_is_no_archive() -> None:
    with pytest.raises(UnknownFormatError):
        opened(b"\x7fELF" + bytes(200_000))


def test_a_damaged_entry_costs_itself_and_no_other() -> None:
    three = [Member(b"%d" % n, b"%d\n" % n * 20) for n in range(30)]
    data = bytearray(archive(*three))
    at = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    data[at + 2] = 0
    found = opened(bytes(data))
    assert sorted(paths(found)) == sorted(member.name for member in three)
    assert all(content(found, member.name) == member.data for member in three)
    assert "central directory is damaged" in found.report.damage[0][0]


def test_a_directory_cut_in_an_entry() -> None:
    at = PLAIN.index(b"PK\5\6")
    data = bytearray(PLAIN)
    struct.pack_into("<H", data, data.rindex(b"PK\1\2") + 28, 9_999)  # a name beyond the directory
    found = opened(bytes(data))
    assert paths(found) == [b"one", b"two"]
    assert found.report.damage
    with pytest.raises(DamagedError):
        opened(b"PK\3\4" + b"\xff" * 100 + PLAIN[at:])


def test_order_is_that_of_the_directory() -> None:
    found = opened(by_hand.archive(*(Member(name, b"x", 0) for name in (b"z", b"a", b"m"))))
    assert paths(found) == [b"z", b"a", b"m"]


def test_a_gap_behind_the_directory() -> None:
    at = PLAIN.index(b"PK\1\2")
    size = PLAIN.index(b"PK\5\6") - at
    found = opened(PLAIN[: at + size] + bytes(100) + end(2, size, at))
    assert paths(found) == [b"one", b"two"]
    assert found.report.lines() == []


_NAMES = st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=20)
_METHODS = st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_NAMES.filter(lambda name: name not in (".", "..")), st.tuples(st.binary(), _METHODS)))
def test_what_the_standard_library_writes_is_read(files: dict[str, tuple[bytes, int]]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, (data, method) in files.items():
            written.writestr(zipfile.ZipInfo("d/" + name), data, method)
    found = opened(file.getvalue())
    assert paths(found) == [b"d", *(b"d/" + name.encode() for name in files)][: len(files) + bool(files)]
    for name, (data, _method) in files.items():
        assert content(found, b"d/" + name.encode()) == data
