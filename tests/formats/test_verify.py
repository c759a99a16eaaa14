"""Verifying what lies in the archive as it is."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

import rofuse_formats
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
