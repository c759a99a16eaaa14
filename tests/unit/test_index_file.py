"""The index file and its cache: what is written comes back, what was touched does not."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from rofuse_formats import Limits, Settings, cache, errors, index
from rofuse_formats.source import FileSource

META = {"a": [1, "x"]}


def written(folder: Path, seeks: list[bytes]) -> Path:
    path = folder / "index"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    size = index.write(fd, META, [b"image", bytearray(b"!")], seeks)
    assert os.fstat(fd).st_size == size
    os.close(fd)
    return path


def opened(path: Path) -> index.Index:
    fd = os.open(path, os.O_RDONLY)
    try:
        return index.Index(fd)
    finally:
        os.close(fd)


def test_sections_come_back(tmp_path: Path) -> None:
    found = opened(written(tmp_path, [b"one", b"", b"three"]))
    assert found.meta == META
    assert bytes(found.image) == b"image!"
    assert [bytes(seek) for seek in found.seeks] == [b"one", b"", b"three"]


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, [b"seek"])
    good, raw = opened(path), path.read_bytes()
    for at, byte in enumerate(raw):
        path.write_bytes(raw[:at] + bytes([byte ^ 1 << at % 8]) + raw[at + 1 :])
        try:
            found = opened(path)
        except errors.IndexDamagedError:
            continue
        assert (found.meta, found.image, found.seeks) == (good.meta, good.image, good.seeks)  # it was padding


@pytest.mark.parametrize("size", [0, 1, 15, 16, 40, 100])
def test_a_cut_index_is_refused(size: int, tmp_path: Path) -> None:
    path = written(tmp_path, [])
    os.truncate(path, size)
    with pytest.raises(errors.IndexDamagedError):
        opened(path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(400):
            tar.addfile(tarfile.TarInfo(str(number)))
    return path


def kept(archive: Path, **scan: bool) -> str:
    """What ``cache.load`` says of the archive's index beside it: nothing when it is good."""
    beside = cache.beside(str(archive))
    found = cache.load(beside, FileSource(archive), Settings().lasting() | scan, Limits().max_index)
    if isinstance(found, str):
        return found
    os.close(found[1])
    return ""


def keep(archive: Path) -> Path:
    from rofuse_formats.indexing import write_index

    path = Path(cache.beside(str(archive)))
    fd = os.memfd_create("index")
    write_index(FileSource(archive), fd, Settings())
    assert cache.store(fd, str(path)) == ""
    os.close(fd)
    return path


def test_what_a_killed_writer_of_the_same_number_left_is_not_in_the_way(archive: Path) -> None:
    """In containers that share a cache, every process has the number of some other."""
    Path(f"{cache.beside(str(archive))}.{os.getpid()}.tmp").touch()
    keep(archive)
    assert kept(archive) == ""


def test_fresh(archive: Path) -> None:
    assert kept(archive) == "there is none"
    keep(archive)
    assert kept(archive) == ""


@pytest.mark.parametrize("at", [0, 100_000, -1])
def test_stale_by_content_alone(at: int, archive: Path) -> None:
    keep(archive)
    status = archive.stat()
    with archive.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    sampled = at != 100_000 or status.st_size <= 1 << 17
    assert kept(archive) == ("the archive has changed" if sampled else "")


def test_stale_by_size_time_and_options(archive: Path) -> None:
    keep(archive)
    assert "options" in kept(archive, ignore_zeros=True)
    os.utime(archive)
    assert "changed" in kept(archive)


def test_not_trusted(archive: Path) -> None:
    path = keep(archive)
    path.chmod(0o664)
    assert "another user" in kept(archive)
    path.chmod(0o644)
    path.rename(archive.parent / "moved")
    path.symlink_to("moved")
    assert "cannot be opened" in kept(archive)


def test_a_cache_that_cannot_be_written_is_told_and_left_clean(archive: Path) -> None:
    fd = os.memfd_create("index")
    assert str(archive) in cache.store(fd, str(archive / "index"))
    (archive.parent / "taken").mkdir()
    assert cache.store(fd, str(archive.parent / "taken")) != ""
    assert sorted(path.name for path in archive.parent.iterdir()) == ["a.tar", "taken"]


def test_places(monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache.place(str(archive)).startswith("/c/rofuse-mount/a.tar-")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert cache.place(str(archive)).startswith("/h/.cache/rofuse-mount/a.tar-")
    assert cache.place(str(archive), here=True) == f"{archive}.rofuse"
