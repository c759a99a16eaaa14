"""Archives behind the kernel's rarer questions: seekdir, file handles, overlays, attributes, holes, many at once."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rofuse_formats
from rofuse_mount.archive_fs import ArchiveFilesystem
from tests.mount.command import SECONDS as COMMAND_SECONDS
from tests.mount.command import Rofuse, becomes, rofuse
from tests.mount.conftest import NOBODY, Serve, shell
from tests.mount.probes import ask, collect, start

__all__ = ["rofuse"]

DATA = Path(__file__).parents[2] / "testdata"
SOAK_SECONDS = float(os.environ.get("ROFUSE_SOAK_SECONDS", "5"))

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive_of(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


class Logged:
    """A mounted archive and what the wire log says of it."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def records(self, *ops: str) -> list[dict[str, Any]]:
        found = [json.loads(line[line.index("{") :]) for line in self.log.read_text().splitlines()]
        return [record for record in found if record["op"] in ops]

    def count(self) -> Counter[str]:
        lines = self.log.read_text().splitlines()
        return Counter(json.loads(line[line.index("{") :])["op"] for line in lines)


Watch = Callable[..., Logged]


@pytest.fixture
def watch(rofuse: Rofuse, mountpoint: Path) -> Iterator[Watch]:
    """``watch(archive, *options)``: mounts it at ``mountpoint`` with the wire log as JSON."""
    running: list[subprocess.Popen[str]] = []

    def mount(archive: Path, *options: str) -> Logged:
        log = rofuse.folder / f"wire-{len(running)}.log"
        running.append(rofuse.start("--debug=json", "--log-file", log, *options, archive, mountpoint))
        assert becomes(lambda: bool(rofuse.mounts()) or running[-1].poll() is not None)
        assert running[-1].poll() is None, running[-1].communicate()
        assert shell("stat", mountpoint).returncode == 0  # INIT was answered
        return Logged(log)

    yield mount
    rofuse.close()
    for process in running:
        process.communicate(timeout=COMMAND_SECONDS)


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def umount(path: Path) -> None:
    result = shell("umount", path)
    assert result.returncode == 0, result.stderr


# --- directories ----------------------------------------------------------------------------


def test_every_position_of_a_large_directory_can_be_gone_back_to(
    root: None, rofuse: Rofuse, mountpoint: Path
) -> None:
    count = 20_000
    names = [f"{number * 7919 % count:05}" + "x" * (number % 40) for number in range(count)]
    archive = archive_of(rofuse.folder / "many.tar", *(member(f"d/{name}") for name in names))
    assert rofuse("-q", archive, mountpoint).returncode == 0
    found = ask("seeks", mountpoint / "d", 100, 5)
    assert found["names"] == [".", "..", *names]  # in archive order
    assert found["offsets"] == count + 2  # no d_off twice
    assert found["seeks"] == 201
    assert found["wrong"] == []


def test_directories_are_listed_from_the_cache_the_second_time(watch: Watch, mountpoint: Path) -> None:
    mounted = watch(DATA / "sample.tar.zst")
    tree = shell("ls", "-lR", mountpoint).stdout
    before = mounted.count()
    assert before["READDIRPLUS"] and before["READDIR"] == 0
    assert shell("ls", "-lR", mountpoint).stdout == tree
    assert mounted.count() == before


# --- file handles and other mounts ----------------------------------------------------------


def test_file_handles_outlive_the_kernels_cache(root: None, watch: Watch, mountpoint: Path) -> None:
    mounted = watch(
        archive_of(
            mountpoint.parent / "a.tar",
            member("d", kind=tarfile.DIRTYPE),
            member("d/deep/file", b"content"),
            member("other", b"else"),
        )
    )
    paths = ["d/deep/file", "d/deep", "d", "other"]
    inodes = {path: int(shell("stat", "-c", "%i", mountpoint / path).stdout) for path in paths}
    found = ask("handles", mountpoint, *paths)
    assert {path: found[path]["ino"] for path in paths} == inodes
    assert [found[path]["content"] for path in paths] == ["content", ["file"], ["deep"], "else"]
    asked = {record["request"]["name"] for record in mounted.records("LOOKUP")}
    assert {".", ".."} <= asked
    assert mounted.records("FORGET", "BATCH_FORGET")


