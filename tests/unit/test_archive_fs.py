"""The filesystem over an archive, through the engine and without a kernel."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable
from errno import EINVAL, EISDIR, ENODATA, ENOENT, ENOSYS, ENOTDIR, ENOTTY, ENXIO, ERANGE, EROFS
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_formats.errors import DamagedError
from rofuse_formats.image.reader import Image
from rofuse_mount import archive_fs, wire
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.encoding import FOREVER
from rofuse_mount.engine import Engine
from rofuse_mount.view import View
from rofuse_mount.wire import InitFlag, Opcode
from tests.protocol.kernel import Reply, ask, connect, read_body, request
from tests.tars import write_tar

DATA = Path(__file__).parents[2] / "testdata"
READ = wire.READ_IN.pack(0, 0, 4096, 0, 0, 0, 0)
ACL = "user::rw-,user:1234:r--,group::---,mask::rw-,other::---"

Make = Callable[..., Engine]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name=content or TarInfo fields, view=...)``: an engine that serves an archive of these files."""

    def archive(members: dict[str, dict[str, Any]], view: View | None = None) -> Engine:
        path = write_tar(tmp_path / "a.tar", members.items())
        return connect(ArchiveFilesystem(rofuse_formats.open(path, keep=False), view))

    return archive


TREE: dict[str, dict[str, Any]] = {
    "d": {"type": tarfile.DIRTYPE, "mode": 0o750},
    "d/deep/file": {"content": b"content"},
    "d/deep/other": {},
    "link": {"type": tarfile.SYMTYPE, "linkname": "d/deep"},
    "hard": {"type": tarfile.LNKTYPE, "linkname": "d/deep/file"},
}


def entry(payload: bytes) -> dict[str, int]:
    return dict(zip(wire.ENTRY_OUT.fields, wire.ENTRY_OUT.unpack(payload), strict=True))


def lookup(engine: Engine, parent: int, name: str) -> dict[str, int]:
    reply = ask(engine, Opcode.LOOKUP, name.encode() + b"\0", nodeid=parent)
    assert reply.errno == 0
    return entry(reply.payload)


def find(engine: Engine, path: str, top: int = 1) -> int:
    for name in path.split("/"):
        top = lookup(engine, top, name)["nodeid"]
        assert top
    return top


# --- names ----------------------------------------------------------------------------------


def test_dot_and_dotdot_of_every_inode(make: Make) -> None:
    engine = make(TREE)
    deep, d = find(engine, "d/deep"), find(engine, "d")
    for node in (1, d, deep, find(engine, "d/deep/file"), find(engine, "link")):
        here = lookup(engine, node, ".")
        assert here["nodeid"] == here["ino"] == node
    assert lookup(engine, 1, "..")["nodeid"] == 1
    assert lookup(engine, d, "..")["nodeid"] == 1
    assert lookup(engine, deep, "..")["nodeid"] == d
    assert lookup(engine, find(engine, "d/deep/other"), "..")["nodeid"] == deep


def test_dot_and_dotdot_of_what_is_not_there(make: Make) -> None:
    engine = make(TREE)
    for node in (0, 1000, 2**64 - 1):
        for name in (b".\0", b"..\0", b"d\0"):
            assert ask(engine, Opcode.LOOKUP, name, nodeid=node).errno == ENOENT
        assert ask(engine, Opcode.GETATTR, nodeid=node).errno == ENOENT


def test_a_subdirectory_as_the_root_is_its_own_parent(make: Make) -> None:
    engine = make(TREE, View(subdir=b"d"))
    root = lookup(engine, 1, ".")
    assert (root["nodeid"], root["mode"]) == (1, stat.S_IFDIR | 0o750)
    assert lookup(engine, 1, "..")["nodeid"] == 1
    assert lookup(engine, find(engine, "deep"), "..")["nodeid"] == 1
    numbers = {1, find(engine, "deep"), find(engine, "deep/file")}
    assert len(numbers) == 3


def test_what_is_not_there_is_remembered_for_ever(make: Make) -> None:
    found = lookup(make(TREE), 1, "missing")
    assert (found["nodeid"], found["entry_valid"]) == (0, FOREVER)


def test_only_a_directory_has_names(make: Make) -> None:
    engine = make(TREE)
    assert ask(engine, Opcode.LOOKUP, b"x\0", nodeid=find(engine, "hard")).errno == ENOTDIR
    assert ask(engine, Opcode.READDIRPLUS, nodeid=find(engine, "hard")).errno == ENOTDIR
    assert ask(engine, Opcode.READ, nodeid=find(engine, "d")).errno == EISDIR
    assert ask(engine, Opcode.READLINK, nodeid=find(engine, "d")).errno == EINVAL


