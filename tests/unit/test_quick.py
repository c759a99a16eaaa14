"""What is indexed in the process that asks: little, and the same as in a process apart. And how little is imported."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rofuse_formats import ScanOptions, Settings, parts, quick
from rofuse_formats.errors import DamagedError
from rofuse_formats.indexing import write_index
from rofuse_mount.cli import _root, opening


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("index")
    yield fd
    os.close(fd)


def zipped(path: Path, members: int, size: int = 100) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(members):
            file.writestr(f"folder{number % 7}/{number:0100}.txt", bytes(size))
    return path


def tarred(path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]  # by the suffix, which it checks itself
        file.addfile(tarfile.TarInfo("name"), io.BytesIO())
    return path


def contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_index_is_the_same(kind: str, tmp_path: Path, memory: int) -> None:
    path = zipped(tmp_path / "a", 300) if kind == "zip" else tarred(tmp_path / "a", "w")
    assert quick.write_quick_index(parts.opened(path), memory, Settings())
    apart = os.memfd_create("apart")
    write_index(parts.opened(path), apart, Settings())
    assert contents(memory) == contents(apart) != b""
    os.close(apart)


def test_what_takes_more_is_given_up_and_nothing_is_left(tmp_path: Path, memory: int) -> None:
    path = zipped(tmp_path / "a.zip", 8000, 0)
    assert path.stat().st_size > quick.READ_AT_MOST
    assert not quick.write_quick_index(parts.opened(path), memory, Settings())
    assert contents(memory) == b""


def test_a_large_archive_of_few_members_is_indexed_at_once(tmp_path: Path, memory: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("large", bytes(4 * quick.READ_AT_MOST))
        file.writestr("small", b"")
    assert quick.write_quick_index(parts.opened(tmp_path / "a.zip"), memory, Settings())


def test_what_must_be_decoded_or_decrypted_is_left_alone(tmp_path: Path, memory: int) -> None:
    compressed = parts.opened(tarred(tmp_path / "a.tar.gz", "w:gz"))
    assert not quick.write_quick_index(compressed, memory, Settings())
    secret = Settings(ScanOptions(password=b"x"))
    assert not quick.write_quick_index(parts.opened(zipped(tmp_path / "b.zip", 1)), memory, secret)
    assert contents(memory) == b""


def test_what_is_wrong_is_raised_as_ever(tmp_path: Path, memory: int) -> None:
    path = zipped(tmp_path / "a.zip", 3)
    data = path.read_bytes()
    path.write_bytes(data[:-40])  # no directory: it is rebuilt, and that is damage
    with pytest.raises(DamagedError):
        quick.write_quick_index(parts.opened(path), memory, Settings(strict=True))


def test_who_looks_starts_no_process_and_who_serves_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def refuse(*arguments: object, draw: bool) -> NoReturn:
        raise RuntimeError("a process")

    monkeypatch.setattr(opening, "write_index", refuse)
    path = str(zipped(tmp_path / "a.zip", 3))
    _root.main(["ls", path], standalone_mode=False)
    assert capfdbinary.readouterr().out.split() == [b"folder0", b"folder1", b"folder2"]
    command = _root.get_command(_root.make_context("x", ["formats"]), "ls")
    assert command is not None
    options = dict.fromkeys(("source", "paths"), "") | command.make_context("ls", [path]).params
    with pytest.raises(RuntimeError, match="a process"):
        opening.open_source(path, options, serves=True)


def test_what_click_has_imported_in_vain_is_put_off() -> None:
    script = """
import sys
from rofuse_mount.cli import _root
_root.main(["--version"], standalone_mode=False)
assert not {"ast", "dis", "tokenize"} & sys.modules.keys()
_root.main(["cat", "--help"], standalone_mode=False)  # which unindents its text
import inspect
assert inspect.__spec__ and inspect.isfunction(lambda: 0)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Write the files" in done.stdout
