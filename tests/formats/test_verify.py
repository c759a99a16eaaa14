"""Verifying what lies in the archive as it is."""

from __future__ import annotations

import mmap
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats.copying import Copier
from rofuse_formats.verify import verify

SIZE = 3 << 20


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_is_cut_meanwhile_is_told_and_kills_nobody(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(SIZE))
    path = tmp_path / f"a.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "file", "file")
    else:
        with zipfile.ZipFile(path, "w") as made:
            made.write(tmp_path / "file", "file")
    with rofuse_formats.open(path, keep=False) as archive:
        assert [finding.error for finding in verify(archive)] == [""]
        os.truncate(path, SIZE // 2)
        (finding,) = verify(archive)
    assert "shorter" in finding.error
    assert finding.offset == 1 << 20


def test_a_copier_that_is_dropped_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        before = os.listdir("/proc/self/fd")
        copier = Copier()
        with memoryview(mapped) as view:
            assert bytes(copier.own(view)) == b"content"
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
        del copier
        assert len(os.listdir("/proc/self/fd")) == len(before)
