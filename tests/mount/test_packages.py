"""Packages through real mounts: what is chosen on the command line, damage as an errno, standard input, a remount."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from testdata.workshop import noise
from tests.formats.package_support import contents, opened, package
from tests.mount.command import Rofuse, rofuse

__all__ = ["rofuse"]

DATA = Path(__file__).parents[2] / "testdata"


def umount(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


@pytest.mark.parametrize("options", [("--raw",), ("-o", "raw")])
def test_raw_is_chosen(options: tuple[str, ...], rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(*options, DATA / "rpm-zstd.rpm", mountpoint).stderr == ""
    found = {bytes(path.name, "ascii"): path.read_bytes() for path in mountpoint.iterdir()}
    assert found == contents(opened(package("rpm-zstd.rpm"), raw=True))
    umount(rofuse, mountpoint)


def test_what_is_installed_alone_and_from_a_pipe(rofuse: Rofuse, mountpoint: Path) -> None:
    with open(DATA / "deb-xz.deb", "rb") as source:
        assert rofuse("-o", "subdir=data", "-", mountpoint, stdin=source).returncode == 0
    assert (mountpoint / "usr/share/noise").read_bytes() == noise(1, 5_001)
    assert (mountpoint / "usr/bin/first").stat().st_nlink == 3
    umount(rofuse, mountpoint)


def test_an_index_that_is_kept_is_of_what_was_chosen(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path = folder / "it.deb"
    path.write_bytes(package("deb-zstd.deb"))
    assert rofuse("index", "--index-here", path).returncode == 0
    for raw in (False, False, True):
        options = ["--raw"] if raw else []
        result = rofuse("-v", *options, path, mountpoint)
        assert ("another option" in result.stderr or "options" in result.stderr) == raw
        assert (mountpoint / "data").exists() != raw
        if not raw:
            assert (mountpoint / "data/usr/share/noise").read_bytes() == noise(1, 5_001)
        umount(rofuse, mountpoint)


def test_damage_within_is_an_error(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    whole = package("deb-none.deb")
    path = folder / "cut.deb"
    path.write_bytes(whole[: whole.index(noise(1, 5_001)) + 1_000])
    result = rofuse(path, mountpoint)
    assert result.returncode == 0 and "damaged: data.tar: " in result.stderr
    with pytest.raises(OSError) as raised:
        (mountpoint / "data/usr/share/noise").read_bytes()
    assert raised.value.errno == errno.EIO
    assert (mountpoint / "control/control").read_bytes().startswith(b"Package: ")
    umount(rofuse, mountpoint)
    assert rofuse("verify", path).returncode == 13
    assert rofuse("--strict", path, mountpoint).returncode == 13


def test_capabilities_of_files(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(DATA / "rpm-capabilities.rpm", mountpoint).stderr == ""
    noise_file = mountpoint / "usr/share/noise"
    assert os.listxattr(noise_file) == ["security.capability"]
    assert os.getxattr(noise_file, "security.capability") == bytes.fromhex(
        "01000002" + "00300000" + "00" * 12
    )
    assert os.listxattr(mountpoint / "usr/share/text") == []
    umount(rofuse, mountpoint)


def test_verify_names_the_files_that_were_altered(rofuse: Rofuse, folder: Path) -> None:
    path = folder / "altered.rpm"
    path.write_bytes(package("rpm-none.rpm").replace(noise(1, 5_001), noise(2, 5_001)))
    result = rofuse("verify", path)
    assert result.returncode == 13
    assert "usr/share/noise: it does not have the SHA-256 that the header says" in result.stdout
    assert "altered.rpm: the payload does not have the SHA-256 that the archive says" in result.stdout
    assert "13 entries checked" in result.stdout
    assert rofuse("verify", path, "usr/share/text").returncode == 0
    assert rofuse("verify", DATA / "rpm-none.rpm").returncode == 0