def test_hard_links_share_an_inode(make: Make) -> None:
    engine = make(TREE)
    assert find(engine, "hard") == find(engine, "d/deep/file")
    assert lookup(engine, 1, "hard")["nlink"] == 2


# --- listings -------------------------------------------------------------------------------


def listing(payload: bytes) -> list[tuple[bytes, int, int]]:
    """Name, offset and nodeid of each record."""
    found, position = [], 0
    while position < len(payload):
        fields = dict(
            zip(wire.DIRENTPLUS.fields, wire.DIRENTPLUS.unpack_from(payload, position), strict=True)
        )
        begin = position + wire.DIRENTPLUS.size
        found.append((payload[begin : begin + fields["namelen"]], fields["off"], fields["nodeid"]))
        position = begin + wire.rec_align(fields["namelen"])
    return found


@pytest.mark.parametrize("size", [728, 1000, 4096, 1 << 20])
def test_a_listing_goes_on_where_it_stopped(make: Make, size: int) -> None:
    names = [f"{number:03}" + "x" * (number % 200) for number in range(120)]
    engine = make({name: {} for name in names})
    found: list[tuple[bytes, int, int]] = []
    while part := ask(engine, Opcode.READDIRPLUS, read_body(size, found[-1][1] if found else 0)).payload:
        assert len(part) <= size
        found += listing(part)
    assert [name for name, _, _ in found] == [b".", b"..", *(name.encode() for name in names)]
    assert len({offset for _, offset, _ in found}) == len(found)
    assert [node for _, _, node in found[:2]] == [0, 0]  # the kernel counts no lookup of these
    for at in (0, 1, 2, 57, 120):  # from any of its offsets
        rest = listing(ask(engine, Opcode.READDIRPLUS, read_body(1 << 20, found[at][1])).payload)
        assert rest == found[at + 1 :]


@pytest.mark.parametrize("size", [0, 1, 159, 160, 320, 700])
def test_too_little_room_for_a_listing_is_no_end_of_it(make: Make, size: int) -> None:
    for offset in (0, 1, 2, 3):
        reply = ask(make({"x" * 255: {}, "y": {}}), Opcode.READDIRPLUS, read_body(size, offset))
        assert reply.errno == EINVAL


@pytest.mark.parametrize("offset", [5, 100, 2**32, 2**63, 2**64 - 1])
def test_behind_the_end_there_is_nothing(make: Make, offset: int) -> None:
    reply = ask(make({"x": {}, "y": {}}), Opcode.READDIRPLUS, read_body(4096, offset))
    assert (reply.errno, reply.payload) == (0, b"")


# --- what an archive has not ----------------------------------------------------------------


def test_what_an_archive_has_not_is_asked_for_once(make: Make) -> None:
    engine = make(TREE)
    for opcode in (Opcode.GETXATTR, Opcode.LISTXATTR, Opcode.STATX, Opcode.OPEN, Opcode.OPENDIR):
        assert ask(engine, opcode).errno == ENOSYS
    for opcode in (Opcode.ACCESS, Opcode.FLUSH, Opcode.POLL, Opcode.BMAP):
        assert ask(engine, opcode).errno == ENOSYS
    assert ask(engine, Opcode.IOCTL).errno == ENOTTY
    assert ask(engine, Opcode.OPEN, wire.OPEN_IN.pack(1, 0)).errno == EROFS


def test_extended_attributes(make: Make) -> None:
    headers = {"SCHILY.xattr.user.b": "value", "SCHILY.xattr.user.a": ""}
    engine = make({"with": {"pax_headers": headers}, "without": {}})
    node, other = find(engine, "with"), find(engine, "without")

    def get(name: bytes, size: int, nodeid: int = node) -> Reply:
        return ask(engine, Opcode.GETXATTR, wire.GETXATTR_IN.pack(size, 0) + name + b"\0", nodeid=nodeid)

    assert get(b"user.b", 0) == (0, wire.GETXATTR_OUT.pack(5, 0))
    assert get(b"user.b", 5) == (0, b"value")
    assert get(b"user.b", 4) == (ERANGE, b"")
    assert get(b"user.a", 0) == (0, wire.GETXATTR_OUT.pack(0, 0))
    assert get(b"user.c", 100) == (ENODATA, b"")
    assert get(b"user.b", 0, other) == (ENODATA, b"")
    names = ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(100, 0), nodeid=node).payload
    assert names == b"user.a\0user.b\0"
    assert ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(13, 0), nodeid=node).errno == ERANGE
    assert ask(engine, Opcode.LISTXATTR, wire.GETXATTR_IN.pack(13, 0), nodeid=other).payload == b""


