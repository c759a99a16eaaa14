"""The command ``pack``, and packs through a real kernel: the tree that went in; and nothing left where it failed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.formats.directory_support import odd_tree
from tests.formats.pack_support import files, tar_of
from tests.mount.command import SECONDS, Rofuse, rofuse
from tests.trees import difference, snapshot, with_directory_links

__all__ = ["rofuse"]

TESTDATA = Path(__file__).parents[2] / "testdata"


def test_a_mounted_pack_is_its_source(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    tar, pack = tar_of(files(), folder / "it.tar"), folder / "it.rpack"
    result = rofuse("pack", "--verify", "--block-size", "4K", tar, pack)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{pack}: ")
    assert rofuse(tar, mountpoint).returncode == 0
    expected = snapshot(mountpoint)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse(pack, mountpoint).returncode == 0
    assert difference(expected, snapshot(mountpoint)) == []
    assert {name: (mountpoint / name).read_bytes() for name in files()} == files()
    assert rofuse.indexes() == []


@pytest.mark.parametrize("name", ["devices-posix", "hardlinks-posix", "xattrs-posix", "names-posix"])
def test_every_odd_thing_is_kept(rofuse: Rofuse, folder: Path, name: str) -> None:
    pack = folder / "it.rpack"
    assert rofuse("pack", TESTDATA / f"{name}.tar", pack).returncode == 0
    lines = [rofuse("dump", source).stdout.splitlines() for source in (TESTDATA / f"{name}.tar", pack)]
    told = [sorted(line for line in found if " =" not in line) for found in lines]
    fields = [[[f for f in line.split(" ") if not f.startswith("@")] for line in found] for found in told]
    assert len(lines[0]) == len(lines[1])
    if " =" not in "\n".join(lines[0]):
        assert fields[0] == fields[1]


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_a_directory_and_its_tar_give_one_pack_which_is_that_directory(
    rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    tree, tar = odd_tree(folder), folder / "it.tar"
    (tree / "sock").unlink()  # tar has no sockets
    options = [
        "-S",
        "--format=posix",
        "--pax-option=delete=atime,delete=ctime",
        "--xattrs",
        "--xattrs-include=*",
    ]
    subprocess.run(["tar", "-c", *options, "-f", tar, "-C", tree, "."], check=True)
    packs = [folder / "one.rpack", folder / "two.rpack", folder / "three.rpack"]
    for source, pack, jobs in zip((tree, tar, tree), packs, "213", strict=True):
        assert rofuse("pack", "--jobs", jobs, source, pack).stderr == ""
    assert len({pack.read_bytes() for pack in packs}) == 1
    assert rofuse(packs[0], mountpoint).returncode == 0
    assert difference(with_directory_links(snapshot(tree)), snapshot(mountpoint)) == []
    with (mountpoint / "sparse").open("rb") as file:
        assert os.pread(file.fileno(), 10, (1 << 20) - 5) == bytes(5) + b"xxxxx"
        assert os.pread(file.fileno(), 10, (1 << 32) - 5) == b"\0\0end"


def test_a_server_that_takes_over_reads_on(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    tar, pack = tar_of(files(), folder / "it.tar"), folder / "it.rpack"
    assert rofuse("pack", "--dictionary", "--block-size", "4K", tar, pack).returncode == 0
    assert rofuse(pack, mountpoint).returncode == 0
    assert (mountpoint / "many/001").read_bytes() == files()["many/001"]
    assert rofuse("takeover", mountpoint).returncode == 0
    assert (mountpoint / "copies/part").read_bytes() == files()["copies/part"]
    status = json.loads(rofuse("status", "--json", mountpoint).stdout)
    assert status["takeovers"] == 1


def test_damage_is_an_error_and_is_named(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    tar, pack = tar_of(files(), folder / "it.tar"), folder / "it.rpack"
    assert rofuse("pack", "--block-size", "4K", tar, pack).returncode == 0
    data = bytearray(pack.read_bytes())
    at = data.index(files()["noise"][:100])
    data[at + 50] ^= 4
    pack.write_bytes(data)
    assert rofuse(pack, mountpoint).returncode == 0
    with pytest.raises(OSError) as failed:
        (mountpoint / "noise").read_bytes()
    assert failed.value.errno == errno.EIO
    assert (mountpoint / "zeros").read_bytes() == files()["zeros"]
    result = rofuse("verify", pack)
    assert result.returncode == 13
    assert {line.split(":")[0] for line in result.stdout.splitlines()[:-1]} == {"copies/part", "noise"}


def test_usage(rofuse: Rofuse, folder: Path) -> None:
    tar, out = tar_of({"a": b"b"}, folder / "it.tar"), folder / "it.rpack"
    for options in (("--block-size", "5000"), ("--level", "99"), ("--jobs", "0")):
        assert rofuse("pack", *options, tar, out).returncode == 2
    assert rofuse("pack", tar, out, environment={"SOURCE_DATE_EPOCH": "today"}).returncode == 2
    assert rofuse("pack", folder / "missing.tar", out).returncode == 11
    assert rofuse("pack", tar, folder / "missing" / "it.rpack").returncode == 1
    assert not out.exists()
    assert rofuse("pack", tar, out).returncode == 0
    again = rofuse("pack", tar, out)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert rofuse("pack", "--force", "--exclude", "a", tar, out).returncode == 0
    assert rofuse("dump", out).stdout.count("\n") == 2


def test_what_is_damaged_makes_no_pack(rofuse: Rofuse, folder: Path) -> None:
    cut = folder / "cut.tar"
    cut.write_bytes(tar_of({"a": b"b", "c": b"d" * 9000}, folder / "it.tar").read_bytes()[:5000])
    before = set(folder.iterdir())
    result = rofuse("pack", cut, folder / "out.rpack")
    assert result.returncode == 13
    assert result.stderr.splitlines()[-1].startswith(f"rofuse-mount: {cut}: c cannot be read: ")
    assert set(folder.iterdir()) - before <= {rofuse.cache}


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True, timeout=SECONDS).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True, timeout=SECONDS)


def test_a_full_disk_leaves_nothing(rofuse: Rofuse, folder: Path, small_disk: Path) -> None:
    tar = tar_of({"noise": os.urandom(1 << 20)}, folder / "it.tar")
    result = rofuse("pack", tar, small_disk / "out.rpack")
    assert result.returncode == 1
    assert result.stderr == (
        f"rofuse-mount: {small_disk / 'out.rpack'}: No space left on device; no pack was made\n"
    )
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_interrupted_leaves_nothing(rofuse: Rofuse, folder: Path, number: signal.Signals) -> None:
    chance = os.urandom(1 << 16)
    tar = tar_of({f"{name}": os.urandom(1000) + chance * 8 for name in range(100)}, folder / "it.tar")
    out = folder / "out.rpack"
    process = rofuse.start("pack", "--level", "22", "--block-size", "1M", tar, out)
    try:
        _wait_for_threads(process.pid)
        process.send_signal(number)
        _out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, f"rofuse-mount: {out}: interrupted; no pack was made\n")
    assert [path for path in folder.iterdir() if path.name.startswith(("out", ".out"))] == []


def _wait_for_threads(pid: int) -> None:
    """Until a process has begun to compress."""
    deadline = time.monotonic() + SECONDS
    while len(os.listdir(f"/proc/{pid}/task")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