def test_an_overlay_lies_over_a_mount(root: None, rofuse: Rofuse, mountpoint: Path, folder: Path) -> None:
    if b"overlay" not in Path("/proc/filesystems").read_bytes():
        pytest.skip("this kernel has no overlayfs")
    archive = archive_of(
        folder / "a.tar",
        member("kept", b"as it was\n"),
        member("d/changed", b"before\n", pax_headers={"SCHILY.xattr.user.note": "kept"}),
        member("d/gone", b"x"),
        member("d/whole", b"y"),
    )
    assert rofuse("-q", archive, mountpoint).returncode == 0
    layers, merged = folder / "layers", folder / "merged"
    layers.mkdir()
    merged.mkdir()
    assert shell("mount", "-t", "tmpfs", "none", layers).returncode == 0
    try:
        (layers / "upper").mkdir()
        (layers / "work").mkdir()
        options = f"lowerdir={mountpoint},upperdir={layers}/upper,workdir={layers}/work"
        result = shell("mount", "-t", "overlay", "none", "-o", options, merged)
        assert result.returncode == 0, result.stderr
        try:
            assert shell("cat", merged / "kept", merged / "d/changed").stdout == "as it was\nbefore\n"
            assert shell("sh", "-c", "echo after >> d/changed && rm d/gone", cwd=merged).returncode == 0
            assert shell("cat", merged / "d/changed").stdout == "before\nafter\n"
            assert shell("ls", merged / "d").stdout == "changed\nwhole\n"
            assert shell("stat", "-c", "%F", layers / "upper/d/gone").stdout == "character special file\n"
            assert shell("cat", layers / "upper/d/changed").stdout == "before\nafter\n"
        finally:
            umount(merged)
    finally:
        umount(layers)
    assert shell("cat", mountpoint / "d/changed").stdout == "before\n"


def test_a_bind_mount_shows_the_same(root: None, rofuse: Rofuse, mountpoint: Path, folder: Path) -> None:
    assert rofuse("-q", DATA / "sample.tar.zst", mountpoint).returncode == 0
    bound = folder / "bound"
    bound.mkdir()
    assert shell("mount", "--bind", mountpoint, bound).returncode == 0
    try:
        assert shell("diff", "-r", "--no-dereference", mountpoint, bound).stdout == ""
        names = shell("find", mountpoint, "-printf", "%s %m %P\\n").stdout
        umount(mountpoint)
        assert shell("find", bound, "-printf", "%s %m %P\\n").stdout == names  # it is served on
    finally:
        umount(bound)


# --- many at once ---------------------------------------------------------------------------


def test_four_processes_read_different_parts_at_once(rofuse: Rofuse, mountpoint: Path, folder: Path) -> None:
    needs("zstd")
    chance, original = random.Random(7), folder / "original"
    for number in range(300):
        path = original / f"d{number % 17}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [b"%d line of file %d\n" % (chance.randrange(10**6), number) for _ in range(50)]
        path.write_bytes(b"".join(chance.choices(words, k=chance.choice((0, 1, 30, 1000, 20_000)))))
        os.utime(path, ns=(0, 10**18 + number))
    archive = folder / "a.tar.zst"
    made = shell("tar", "--format=posix", "--zstd", "-cf", archive, "-C", original, ".")
    assert made.returncode == 0, made.stderr
    assert rofuse("-q", archive, mountpoint).returncode == 0
    readers = [start("compare", original, mountpoint, seed, SOAK_SECONDS) for seed in range(4)]
    results = [collect(reader, SOAK_SECONDS + COMMAND_SECONDS) for reader in readers]
    print("files compared:", [result["done"] for result in results])
    assert [result["wrong"] for result in results] == [[]] * 4
    assert all(result["done"] for result in results)


# --- extended attributes --------------------------------------------------------------------


