"""Threads that take turns at the descriptor, and what an archive says takes no time."""

from __future__ import annotations

import os
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats.streams import BLOCK
from rofuse_mount import wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.turns import in_turn
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import request

QUICK, SLOW = b"quick", b"slow"
WAIT = 20  # seconds; what should come sooner


def is_quick(request: memoryview) -> bool:
    return request == QUICK


def source(*requests: bytes) -> Iterator[memoryview]:
    return map(memoryview, requests)


def test_all_requests_come_and_the_turn_is_free_at_the_end() -> None:
    turn = threading.Lock()
    found = list(in_turn(source(QUICK, SLOW, SLOW, QUICK), turn, is_quick))
    assert found == [QUICK, SLOW, SLOW, QUICK]
    assert not turn.locked()


def test_the_turn_is_kept_over_what_is_quick_and_given_away_before_what_is_not() -> None:
    turn = threading.Lock()
    held = [turn.locked() for _ in in_turn(source(QUICK, QUICK, SLOW, QUICK), turn, is_quick)]
    assert held == [True, True, False, True]


def test_another_thread_reads_while_one_is_slow() -> None:
    turn, answered = threading.Lock(), threading.Event()
    ours = in_turn(source(SLOW, QUICK), turn, is_quick)
    assert next(ours) == SLOW

    def other() -> None:
        for _ in in_turn(source(QUICK), turn, is_quick):
            answered.set()

    thread = threading.Thread(target=other)
    thread.start()
    assert answered.wait(WAIT)  # although the slow one is not done yet
    thread.join()
    assert list(ours) == [QUICK]


def test_what_goes_wrong_at_the_descriptor_frees_the_turn() -> None:
    def broken() -> Iterator[memoryview]:
        yield memoryview(QUICK)
        raise OSError

    turn = threading.Lock()
    with pytest.raises(OSError):
        list(in_turn(broken(), turn, is_quick))
    assert not turn.locked()


# -- what an archive says


Reading = Callable[[str, int, int], bool]


def reading(path: Path) -> tuple[ArchiveFilesystem, Reading]:
    """An archive's filesystem, and whether it says of READs that they are quick."""
    archive = rofuse_formats.open(path, keep=False)
    filesystem = ArchiveFilesystem(archive)

    def says(name: str, offset: int, size: int) -> bool:
        body = wire.READ_IN.pack(0, offset, size, 0, 0, 0, 0)
        node = archive.image.resolve(name.encode())
        return filesystem.is_quick(memoryview(request(Opcode.READ, body, nodeid=node)))

    return filesystem, says


def test_all_but_reading_is_quick_and_so_is_nonsense(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("file", b"content")
    filesystem, says = reading(tmp_path / "a.zip")
    assert all(filesystem.is_quick(memoryview(request(opcode))) for opcode in wire.names(Opcode))
    for nodeid in (0, 1, 1 << 62, (1 << 64) - 1):
        body = wire.READ_IN.pack(0, (1 << 64) - 1, (1 << 32) - 1, 0, 0, 0, 0)
        assert filesystem.is_quick(memoryview(request(Opcode.READ, body, nodeid=nodeid)))
    assert says("file", 7, 4096)  # behind the end


def test_members_of_a_zip_archive(tmp_path: Path) -> None:
    noise = os.urandom(2 * BLOCK)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for name, content, method in (
            ("stored", noise, zipfile.ZIP_STORED),
            ("small", noise[: BLOCK // 2], zipfile.ZIP_DEFLATED),
            ("large", noise, zipfile.ZIP_DEFLATED),
        ):
            made.writestr(name, content, method)
    _filesystem, says = reading(tmp_path / "a.zip")
    assert says("stored", 0, BLOCK) and not says("stored", 0, BLOCK + 1)
    assert says("small", 0, 4096)
    assert not says("large", 0, 4096)


def test_files_of_a_compressed_tar_are_quick_when_they_were_decoded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4 * BLOCK))
    command = ["tar", "-czf", str(tmp_path / "a.tar.gz"), "-C", str(tmp_path), "file"]
    subprocess.run(command, check=True)
    filesystem, says = reading(tmp_path / "a.tar.gz")
    assert not says("file", BLOCK, 4096)
    node = filesystem.archive.image.resolve(b"file")
    filesystem.archive.read(node, BLOCK, 4096)
    assert says("file", BLOCK, 4096)
    assert not says("file", 3 * BLOCK, 4096)
