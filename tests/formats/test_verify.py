"""Verifying what lies in the archive as it is."""

from __future__ import annotations

import mmap
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Archive
from rofuse_formats.copying import Copier
from rofuse_formats.errors import DamagedError
from rofuse_formats.verify import verify

SIZE = 3 << 20
TESTDATA = Path(__file__).parents[2] / "testdata"


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


def test_what_is_put_together_here_is_copied_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link's target, and the list of a package's sums, of an archive that is cut just then."""
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    os.truncate(path, 0)
    with rofuse_formats.open(TESTDATA / "la-7z-links.7z", keep=False) as archive:
        link = next(
            node for node in range(1, archive.image.inode_count + 1) if _is_packed_link(archive, node)
        )
        monkeypatch.setattr(archive, "read", lambda node, offset, size: [memoryview(mapped)])
        with pytest.raises(DamagedError, match="shorter"):
            archive.target(link)
    with rofuse_formats.open(TESTDATA / "deb-none.deb", keep=False) as archive:
        monkeypatch.setattr(archive, "read", lambda node, offset, size: [memoryview(mapped)])
        first = next(verify(archive))
        assert (first.path, first.error.partition(":")[0]) == (b"", "its digests cannot be checked")


def _is_packed_link(archive: Archive, node: int) -> bool:
    return stat.S_ISLNK(archive.image.mode[node - 1]) and archive.image.is_packed(node)
