"""What a zip header says of a member: name, times, owner, type and permissions."""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.archives.zip import extra
from rofuse_formats.archives.zip.attributes import mode_of
from rofuse_formats.archives.zip.extra import Facts
from rofuse_formats.archives.zip.names import Names, detect
from rofuse_formats.archives.zip.times import dos_seconds, windows_time
from rofuse_formats.entry import Time
from testdata.by_hand import FAT, STAMP, UNIX, UTF8, Member, archive
from tests.formats.zip_support import content, mode, mtime_ns, node_of, opened, owner, paths

DARWIN, NTFS = 19, 10
FILE, DIRECTORY, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def field(tag: int, data: bytes) -> bytes:
    return struct.pack("<HH", tag, len(data)) + data


def ntfs(*times: int) -> bytes:
    return field(extra.NTFS, bytes(4) + field(1, struct.pack("<QQQ", *times)))


def facts(*fields: bytes, stamp: int = STAMP) -> Facts:
    return Facts(b"".join(fields), stamp)


# -- modes


@pytest.mark.parametrize(
    ("system", "attributes", "expected"),
    [
        (UNIX, (FILE | 0o4755) << 16, FILE | 0o4755),
        (DARWIN, (DIRECTORY | 0o700) << 16 | 0x10, DIRECTORY | 0o700),
        (UNIX, 0o640 << 16, FILE | 0o640),
        (UNIX, 0, FILE | 0o644),
        (UNIX, 0x10, DIRECTORY | 0o755),
        (UNIX, 0o030644 << 16, FILE | 0o644),  # of no type that there is
        (FAT, 0x20, FILE | 0o644),
        (FAT, 0x21, FILE | 0o444),
        (FAT, 0x10, DIRECTORY | 0o755),
        (FAT, 0x11, DIRECTORY | 0o555),
        (FAT, (FILE | 0o750) << 16 | 0x20, FILE | 0o750),
        (NTFS, 0o600 << 16, FILE | 0o600),
        (FAT, (FILE | 0o777) << 16 | 0x01, FILE | 0o444),  # the two halves contradict each other
        (FAT, (FILE | 0o644) << 16 | 0x10, DIRECTORY | 0o755),
    ],
)
def test_modes(system: int, attributes: int, expected: int) -> None:
    assert mode_of(system, attributes) == expected


@given(st.integers(0, 255), st.integers(0, (1 << 32) - 1))
def test_a_mode_has_a_type(system: int, attributes: int) -> None:
    assert stat.filemode(mode_of(system, attributes))[0] in "-dlcbps"


def test_what_is_called_a_directory_is_one() -> None:
    found = opened(
        archive(Member(b"a/"), Member(b"b/", attributes=(FILE | 0o711) << 16), Member(b"c/", b"x"))
    )
    assert [stat.S_ISDIR(mode(found, name)) for name in (b"a", b"b", b"c")] == [True] * 3
    assert stat.S_IMODE(mode(found, b"b")) == 0o711


def test_types() -> None:
    found = opened(
        archive(
            Member(b"pipe", b"", 0, attributes=(stat.S_IFIFO | 0o640) << 16),
            Member(b"read-from-pipe", b"data", 0, attributes=(stat.S_IFIFO | 0o600) << 16),
            Member(b"link", b"file", 8, attributes=(LINK | 0o777) << 16),
            Member(b"socket", b"", 0, attributes=(stat.S_IFSOCK | 0o600) << 16),
        )
    )
    assert stat.S_ISFIFO(mode(found, b"pipe"))
    assert stat.S_ISSOCK(mode(found, b"socket"))
    assert content(found, b"read-from-pipe") == b"data"
    assert found.image.target(node_of(found, b"link")) == b"file"


def test_links_that_cannot_be_read() -> None:
    link = (LINK | 0o777) << 16
    found = opened(
        archive(
            Member(b"long", b"x" * 4096, attributes=link),
            Member(b"empty", b"", attributes=link),
            Member(b"broken", b"target", 8, b"\xff\xff", attributes=link),
            Member(b"encrypted", b"target", 0, flags=1, attributes=link),
            Member(b"good", b"x" * 4095, attributes=link),
        )
    )
    assert paths(found) == [b"good"]
    assert sum(found.report.skipped_counts.values()) == 4
    assert len(found.report.damage) == 1


def test_what_pkware_and_asi_record() -> None:
    ids = struct.pack("<iiHH", 1, 2, 3, 4)
    device = field(extra.PKWARE_UNIX, ids + struct.pack("<II", 8, 1))
    hard = field(extra.PKWARE_UNIX, ids + b"file")
    asi = struct.pack("<HIHH", LINK | 0o777, 0, 5, 6) + b"target"
    found = opened(
        archive(
            Member(b"file", b"data"),
            Member(b"disk", b"", 0, attributes=(stat.S_IFBLK | 0o660) << 16, extra=device),
            Member(b"hard", b"", 0, extra=hard),
            Member(b"soft", b"", 0, extra=field(extra.ASI_UNIX, struct.pack("<I", zlib.crc32(asi)) + asi)),
        )
    )
    assert found.image.data[node_of(found, b"disk") - 1] == os.makedev(8, 1)
    assert node_of(found, b"hard") == node_of(found, b"file")
    assert found.image.target(node_of(found, b"soft")) == b"target"
    assert owner(found, b"disk") == (3, 4)
    assert owner(found, b"soft") == (5, 6)
    assert mtime_ns(found, b"disk") == 2 * 10**9


