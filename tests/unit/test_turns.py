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
from rofuse_formats.errors import DamagedError
from rofuse_formats.streams import BLOCK
from rofuse_mount import wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.records import Context
from rofuse_mount.turns import in_turn
from rofuse_mount.wire import Opcode
from tests.formats.pack_support import packed
from tests.protocol.kernel import request

QUICK, SLOW = b"quick", b"slow"
CONTEXT = Context(0, 0, 0, 0)
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


def test_what_comes_afterwards_comes_when_the_slow_ones_are_answered_and_without_the_turn() -> None:
    turn, done = threading.Lock(), list[bytes | bool]()
    for answered in in_turn(
        source(QUICK, SLOW, QUICK, SLOW), turn, is_quick, lambda request: done.append(turn.locked())
    ):
        done.append(bytes(answered))
    assert done == [QUICK, SLOW, False, QUICK, SLOW, False]


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


def test_nothing_is_pushed_for_a_request_that_was_sent_before(tmp_path: Path) -> None:
    """It is answered alone, and a push could wait for another such."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(9):
            made.writestr(f"{number}", b"content")
    filesystem, _says = reading(tmp_path / "a.zip")
    filesystem.store_ahead(lambda node, data: True)

    def gives_up_its_turn(node: int, unique: int) -> bool:
        read = request(Opcode.READ, wire.READ_IN.pack(0, 0, 4096, 0, 0, 0, 0), nodeid=node, unique=unique)
        is_quick = filesystem.is_quick(memoryview(read))
        filesystem.read(CONTEXT, node, 0, 0, 4096)
        return not is_quick

    assert [gives_up_its_turn(node, wire.UNIQUE_RESEND | node) for node in (2, 3, 4)] == [False] * 3
    assert [gives_up_its_turn(node, node) for node in (6, 7)] == [False, True]


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


# -- what is done for a request before it comes


class Counted:
    """A zip archive of small files, looked up and read as a kernel does it; ``decoded``: what was decoded for each."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for number in range(9):
                made.writestr(f"{number}", f"{number}" * 1000)
            made.writestr("stored", b"as it is", zipfile.ZIP_STORED)
        self.archive = rofuse_formats.open(path, keep=False)
        self.filesystem = ArchiveFilesystem(self.archive)
        self.filesystem.prepare()  # which is the first file
        self.prepared: list[int] = []
        prepare = self.archive.contents.prepare

        def counted(node: int) -> None:
            self.prepared.append(node)
            prepare(node)

        monkeypatch.setattr(self.archive.contents, "prepare", counted)

    def look_up(self, name: str) -> int:
        self.filesystem.lookup(CONTEXT, 1, name.encode())
        self.filesystem.prepare()
        return self.archive.image.resolve(name.encode())

    def read(self, name: str) -> bytes:
        node = self.look_up(name)
        data = b"".join(self.filesystem.read(CONTEXT, node, 0, 0, 1 << 17))
        self.filesystem.prepare()
        return data


def test_who_reads_what_was_looked_up_finds_the_next_file_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Counted(tmp_path / "a.zip", monkeypatch)
    nodes = [mount.archive.image.resolve(f"{number}".encode()) for number in range(9)]
    assert [mount.read(f"{number}") for number in range(4)] == [f"{n}".encode() * 1000 for n in range(4)]
    assert mount.prepared == nodes[1:4]
    for number in range(4, 9):  # who only looks, has it done once
        mount.look_up(f"{number}")
    assert mount.prepared == nodes[1:5]


def test_what_is_read_already_is_not_prepared_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Counted(tmp_path / "a.zip", monkeypatch)
    mount.read("0")
    node = mount.archive.image.resolve(b"1")
    mount.filesystem.lookup(CONTEXT, 1, b"1")
    body = wire.READ_IN.pack(0, 0, 4096, 0, 0, 0, 0)
    mount.filesystem.is_quick(memoryview(request(Opcode.READ, body, nodeid=node)))
    mount.filesystem.prepare()
    assert mount.prepared == []


def test_what_was_prepared_is_given_out_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Counted(tmp_path / "a.zip", monkeypatch)
    contents, node = mount.archive.contents, mount.archive.image.resolve(b"5")
    contents.prepare(node)
    members = contents._members
    monkeypatch.setattr(contents, "_members", None)  # nothing can be decoded any more
    assert b"".join(contents.read(node, 0, 1 << 17)) == b"5" * 1000
    monkeypatch.setattr(contents, "_members", members)
    contents.prepare(node)
    assert b"".join(contents.read(node, 10, 20)) == b"5" * 20
    assert b"".join(contents.read(node, 0, 999)) == b"5" * 999


def test_what_lies_as_it_is_is_not_prepared_nor_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Counted(tmp_path / "a.zip", monkeypatch)
    contents, image = mount.archive.contents, mount.archive.image
    assert contents.soon(image.resolve(b"stored")) == []
    assert contents.soon(1) == []
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"\x03") + 40] ^= 0xFF
    broken = data.replace(b"PK\x03\x04", b"PX\x03\x04")
    (tmp_path / "b.zip").write_bytes(broken)
    with rofuse_formats.open(tmp_path / "b.zip", keep=False) as damaged:
        node = damaged.image.resolve(b"3")
        damaged.contents.prepare(node)
        assert damaged.contents.soon(node) == []
        with pytest.raises(DamagedError):
            damaged.read(node, 0, 1000)


def test_blocks_of_a_pack_are_prepared(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/small").write_bytes(b"small" * 100)
    (tmp_path / "tree/other").write_bytes(b"other" * 100)
    (tmp_path / "tree/noise").write_bytes(os.urandom(1 << 18))
    packed(tmp_path / "tree", tmp_path / "a.rpack")
    with rofuse_formats.open(tmp_path / "a.rpack", keep=False) as archive:
        small, other, noise = (archive.image.resolve(name) for name in (b"small", b"other", b"noise"))
        assert archive.contents.soon(noise) == []  # large
        assert b"".join(archive.contents.soon(small)) == b"small" * 100
        assert archive.contents.soon(other) == []  # in the same block, which is decoded now


@pytest.mark.parametrize("is_possible", [True, False])
def test_the_block_of_a_file_that_will_be_read_is_announced_when_its_name_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_possible: bool
) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("a", "b", "c", "d"):  # a block each
        (tmp_path / "tree" / name).write_bytes(name.encode() * 3000)
    packed(tmp_path / "tree", tmp_path / "a.rpack")
    announced: list[int] = []

    def announce(fd: int, at: int, size: int, advice: int) -> None:
        announced.append(at)
        if not is_possible:
            raise OSError("no advice")

    with rofuse_formats.open(tmp_path / "a.rpack", keep=False) as archive:
        filesystem = ArchiveFilesystem(archive)
        monkeypatch.setattr(os, "posix_fadvise", announce)

        def look_up(name: bytes) -> int:
            announced.clear()
            filesystem.lookup(CONTEXT, 1, name)
            return archive.image.resolve(name)

        def read(node: int) -> bytes:
            return b"".join(filesystem.read(CONTEXT, node, 0, 0, 1 << 17))

        assert read(look_up(b"c")) == b"c" * 3000
        first = look_up(b"a")
        assert len(announced) == 1
        assert read(first) == b"a" * 3000
        look_up(b"c")
        assert announced == []  # it is decoded
        look_up(b"b")
        assert announced == []  # who looked at one without reading it may not read the next
