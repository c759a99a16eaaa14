"""What packages say of themselves, and verify compares: digests of header, payload and files; and capabilities, which
only the header has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats.archives.deb import sums
from rofuse_formats.archives.rpm import FORMAT as RPM
from rofuse_formats.archives.rpm import capabilities
from rofuse_formats.errors import FormatError
from rofuse_formats.verify import verify
from testdata.workshop import noise, prose
from tests.formats.package_support import ar, deb, headers, opened, package
from tests.formats.sources import BytesSource
from tests.formats.test_packages import tar

TESTDATA = Path(__file__).parents[2] / "testdata"
PACKAGES = sorted(path for path in TESTDATA.glob("*-*") if path.suffix in (".deb", ".rpm"))


def bad(data: bytes, *, raw: bool = False) -> dict[bytes, str]:
    return {finding.path: finding.error for finding in verify(opened(data, raw=raw)) if finding.error}


def altered(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1 and len(old) == len(new)
    return data.replace(old, new)


@pytest.mark.parametrize(
    "path", [path for path in PACKAGES if "should-fail" not in path.name], ids=lambda p: p.name
)
def test_sound_packages_are_sound(path: Path) -> None:
    assert bad(path.read_bytes()) == {} == bad(path.read_bytes(), raw=True)


# -- rpm


def test_what_rpm_says() -> None:
    """As rpm itself says it, of this package."""
    data = package("rpm-gzip.rpm")
    found = RPM.seals(BytesSource(data), lambda path: None)
    names = [(one.what, one.digest.algorithm) for one in found.stretches]
    assert names == [
        ("the header", "sha1"),
        ("the header", "sha256"),
        ("what follows the signatures", "md5"),
        ("the payload", "sha256"),
    ]
    for one in found.stretches:
        stretch = data[one.start : one.start + one.size]
        assert hashlib.new(one.digest.algorithm, stretch).digest() == one.digest.value
    files = {path: digest.value for path, digest in found.files.items()}
    assert files[b"usr/share/text"] == hashlib.sha256(prose(1, 30_000)).digest()
    assert set(files) == {
        b"opt/set-uid", b"usr/bin/first", b"usr/bin/second", b"usr/bin/third", b"usr/share/noise",
        b"usr/share/text", b"usr/share/zero",
    }  # fmt: skip  # not the ghost


def test_a_file_that_was_altered_is_named() -> None:
    data = package("rpm-none.rpm")
    found = bad(altered(data, noise(1, 5_001), noise(2, 5_001)))
    assert found.keys() == {b"", b"usr/share/noise"}
    assert found[b"usr/share/noise"] == "it does not have the SHA-256 that the header says"
    assert "does not have the" in found[b""]


def test_all_names_of_a_file_that_was_altered_are_named() -> None:
    found = bad(altered(package("rpm-none.rpm"), b"#!/bin/sh\nexit 0\n", b"#!/bin/sh\nexit 1\n"))
    assert found.keys() == {b"", b"usr/bin/first", b"usr/bin/second", b"usr/bin/third"}


def test_the_parts_that_were_altered_are_named() -> None:
    data = package("rpm-none.rpm")
    errors = [
        finding.error
        for finding in verify(opened(altered(data, b"nothing in particular\0", b"something in partial\0\0")))
    ]
    assert [error for error in errors if error] == [
        "the header does not have the SHA-1 that the archive says",
        "the header does not have the SHA-256 that the archive says",
        "what follows the signatures does not have the MD5 that the archive says",
    ]
    found = [f for f in verify(opened(data + b"more", raw=True)) if f.error]
    assert [(f.path, f.offset) for f in found] == [(b"", headers(data)[1].start), (b"", headers(data)[1].end)]
    assert "the payload does not have the SHA-256" in found[1].error


def test_a_file_that_is_not_there_is_named() -> None:
    """And only that is looked at that was asked for."""
    data = altered(package("rpm-none.rpm"), b"./usr/share/text\0", b"./usr/share/else\0")
    assert bad(data)[b"usr/share/text"] == "the header lists this file, and it is not there"
    archive = opened(data)
    assert [f.path for f in verify(archive, [b"usr/share/text"])] == [b"usr/share/text"]
    assert [f.path for f in verify(archive, [b"opt"]) if f.error] == []


def test_a_digest_that_is_none_is_had_by_nothing() -> None:
    data = package("rpm-none.rpm")
    text = hashlib.sha256(prose(1, 30_000)).hexdigest().encode()
    assert b"usr/share/text" in bad(altered(data, text, b"g" * 64))


def test_other_algorithms() -> None:
    """MD5 where the header does not say, as of old; one that is unknown is passed over."""
    data = bytearray(package("rpm-none.rpm"))
    header = headers(bytes(data))[1]
    entry = data.index((5011).to_bytes(4, "big"), header.start)
    data[entry : entry + 4] = (5999).to_bytes(4, "big")  # FILEDIGESTALGO
    found = RPM.seals(BytesSource(bytes(data)), lambda path: None)
    assert {digest.algorithm for digest in found.files.values()} == {"md5"}
    known, at = header._entries[5011], header._store_at
    data = bytearray(package("rpm-none.rpm"))
    data[at + known[1] + 3] = 99
    assert RPM.seals(BytesSource(bytes(data)), lambda path: None).files == {}


def test_lists_that_contradict_each_other_are_told() -> None:
    data = bytearray(package("rpm-none.rpm"))
    entry = data.index((1035).to_bytes(4, "big"), headers(bytes(data))[1].start)
    data[entry + 15] -= 1  # FILEDIGESTS
    assert "its digests cannot be checked: the header has" in bad(bytes(data))[b""]


# -- deb


def test_files_of_a_deb_are_compared_with_its_sums() -> None:
    files = {"first": b"one", "second": b"two", "a b\nc": b"three"}
    lines = [f"{hashlib.md5(data).hexdigest()}  {name}\n" for name, data in files.items() if "\n" not in name]
    lines += [f"\\{hashlib.md5(b'three').hexdigest()}  a b\\nc\n", "no sum\n", f"{'0' * 32}  gone\n"]
    control = tar(md5sums="".join(lines).encode())
    assert bad(deb(control, tar(**files))) == {b"data/gone": "md5sums lists this file, and it is not there"}
    found = bad(deb(control, tar(**files | {"second": b"TWO"}, gone=b"")))
    text = "it does not have the MD5 that md5sums says"
    assert found == {b"data/second": text, b"data/gone": text}
    assert bad(deb(control, tar(**files)), raw=True) == {}


def test_sums_of_old_and_new() -> None:
    text = (
        b"0" * 32
        + b" *./usr/x\n"
        + b"1" * 32
        + b"  /y\r\n"
        + b"short  z\n\n"
        + b"\\"
        + b"2" * 32
        + b"  a\\\\b"
    )
    assert set(sums.of_files(text)) == {b"data/usr/x", b"data/y\r", b"data/a\\b"}


def test_a_deb_without_sums() -> None:
    assert bad(deb(tar(control=b""), tar(first=b"one"))) == {}
    assert (
        bad(ar(("debian-binary", b"2.0\n"), ("control.tar", tar(md5sums=b"x")), ("data.tar", tar(a=b""))))
        == {}
    )


def test_a_package_that_is_compressed_as_a_whole(tmp_path: Path) -> None:
    import zstandard

    path = tmp_path / "a.rpm.zst"
    path.write_bytes(zstandard.compress(altered(package("rpm-none.rpm"), noise(1, 5_001), noise(2, 5_001))))
    with rofuse_formats.open(path, keep=False) as archive:
        assert {f.path for f in verify(archive) if f.error} == {b"", b"usr/share/noise"}


# -- capabilities


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"cap_net_raw=ep", (1, 1 << 13, 0, 0, 0)),
        (b"= cap_net_raw+ep", (1, 1 << 13, 0, 0, 0)),
        (b"cap_net_admin,cap_net_raw=eip", (1, 3 << 12, 3 << 12, 0, 0)),
        (b"cap_setuid=p", (0, 1 << 7, 0, 0, 0)),
        (b"cap_setuid=ep-e", (0, 1 << 7, 0, 0, 0)),
        (b"cap_setuid+p cap_kill=p", (0, 5 << 5, 0, 0, 0)),
        (b"cap_38=i cap_perfmon+p", (0, 0, 0, 1 << 6, 1 << 6)),
        (b"=ep", (1, 0xFFFFFFFF, 0, 0x1FF, 0)),
        (b"all=p", (0, 0xFFFFFFFF, 0, 0x1FF, 0)),
    ],
)
def test_capabilities(text: bytes, words: tuple[int, ...]) -> None:
    """The values are what setcap sets."""
    revision, *others = words
    expected = b"".join(word.to_bytes(4, "little") for word in (0x02000000 | revision, *others))
    assert capabilities.attribute(text) == expected


@pytest.mark.parametrize("text", [b"", b"=", b" ", b"cap_kill=ep cap_kill=", b"cap_kill-ep"])
def test_no_capabilities(text: bytes) -> None:
    assert capabilities.attribute(text) == b""


@pytest.mark.parametrize(
    "text",
    [
        b"cap_kill",
        b"cap_kill=x",
        b"cap_none=ep",
        b"cap_64=ep",
        b"cap_kill=ep cap_setuid=p",
        b"cap_kill=e",
        b"\xff=p",
        b"a,=p",
    ],
)
def test_what_cannot_be_capabilities(text: bytes) -> None:
    assert capabilities.attribute(text) is None


def test_what_is_remembered_of_capabilities_is_bounded() -> None:
    """In a process that opens one package after the other."""
    every = b"cap_chown,cap_kill,cap_sys_time" * 100
    assert capabilities.attribute(every + b"=ep" + b" " * 4096) is None
    for number in range(1000):
        capabilities.attribute(b"%d=p" % (number % 60) + b" " * number)
    remembered = capabilities._attribute.cache_info()
    assert remembered.currsize <= 256


def test_capabilities_that_cannot_be_are_told() -> None:
    data = altered(package("rpm-capabilities.rpm"), b"cap_setuid=p", b"cap_nobody=p")
    try:
        found = opened(data)
    except FormatError as error:
        pytest.fail(str(error))
    (line,) = found.report.lines()
    assert "usr/share/zero" in line and "cap_nobody=p" in line