# -- times


@pytest.mark.usefixtures("tokyo")
def test_dos_times_are_of_the_machines_zone() -> None:
    assert dos_seconds(STAMP) == 1_699_940_520  # 14:42 in Tokyo
    found = opened(archive(Member(b"file", b"x")))
    assert mtime_ns(found, b"file") == 1_699_940_520 * 10**9


@given(st.integers(0, (1 << 32) - 1))
def test_any_dos_time_is_some_time(stamp: int) -> None:
    assert 0 <= dos_seconds(stamp) < 1 << 33


def test_times_to_100_ns_are_preferred() -> None:
    at = (1_700_000_000 + 11_644_473_600) * 10_000_000 + 1_234_567
    assert windows_time(at) == (1_700_000_000, 123_456_700)
    unix = field(extra.TIMES, b"\1" + struct.pack("<i", 5))
    for order in ((unix, ntfs(at, at + 1, 0)), (ntfs(at, at + 1, 0), unix)):
        found = facts(*order)
        assert found.mtime == Time(1_700_000_000, 123_456_700)
        assert found.atime == Time(1_700_000_000, 123_456_800)
        assert found.btime is None
    assert facts(unix, ntfs(0, 0, 0)).mtime == Time(5)
    found_there = opened(archive(Member(b"file", b"x", extra=ntfs(at, at, at))))
    assert mtime_ns(found_there, b"file") == 1_700_000_000_123_456_700
    assert found_there.image.times(node_of(found_there, b"file"))[2] == Time(1_700_000_000, 123_456_700)


def test_times_before_1970_and_after_2038() -> None:
    early = field(extra.TIMES, b"\1" + struct.pack("<i", -1_000))
    assert facts(early).mtime == Time(-1_000)
    assert facts(early, stamp=60 << 25 | 1 << 21 | 1 << 16).mtime == Time((1 << 32) - 1_000)  # 2040
    usual = early + field(extra.NEW_UNIX_IDS, b"\1\4" + struct.pack("<I", 7) + b"\4" + struct.pack("<I", 8))
    found = opened(archive(Member(b"file", b"x", extra=usual)))
    assert mtime_ns(found, b"file") == -1_000 * 10**9
    assert owner(found, b"file") == (7, 8)


# -- owners


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), None),
        ((field(extra.UNIX_IDS, struct.pack("<HH", 1, 2)),), (1, 2)),
        ((field(extra.UNIX_IDS, b""),), None),  # in the central directory it is empty
        ((field(extra.OLD_UNIX, struct.pack("<iiHH", 0, 0, 3, 4)),), (3, 4)),
        ((field(extra.OLD_UNIX, struct.pack("<ii", 0, 0)),), None),
        ((field(extra.NEW_UNIX_IDS, b"\1\2\5\0\1\6"),), (5, 6)),
        ((field(extra.NEW_UNIX_IDS, b"\1\x08" + b"\7" + bytes(7) + b"\0"),), (7, 0)),
        ((field(extra.NEW_UNIX_IDS, b"\1\x08" + b"\xff" * 8 + b"\1\1"),), None),
        ((field(extra.NEW_UNIX_IDS, b"\2\1\5\1\6"),), None),  # another version
        ((field(extra.NEW_UNIX_IDS, b"\1\1\5\1\6"), field(extra.UNIX_IDS, struct.pack("<HH", 1, 2))), (5, 6)),
    ],
)
def test_owners(fields: tuple[bytes, ...], expected: tuple[int, int] | None) -> None:
    assert facts(*fields).owner == expected


def test_without_owner_it_is_the_archives() -> None:
    found = opened(archive(Member(b"file", b"x")))
    status = found.source.status
    assert owner(found, b"file") == (status.st_uid, status.st_gid)


@given(st.binary(max_size=300))
def test_any_extra_fields_can_be_read(data: bytes) -> None:
    found = Facts(data)
    assert found.owner is None or max(found.owner) < 1 << 32
    extra.aes(data)
    extra.widened(data, 0xFFFFFFFF, 1, 0xFFFFFFFF)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_fields_are_found_again(fields: list[tuple[int, bytes]]) -> None:
    packed = b"".join(field(tag, data) for tag, data in fields)
    assert list(extra.fields(packed)) == fields
    assert list(extra.fields(packed + b"\1")) == fields


def test_zip64_fields() -> None:
    both = struct.pack("<QQ", 5, 6)
    assert extra.widened(both, 0xFFFFFFFF, 1, 0xFFFFFFFF) == (5, 1, 6)
    assert extra.widened(both, 1, 2, 3) == (1, 2, 3)
    assert extra.widened(both, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) is None
    assert extra.widened(struct.pack("<Q", 1 << 62), 0xFFFFFFFF) is None
    bad = Member(b"bad", b"x")._replace(extra=b"", wide=True)
    data = bytearray(archive(bad, Member(b"good", b"x")))
    data[data.index(b"\1\0\x18\0")] = 9  # no longer a zip64 field
    found = opened(bytes(data))
    assert paths(found) == [b"good"]
    assert found.report.skipped[0][0] == b"bad"