def test_extended_attributes(watch: Watch, mountpoint: Path, folder: Path) -> None:
    needs("getfattr")
    headers = {"SCHILY.xattr.user.note": "value", "SCHILY.xattr.user.empty": ""}
    watch(archive_of(folder / "a.tar", member("with", pax_headers=headers), member("without")))
    file = mountpoint / "with"
    assert ask("getxattr", file, "user.note", 0) == 5
    assert ask("getxattr", file, "user.note", 5) == 5
    assert ask("getxattr", file, "user.note", 100) == 5
    assert ask("getxattr", file, "user.note", 4) == "ERANGE"
    assert ask("getxattr", file, "user.none", 100) == "ENODATA"
    assert ask("getxattr", mountpoint / "without", "user.note", 0) == "ENODATA"
    names = len(b"user.empty\0user.note\0")
    assert ask("listxattr", file, 0) == names
    assert ask("listxattr", file, names) == names
    assert ask("listxattr", file, names - 1) == "ERANGE"
    assert ask("listxattr", mountpoint / "without", 100) == 0
    shown = shell("getfattr", "-d", "-m", "-", "--absolute-names", file).stdout.splitlines()
    assert shown[1:3] == ['user.empty=""', 'user.note="value"']


def test_where_an_archive_has_no_attributes_they_are_asked_for_once(
    watch: Watch, mountpoint: Path, folder: Path
) -> None:
    needs("getfattr", "getfacl")
    mounted = watch(archive_of(folder / "a.tar", *(member(f"f{number}", b"x") for number in range(10))))
    for _ in range(3):
        shell("getfattr", "-d", "-m", "-", "-R", mountpoint)
        shell("getfacl", "-R", mountpoint)
        shell("ls", "-la", mountpoint)
        shell("sh", "-c", "cat *", cwd=mountpoint)
    asked = mounted.records("GETXATTR", "LISTXATTR")
    assert max(Counter(record["op"] for record in asked).values()) == 1
    assert {record["error"] for record in asked} == {"ENOSYS"}
    count = mounted.count()
    assert max(count[op] for op in ("OPEN", "OPENDIR", "ACCESS", "FLUSH", "STATX", "LSEEK")) <= 1
    assert count["GETATTR"] == 1  # of the root; all else comes with names
    assert count["RELEASE"] == count["RELEASEDIR"] == 0


# --- access control lists -------------------------------------------------------------------

OWNER, GROUP = 4001, 4002
ACL = "user::rw-,user:65534:r--,group::---,mask::rw-,other::---"


@pytest.fixture
def listed(folder: Path) -> Path:
    """An archive whose file all but its access control list would let the wrong people read."""
    return archive_of(
        folder / "acl.tar",
        member("d", kind=tarfile.DIRTYPE, pax_headers={"SCHILY.acl.default": ACL}),
        member(
            "file",
            b"secret\n",
            mode=0o660,
            uid=OWNER,
            gid=GROUP,
            pax_headers={"SCHILY.acl.access": ACL},
        ),
        member("plain", b"open\n", mode=0o640, uid=OWNER, gid=GROUP),
    )


def test_access_control_lists_are_shown(rofuse: Rofuse, listed: Path, mountpoint: Path) -> None:
    needs("getfacl")
    assert rofuse("-q", listed, mountpoint).returncode == 0
    shown = shell("getfacl", "-c", "-n", "file", "d", cwd=mountpoint).stdout.split("\n\n")
    assert shown[0].splitlines() == ACL.split(",")
    assert [line for line in shown[1].splitlines() if line.startswith("default:")] == [
        f"default:{entry}" for entry in ACL.split(",")
    ]
    plain = shell("getfacl", "-c", "-n", "plain", cwd=mountpoint).stdout.split()
    assert plain == ["user::rw-", "group::r--", "other::---"]


def readable(path: Path, uid: int, gid: int | None = None) -> bool:
    result = subprocess.run(
        ["cat", path], check=False, capture_output=True, user=uid, group=uid if gid is None else gid,
        extra_groups=[], cwd="/", timeout=30,
    )  # fmt: skip
    return result.returncode == 0