@pytest.mark.parametrize(
    ("view", "headers", "enforced"),
    [
        (View(permissions=True), {"SCHILY.acl.access": ACL}, True),
        (View(permissions=True), {"SCHILY.xattr.user.a": "b"}, False),
        (View(permissions=True), {}, False),
        (View(), {"SCHILY.acl.access": ACL}, False),  # who mounts alone reads everything
        (View(permissions=True, fmask=0o077), {"SCHILY.acl.access": ACL}, False),
        (View(permissions=True, dmask=0o077), {"SCHILY.acl.access": ACL}, False),
    ],
)
def test_the_kernel_is_to_go_by_access_control_lists_where_there_are_any(
    make: Make, view: View, headers: dict[str, str], enforced: bool
) -> None:
    engine = make({"file": {"pax_headers": headers}}, view)
    assert bool(engine.flags & InitFlag.POSIX_ACL) == enforced


# --- data -----------------------------------------------------------------------------------


def test_seeking_data_and_holes() -> None:
    engine = connect(ArchiveFilesystem(rofuse_formats.open(DATA / "sparse-pax-1.0.tar", keep=False)))
    filesystem = engine.filesystem
    assert isinstance(filesystem, ArchiveFilesystem)
    image = filesystem.archive.image
    sparse = 0
    for _path, node in image.walk():
        size = image.size[node - 1]
        if not stat.S_ISREG(image.mode[node - 1]) or not size:
            continue
        data = bytearray(size)  # 1 where there is data
        for extent in image.extents(node):
            data[extent.logical : extent.logical + extent.length] = b"\1" * extent.length
        sparse += 0 in data
        places = {0, size - 1, *(e.logical + d for e in image.extents(node) for d in (-1, 0, e.length))}
        for offset in sorted(place for place in places if 0 <= place < size):
            first_data = data.find(1, offset)
            first_hole = data.find(0, offset)
            assert seek(engine, node, offset, 3) == (first_data if first_data >= 0 else -ENXIO)
            assert seek(engine, node, offset, 4) == (first_hole if first_hole >= 0 else size)
        for whence in (3, 4):
            assert seek(engine, node, size, whence) == -ENXIO
            assert seek(engine, node, 2**63, whence) == -ENXIO
        assert seek(engine, node, 0, 0) == -EINVAL
    assert sparse


def seek(engine: Engine, node: int, offset: int, whence: int) -> int:
    reply = ask(engine, Opcode.LSEEK, wire.LSEEK_IN.pack(0, offset, whence, 0), nodeid=node)
    return -reply.errno if reply.errno else int(wire.LSEEK_OUT.unpack(reply.payload)[0])