# -- names


def dos(name: bytes) -> Member:
    return Member(name, b"x", system=FAT, attributes=0x20)


SAMPLES = {
    "cp437": ["Übersicht.txt", "Grüße aus Köln.doc", "Änderungen.txt", "Résumé.pdf"],
    "cp866": ["Привет мир.txt", "Документы за год.doc", "фото.jpg"],
    "cp1251": ["Привет мир.txt", "Документы за год.doc", "фото.jpg"],
    "cp932": ["日本語のファイル.txt", "夏休み.jpg", "レポート.doc", "ソース.c", "表示.txt"],
    "gb18030": ["中文文件.txt", "暑假.jpg", "报告.doc"],
    "big5": ["中文檔案.txt", "暑假.jpg", "報告.doc"],
    "cp949": ["한국어 파일.txt", "여름.jpg", "보고서.doc"],
    "utf-8": ["größe.txt", "ж.txt"],
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_code_pages_are_detected(encoding: str) -> None:
    names = SAMPLES[encoding]
    assert detect(name.encode(encoding) for name in names) == encoding
    found = opened(archive(dos(b"plain"), *(dos(name.encode(encoding)) for name in names)))
    assert paths(found) == [b"plain", *(name.encode() for name in names)]
    assert (f"read as {encoding}" in " ".join(found.report.warnings)) == (encoding != "utf-8")


@pytest.mark.parametrize("encoding", SAMPLES)
def test_code_pages_are_told(encoding: str) -> None:
    names = SAMPLES[encoding][:1]
    found = opened(archive(*(dos(name.encode(encoding)) for name in names)), encoding=encoding)
    assert paths(found) == [name.encode() for name in names]
    assert found.report.warnings == []


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=10))
def test_any_names_are_some_names(raw: list[bytes]) -> None:
    names = Names(None, lambda: iter(raw))
    for name in raw:
        names.decoded(name).encode("utf-8", "surrogateescape")


def test_what_says_that_it_is_utf8_stays() -> None:
    odd = "ж".encode("cp866") + b"\xff"
    found = opened(archive(dos(odd)._replace(flags=UTF8), dos(odd + b"2")), encoding="cp866")
    assert paths(found)[0] == odd


def test_the_unicode_path_counts_if_it_is_of_this_name() -> None:
    raw = "ü".encode("cp437")

    def told(crc: int) -> bytes:
        return field(extra.UNICODE_PATH, b"\1" + struct.pack("<I", crc) + "ж".encode())

    right, wrong = told(zlib.crc32(raw)), told(zlib.crc32(raw) ^ 1)
    assert paths(opened(archive(dos(raw)._replace(extra=right)))) == ["ж".encode()]
    assert paths(opened(archive(dos(raw)._replace(extra=wrong)), encoding="cp437")) == ["ü".encode()]


def test_backslashes_are_slashes_where_windows_wrote_them() -> None:
    assert b"a/b" in paths(opened(archive(dos(b"a\\b"))))
    assert b"a\\b" in paths(opened(archive(Member(b"a\\b", b"x"))))
    assert b"a/b\\c" in paths(opened(archive(dos(b"a/b\\c"))))
    kanji = "表\\ソ".encode("cp932")  # 0x5c is half of both letters
    assert paths(opened(archive(dos(kanji)), encoding="cp932"))[-1] == "表/ソ".encode()


def test_paths_that_climb_are_refused() -> None:
    found = opened(archive(dos(b"../x"), dos(b"..\\y"), dos(b"a/../../z"), dos(b"/etc/passwd"), dos(b"")))
    assert paths(found) == [b"a", b"etc", b"etc/passwd"] or paths(found) == [b"etc", b"etc/passwd"]
    assert sum(found.report.skipped_counts.values()) == 4


@pytest.mark.parametrize(("there", "here"), [(b"a\\b.txt", b"a/b.txt"), (b"a/b.txt", b"a\\b.txt")])
def test_slashes_that_differ_between_directory_and_header(there: bytes, here: bytes) -> None:
    """As IZArc has them."""
    data = archive(Member(there, b"content" * 9, system=FAT, local=here))
    assert content(opened(data), b"a/b.txt") == b"content" * 9


@pytest.mark.parametrize("raw", [b"%U00D6l.txt", b"\x99l.txt"])
def test_a_unicode_path_counts_whatever_the_name_is(raw: bytes) -> None:
    told = field(0x7075, struct.pack("<BI", 1, zlib.crc32(raw)) + "Öl.txt".encode())
    stale = field(0x7075, struct.pack("<BI", 1, zlib.crc32(b"other")) + b"gone")
    found = opened(archive(Member(raw, b"1", extra=told), Member(b"plain", b"2", extra=stale)))
    assert paths(found) == ["Öl.txt".encode(), b"plain"]
