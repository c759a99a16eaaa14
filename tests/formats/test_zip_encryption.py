"""Encrypted members, as Info-ZIP and 7-Zip make them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from rofuse_formats.errors import DamagedError, PasswordError
from testdata.workshop import prose
from tests.formats.zip_support import content, opened, paths, piece

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
