"""Encrypted members, as Info-ZIP and 7-Zip make them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import ScanOptions, Settings
from rofuse_formats.errors import DamagedError, PasswordError
from testdata.workshop import prose
from tests.formats.zip_support import content, node_of, opened, paths, piece

PASSWORD = b"a pass phrase"
SMALL, LARGE = prose(1, 5_000), prose(2, 100_000) * 12
WAYS = {
    "traditional": ["zip", "-q", "-P", PASSWORD.decode()],
    "traditional-stored": ["zip", "-q", "-0", "-P", PASSWORD.decode()],
    "aes128": ["7z", "a", "-bd", "-tzip", f"-p{PASSWORD.decode()}", "-mem=AES128"],
    "aes192": ["7z", "a", "-bd", "-tzip", f"-p{PASSWORD.decode()}", "-mem=AES192", "-mm=Copy"],
    "aes256": ["7z", "a", "-bd", "-tzip", f"-p{PASSWORD.decode()}", "-mem=AES256"],
    "aes256-bzip2": ["7z", "a", "-bd", "-tzip", f"-p{PASSWORD.decode()}", "-mem=AES256", "-mm=BZip2"],
}


def made(way: str, folder: Path) -> bytes:
    command = WAYS[way]
    if shutil.which(command[0]) is None:  # what runs without .ci/setup, which installs both, may lack them
        pytest.skip(f"{command[0]} is not installed")
    if "aes" in way:
        pytest.importorskip("cryptography", reason="AES needs the package cryptography")
    (folder / "small").write_bytes(SMALL)
    (folder / "tiny").write_bytes(b"tiny")
    (folder / "empty").write_bytes(b"")
    (folder / "large").write_bytes(LARGE)
    subprocess.run(
        [*command, "it.zip", "small", "tiny", "empty", "large"], cwd=folder, check=True, capture_output=True
    )
    return (folder / "it.zip").read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_with_the_password(way: str, tmp_path: Path) -> None:
    found = opened(made(way, tmp_path), password=PASSWORD)
    assert content(found, b"small") == SMALL
    assert content(found, b"tiny") == b"tiny"
    assert content(found, b"empty") == b""
    chance = random.Random(way)
    for _ in range(3):
        offset = chance.randrange(len(LARGE))
        assert piece(found, b"large", offset, 5_000) == LARGE[offset : offset + 5_000]
    assert content(found, b"large") == LARGE


@pytest.mark.parametrize("way", WAYS)
def test_without_the_password_it_is_listed(way: str, tmp_path: Path) -> None:
    found = opened(made(way, tmp_path))
    assert sorted(paths(found)) == [b"empty", b"large", b"small", b"tiny"]
    assert "--password-file" in found.report.warnings[0]
    for name in (b"small", b"large"):
        with pytest.raises(PasswordError, match="--password"):
            content(found, name)


@pytest.mark.parametrize("way", ["aes128", "aes256"])
def test_a_wrong_password_is_noticed_when_it_is_opened(way: str, tmp_path: Path) -> None:
    with pytest.raises(PasswordError, match="wrong"):
        opened(made(way, tmp_path), password=b"another")


def test_a_wrong_password_in_the_traditional_way(tmp_path: Path) -> None:
    """A byte says whether it is right, for each member: one of 256 wrong ones passes. What is read is checked."""
    data = made("traditional", tmp_path)
    refused = 0
    for number in range(40):
        try:
            found = opened(data, password=b"%d" % number)
        except PasswordError:
            refused += 1
            continue
        with pytest.raises((PasswordError, DamagedError)):
            content(found, b"small")
    assert refused > 20


@pytest.mark.parametrize("way", ["aes128", "aes192", "aes256", "traditional-stored"])
@pytest.mark.parametrize("name", [b"small", b"large"])
def test_what_was_tampered_with_is_an_error(way: str, name: bytes, tmp_path: Path) -> None:
    data = bytearray(made(way, tmp_path))
    start = data.index(name) + len(name)
    data[start + 1_500] ^= 1
    found = opened(bytes(data), password=PASSWORD)
    for _ in range(2):
        with pytest.raises(DamagedError):
            content(found, name)


# -- symbolic links: their targets are encrypted, and would lie in the index


def linked(folder: Path, way: str, *, files: bool = True) -> Path:
    """An archive of a link, and a file if there are ``files``."""
    command = WAYS[way]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if "aes" in way:
        pytest.importorskip("cryptography", reason="AES needs the package cryptography")
    (folder / "small").write_bytes(SMALL)
    (folder / "link").symlink_to("where/nobody/looks")
    names = ["small", "link"] if files else ["link"]
    keeping = ["-y"] if command[0] == "zip" else ["-snl"]
    subprocess.run([*command, *keeping, "it.zip", *names], cwd=folder, check=True, capture_output=True)
    return folder / "it.zip"


def with_password(password: bytes | None) -> Settings:
    return Settings(ScanOptions(password=password))


@pytest.mark.parametrize("way", ["traditional", "aes256"])
def test_the_target_of_a_link(way: str, tmp_path: Path) -> None:
    data = linked(tmp_path, way).read_bytes()
    found = opened(data, password=PASSWORD)
    assert found.image.target(node_of(found, b"link")) == b"where/nobody/looks"
    assert found.report.lines() == []
    without = opened(data)
    assert paths(without) == [b"small"]
    assert "a symbolic link that is encrypted (first: 'link')" in without.report.lines()[0]


@pytest.mark.parametrize("way", ["traditional", "aes256"])
@pytest.mark.parametrize("files", [False, True])
def test_a_wrong_password_where_there_are_links(way: str, files: bool, tmp_path: Path) -> None:
    data, refused = linked(tmp_path, way, files=files).read_bytes(), 0
    for number in range(8):
        try:
            assert b"link" not in paths(opened(data, password=b"%d" % number))
        except PasswordError:
            refused += 1
    assert refused > 5


@pytest.fixture
def always_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where indexes are kept, however fast they were made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rofuse_formats.effort.BLINK", -1)
    return tmp_path / "cache"


def test_what_was_decrypted_is_in_no_file(tmp_path: Path, always_kept: Path) -> None:
    """Made before a password was given or after it, no index has the target; and none that lacks it is used by who
    gives one."""
    path = linked(tmp_path, "aes256")
    for password, link in ((PASSWORD, True), (None, False), (PASSWORD, True), (None, False)):
        with rofuse_formats.open(path, with_password(password)) as found:
            assert (b"link" in paths(found)) == link
            assert (found.index_path is None) == link
            assert content(found, b"small") == SMALL if link else True
        files = [file for file in always_kept.rglob("*") if file.is_file()]
        assert not any(b"nobody" in file.read_bytes() for file in files)


def test_without_links_the_index_is_kept_with_a_password_too(tmp_path: Path, always_kept: Path) -> None:
    (tmp_path / "it.zip").write_bytes(made("aes256", tmp_path))
    for _ in range(2):
        with rofuse_formats.open(tmp_path / "it.zip", with_password(PASSWORD)) as found:
            assert found.index_path is not None
            assert content(found, b"small") == SMALL
            assert found.report.lines() == []