def test_the_blocks_of_a_file_in_many_pieces_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is called: it may have a million pieces, and as many names."""
    runs = b"".join(b"%d\n600\n" % (number * 4096) for number in range(100))
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "409600"}
    many = {"content": (b"100\n" + runs).ljust(2048, b"\0") + bytes(60_000), "pax_headers": sparse}
    names: list[tuple[str, dict[str, Any]]] = [("many", many)]
    names += ((f"name{number}", {"type": tarfile.LNKTYPE, "linkname": "many"}) for number in range(9))
    path = write_tar(tmp_path / "a.tar", names)
    counted: list[int] = []
    piece_lengths = Image.piece_lengths

    def lengths(image: Image, node: int) -> memoryview:
        counted.append(node)
        return piece_lengths(image, node)

    monkeypatch.setattr(Image, "piece_lengths", lengths)
    with rofuse_formats.open(path, keep=False) as archive:
        engine = connect(ArchiveFilesystem(archive))
        found = [lookup(engine, 1, name) for name, _fields in names]
        assert {(entry["nodeid"], entry["nlink"], entry["blocks"]) for entry in found} == {(2, 10, 200)}
        assert counted == [2]


def test_times_of_birth(make: Make) -> None:
    headers = {"LIBARCHIVE.creationtime": "12.5"}
    engine = make({"born": {"pax_headers": headers, "mtime": 7}, "not": {}})
    born = ask(engine, Opcode.STATX, nodeid=find(engine, "born"))
    fields = dict(zip(wire.STATX_OUT.fields, wire.STATX_OUT.unpack(born.payload), strict=True))
    assert fields["mask"] & 0x800
    assert (fields["btime"], fields["btimensec"], fields["mtime"]) == (12, 500_000_000, 7)
    other = ask(engine, Opcode.STATX, nodeid=find(engine, "not"))
    fields = dict(zip(wire.STATX_OUT.fields, wire.STATX_OUT.unpack(other.payload), strict=True))
    assert not fields["mask"] & 0x800


def test_what_was_looked_at_is_let_go_and_had_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_fs, "_SELDOM", 3 * archive_fs._LOOKED_UP)
    monkeypatch.setattr(archive_fs, "_MOST_MAPPED", 1)
    monkeypatch.setattr(archive_fs, "_LEAST_LET_GO", -1 << 40)
    engine = make(TREE)
    assert isinstance(engine.filesystem, ArchiveFilesystem)
    archive = engine.filesystem.archive
    gone: list[bool] = []
    let_go = archive.let_go
    monkeypatch.setattr(archive, "let_go", lambda: gone.append(let_go() is None))
    known = find(engine, "d/deep/file")
    assert gone == []
    assert find(engine, "d/deep/file") == known
    assert gone == [True]


def test_what_is_pushed_and_read_counts_as_looked_at(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make({f"{number:03}": {"content": b"content"} for number in range(200)})
    filesystem = engine.filesystem
    assert isinstance(filesystem, ArchiveFilesystem)
    gone: list[bool] = []
    monkeypatch.setattr(filesystem.archive, "let_go", lambda: gone.append(True))
    filesystem.store_ahead(lambda nodeid, data: True)
    nodes = [filesystem.archive.image.resolve(f"{number:03}".encode()) for number in range(3)]
    monkeypatch.setattr(archive_fs, "_SELDOM", 6)
    monkeypatch.setattr(archive_fs, "_MOST_MAPPED", 1)
    monkeypatch.setattr(archive_fs, "_LEAST_LET_GO", -1 << 40)
    for node in nodes:
        filesystem.is_quick(memoryview(request(Opcode.READ, READ, nodeid=node)))
        assert ask(engine, Opcode.READ, READ, nodeid=node).payload == b"content"
    pushed = filesystem.figures()["pushed"]["files"]
    assert 3 < pushed < 9 and gone == [True]


@pytest.mark.parametrize("is_damaged", [True, False])
def test_nothing_is_pushed_behind_what_is_quick(
    make: Make, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    """The turn was not given up for it. So it is where a READ came to nothing, or was not of all of a file, for which
    it was given up."""
    engine = make({f"{number:03}": {"content": bytes(9000)} for number in range(200)})
    filesystem = engine.filesystem
    assert isinstance(filesystem, ArchiveFilesystem)
    is_quick, quietly = False, list[bool]()

    def store(nodeid: int, data: list[memoryview]) -> bool:
        quietly.append(is_quick)
        return True

    filesystem.store_ahead(store)

    def read(name: str, offset: int = 0) -> Reply:
        nonlocal is_quick
        node = archive.image.resolve(name.encode())
        body = wire.READ_IN.pack(0, offset, 16384, 0, 0, 0, 0)
        is_quick = filesystem.is_quick(memoryview(request(Opcode.READ, body, nodeid=node)))
        return ask(engine, Opcode.READ, body, nodeid=node)

    def fail(node: int, offset: int, size: int) -> list[memoryview]:
        raise DamagedError("damaged")

    archive = filesystem.archive
    read("000")
    read("001")
    assert quietly == [False] * 4
    with monkeypatch.context() as patch:
        if is_damaged:
            patch.setattr(archive.contents, "read", fail)
        read("007", 0 if is_damaged else 4096)  # which is planned to be stored behind 006
    quietly.clear()
    read("007")
    assert True not in quietly


def test_what_others_have_mapped_does_not_count_against_the_index(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be let go again and again, and be no less."""
    monkeypatch.setattr(archive_fs, "_SELDOM", archive_fs._LOOKED_UP)
    engine = make(TREE)
    assert isinstance(engine.filesystem, ArchiveFilesystem)
    archive = engine.filesystem.archive
    others, index = archive_fs._MOST_MAPPED, [0]
    gone: list[int] = []

    def let_go() -> None:
        gone.append(index[0])
        index[0] = 0

    monkeypatch.setattr(archive_fs, "mapped_memory", lambda: others + index[0])
    monkeypatch.setattr(archive, "let_go", let_go)
    for _ in range(40):
        find(engine, "d/deep/file")
        index[0] += 1 << 20
    assert gone == [0, 16 << 20, 16 << 20]