def test_where_permissions_are_checked_the_list_decides(
    root: None, rofuse: Rofuse, listed: Path, mountpoint: Path
) -> None:
    assert rofuse("-q", "-o", "allow_other", listed, mountpoint).returncode == 0
    file, plain = mountpoint / "file", mountpoint / "plain"
    assert readable(file, OWNER) and readable(plain, OWNER)
    assert readable(file, NOBODY)  # named
    assert not readable(file, 5000, GROUP)  # the mode's group bits are the mask
    assert readable(plain, 5000, GROUP)
    assert not readable(file, 5000) and not readable(plain, 5000)


def test_a_umask_is_stronger_than_a_list(root: None, rofuse: Rofuse, listed: Path, mountpoint: Path) -> None:
    assert rofuse("-q", "-o", "allow_other,fmask=077", listed, mountpoint).returncode == 0
    assert readable(mountpoint / "file", OWNER)
    assert not readable(mountpoint / "file", NOBODY)


def test_a_user_alone_reads_everything(serve: Serve, listed: Path, mountpoint: Path, user: int) -> None:
    os.chown(mountpoint, user, user)
    served = serve(ArchiveFilesystem(rofuse_formats.open(listed, keep=False)), uid=user)
    assert served.ready, served.report
    read = shell("cat", mountpoint / "file", mountpoint / "plain", uid=user)
    assert read.stdout == "secret\nopen\n"


# --- holes, times, devices ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sparse-pax-1.0.tar", "sparse-oldgnu.tar.zst"])
def test_holes_are_found_and_copied_as_holes(
    name: str, rofuse: Rofuse, mountpoint: Path, folder: Path
) -> None:
    assert rofuse("-q", DATA / name, mountpoint).returncode == 0
    files = shell("find", mountpoint, "-type", "f", "-size", "+0").stdout.split()
    holes = 0
    for path in files:
        size = int(shell("stat", "-c", "%s", path).stdout)
        runs = ask("runs", path)
        covered = sum(stop - begin for begin, stop in runs)
        holes += covered < size
        assert all(0 <= begin < stop <= size for begin, stop in runs)
        assert runs == sorted(runs)
        assert ask("beyond", path) == ["ENXIO", "ENXIO"]
        copy = folder / "copy"
        assert shell("cp", "--sparse=auto", path, copy).returncode == 0
        assert shell("cmp", path, copy).returncode == 0
        assert copy.stat().st_blocks * 512 <= covered + 4096 * (len(runs) + 1)
    assert holes


def test_times_of_birth_where_they_are_known(watch: Watch, mountpoint: Path, folder: Path) -> None:
    born = {"LIBARCHIVE.creationtime": "1234567890.123456789"}
    watch(archive_of(folder / "a.tar", member("born", pax_headers=born, mtime=5), member("not")))
    assert (
        shell("stat", "-c", "%.9W %.9Y", mountpoint / "born").stdout == "1234567890.123456789 5.000000000\n"
    )
    assert shell("stat", "-c", "%W", mountpoint / "not").stdout == "0\n"


def test_device_nodes_and_the_rest(rofuse: Rofuse, mountpoint: Path) -> None:
    members = [
        member("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("disk", kind=tarfile.BLKTYPE, devmajor=259, devminor=70_000),
        member("pipe", kind=tarfile.FIFOTYPE),
    ]
    assert rofuse("-q", archive_of(rofuse.folder / "a.tar", *members), mountpoint).returncode == 0
    found = shell("stat", "-c", "%F %Hr:%Lr", *(mountpoint / info.name for info, _ in members)).stdout
    assert found.splitlines() == ["character special file 1:3", "block special file 259:70000", "fifo 0:0"]
    assert ask("opening", mountpoint / "null", os.O_RDONLY) == "EACCES"  # nodev


def test_no_file_knows_an_ioctl(watch: Watch, mountpoint: Path, folder: Path) -> None:
    mounted = watch(archive_of(folder / "a.tar", member("file", b"x"), member("d", kind=tarfile.DIRTYPE)))
    assert ask("ioctl", mountpoint / "file", 0x5401) == "ENOTTY"
    assert ask("ioctl", mountpoint / "d", 0x80086601) == "ENOTTY"
    assert {record["error"] for record in mounted.records("IOCTL")} == {"ENOTTY"}
