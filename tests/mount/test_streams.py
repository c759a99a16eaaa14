"""Compressed streams through real mounts: the spool and the cache, standard input, a file as mountpoint, damage."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.formats.lzip_support import member
from tests.mount.command import Rofuse, failed, rofuse
from tests.mount.conftest import shell
from tests.trees import difference, read_expected, snapshot

__all__ = ["rofuse"]

DATA = Path(__file__).parents[2] / "testdata"
SAMPLE = DATA / "sample.tar.zst"
SIZES = [5_000_000, 1, 3_000_000, 0, 4_000_000]


def contents() -> list[bytes]:
    """Bytes that compress a little."""
    chance = random.Random(8)
    return [chance.randbytes(size).translate(bytes(range(128)) * 2) for size in SIZES]


@pytest.fixture
def unseekable(rofuse: Rofuse) -> Path:
    """A tar in one zstd frame with a window of 128 MiB: no seek point can be made inside it."""
    tar = BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for number, data in enumerate(contents()):
            member = tarfile.TarInfo(f"file{number}")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    path = rofuse.folder / "long.tar.zst"
    with path.open("wb") as out:
        subprocess.run(["zstd", "-q", "-1", "--long=27", "-c"], input=tar.getvalue(), stdout=out, check=True)
    return path


def sums(mountpoint: Path) -> list[str]:
    names = [str(mountpoint / f"file{number}") for number in range(len(SIZES))]
    return [line.split()[0] for line in shell("sha256sum", *reversed(names)).stdout.splitlines()][::-1]


EXPECTED = [hashlib.sha256(data).hexdigest() for data in contents()]


def spools(rofuse: Rofuse) -> list[dict[str, object]]:
    lines = rofuse("cache", "--json").stdout.splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "spool"]


def test_a_spool_is_made_used_again_kept_while_in_use_and_cleared(
    unseekable: Path, rofuse: Rofuse, mountpoint: Path
) -> None:
    assert rofuse("index", "-q", unseekable).returncode == 0
    (spool,) = spools(rofuse)
    assert spool["source"] == str(unseekable)
    assert list(spool) == ["path", "kind", "source", "size", "last_used"]
    second = rofuse("-v", unseekable, mountpoint)
    assert "indexed" not in second.stderr and "spool" in second.stderr
    assert sums(mountpoint) == EXPECTED

    cleared = rofuse("cache", "clear")
    assert "in use by a mount" in cleared.stderr
    assert len(spools(rofuse)) == 1
    assert sums(mountpoint) == EXPECTED
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert "freed" in rofuse("cache", "clear").stdout
    assert rofuse.indexes() == []


def test_clearing_one_source_leaves_the_others(unseekable: Path, rofuse: Rofuse) -> None:
    other = rofuse.folder / "other.tar.zst"
    shutil.copy(unseekable, other)
    for path in (unseekable, other):
        assert rofuse("index", "-q", path).returncode == 0
    assert rofuse("cache", "clear", "--spools", unseekable).returncode == 0
    assert [spool["source"] for spool in spools(rofuse)] == [str(other)]
    assert len(rofuse.indexes()) == 3


def test_an_index_whose_spool_is_gone_or_damaged_is_made_again(
    unseekable: Path, rofuse: Rofuse, mountpoint: Path
) -> None:
    for trouble in ("gone", "cut", "writable by all"):
        assert rofuse("index", "-q", "--force", unseekable).returncode == 0
        (spool,) = spools(rofuse)
        path = Path(str(spool["path"]))
        if trouble == "gone":
            path.unlink()
        elif trouble == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.chmod(0o666)
        assert "its spool cannot be used" in rofuse("-v", unseekable, mountpoint).stderr
        assert sums(mountpoint) == EXPECTED
        assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_server_that_is_killed_leaves_the_spool_to_the_next(
    unseekable: Path, rofuse: Rofuse, mountpoint: Path
) -> None:
    assert rofuse("-q", "--no-index", unseekable, mountpoint).returncode == 0  # the spool has no name at all
    assert rofuse.indexes() == []
    for _round in range(3):
        (line,) = rofuse("status", "--json", mountpoint).stdout.splitlines()
        os.kill(json.loads(line)["server_pid"], signal.SIGKILL)
        shell("sh", "-c", "echo 1 > /proc/sys/vm/drop_caches")
        assert sums(mountpoint) == EXPECTED
    assert rofuse("takeover", mountpoint).returncode == 0
    shell("sh", "-c", "echo 1 > /proc/sys/vm/drop_caches")
    assert sums(mountpoint) == EXPECTED


def test_without_room_it_is_refused_and_without_a_spool_it_is_slow(
    unseekable: Path, rofuse: Rofuse, mountpoint: Path
) -> None:
    message = failed(rofuse("--spool-limit", "1M", unseekable, mountpoint), 1)
    assert "1 MiB that spools may take" in message and "--no-spool" in message
    assert rofuse.mounts() == [] and rofuse.indexes() == []
    slow = rofuse("--no-spool", unseekable, mountpoint)
    assert "slowly" in slow.stderr
    assert sums(mountpoint) == EXPECTED


def test_standard_input_by_pipe_and_as_a_file(unseekable: Path, rofuse: Rofuse, mountpoint: Path) -> None:
    with subprocess.Popen(["cat", unseekable], stdout=subprocess.PIPE) as cat:
        assert rofuse("-q", "-", mountpoint, stdin=cat.stdout or 0).returncode == 0
    (entry,) = rofuse.mounts()
    assert entry.source == b"-"
    assert sums(mountpoint) == EXPECTED
    assert rofuse("takeover", mountpoint).returncode == 0
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    with unseekable.open("rb") as file:
        assert rofuse("-q", "-", mountpoint, stdin=file).returncode == 0
    assert sums(mountpoint) == EXPECTED
    assert rofuse.indexes() == []


def test_standard_input_that_is_nothing(rofuse: Rofuse, mountpoint: Path) -> None:
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as nothing:
        failed(rofuse("-", mountpoint, stdin=nothing.stdout or 0), 12)


def test_a_file_on_a_file(rofuse: Rofuse, folder: Path) -> None:
    data = contents()[2]
    (folder / "disk.img").write_bytes(data)
    shell("zstd", "-q", "--rm", folder / "disk.img")
    target = folder / "target"
    target.write_text("what was there")
    assert rofuse(folder / "disk.img.zst", target).returncode == 0
    assert shell("stat", "-c", "%F %s", target).stdout.split() == ["regular", "file", str(len(data))]
    assert shell("sha256sum", target).stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert rofuse("umount", "--wait", target).returncode == 0
    assert target.read_text() == "what was there"

    assert rofuse("-o", "subdir=orchard/README", SAMPLE, target).returncode == 0
    assert "orchard" in shell("cat", target).stdout
    assert rofuse("umount", "--wait", target).returncode == 0
    assert "choose a directory" in failed(rofuse(SAMPLE, target), 10)
    assert "no file of the archive" in failed(rofuse("-o", "subdir=orchard", SAMPLE, target), 10)


def test_a_lone_file_is_called_as_its_source(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    (folder / "report.txt").write_text("all is well\n")
    for name in ("report.txt.zst", "backup.tzst", "plain"):
        shell("zstd", "-q", "-f", folder / "report.txt", "-o", folder / name)
        assert rofuse("-q", folder / name, mountpoint).returncode == 0
        called = {"report.txt.zst": "report.txt", "backup.tzst": "backup.tar"}.get(name, name)
        assert shell("ls", mountpoint).stdout.split() == [called]
        assert rofuse("umount", "--wait", mountpoint).returncode == 0


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(rofuse: Rofuse) -> Path:
    """Three frames, and the checksum of the second is another."""
    parts = []
    for number, data in enumerate(contents()[::2]):
        tar = BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for name in ("a", "b"):
                member = tarfile.TarInfo(f"{name}{number}")
                member.size = len(data) // 2
                archive.addfile(member, BytesIO(data[: member.size]))
        blocks = tar.getvalue()[: -(-tar.tell() // 512) * 512]
        end = blocks.rstrip(b"\0")
        blocks = blocks[: -(-len(end) // 512) * 512] + (bytes(1024) if number == 2 else b"")
        parts.append(
            subprocess.run(
                ["zstd", "-q", "-c", f"--stream-size={len(blocks)}"],
                input=blocks,
                capture_output=True,
                check=True,
            ).stdout
        )
    middle = bytearray(parts[1])
    middle[-1] ^= 1
    path = rofuse.folder / "spoilt.tar.zst"
    path.write_bytes(parts[0] + middle + parts[2])
    return path


def test_what_failed_its_check_is_an_error_and_the_rest_is_read(
    spoilt: Path, rofuse: Rofuse, mountpoint: Path
) -> None:
    told = rofuse(spoilt, mountpoint).stderr
    assert "damaged: " in told and "are read as errors" in told
    data = contents()[::2]
    for number in (0, 2):
        for name in ("a", "b"):
            found = shell("sha256sum", mountpoint / f"{name}{number}").stdout.split()[0]
            assert found == hashlib.sha256(data[number][: len(data[number]) // 2]).hexdigest()
    assert "Input/output error" in shell("cat", mountpoint / "a1").stderr
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse("-q", "--salvage", spoilt, mountpoint).returncode == 0
    found = shell("sha256sum", mountpoint / "a1").stdout.split()[0]
    assert found == hashlib.sha256(data[1][: len(data[1]) // 2]).hexdigest()


def test_verify_lists_all_damage(spoilt: Path, unseekable: Path, rofuse: Rofuse) -> None:
    found = rofuse("verify", "--json", spoilt)
    assert found.returncode == 13
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    summary = lines.pop()["summary"]
    bad = [line for line in lines if not line["ok"]]
    assert {line["path"] for line in bad} == {"", "a1", "b1"}
    assert summary == {"checked": len(lines) - 1, "damaged": len(bad), "bytes": summary["bytes"]}
    assert {line["path"] for line in lines if line["ok"]} >= {"a0", "b0", "a2", "b2"}
    assert rofuse("verify", "--json", spoilt, "a0", "/b2/").returncode == 0

    good = rofuse("verify", unseekable)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == f"{len(SIZES)} entries checked, 11 MiB: no damage\n"


def test_verify_reads_what_is_not_compressed(rofuse: Rofuse, folder: Path) -> None:
    path = folder / "plain.tar"
    shutil.copy(DATA / "basic-gnu.tar", path)
    assert rofuse("verify", path).returncode == 0
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole.rstrip(b"\0")) - 700])
    cut = rofuse("verify", path)
    assert cut.returncode == 13
    assert "cut at byte" in cut.stdout


def test_an_archive_in_a_spool_is_the_tree_that_another_tool_found(
    rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    """Compressed twice: the outer stream lies in the spool, the inner one is read from there."""
    noise = random.Random(1).randbytes(9 << 20)
    (folder / "inner.tar").write_bytes((DATA / "basic-gnu.tar").read_bytes().rstrip(b"\0") + bytes(10240))
    shell("tar", "--append", "-f", folder / "inner.tar", "--files-from", "/dev/null")
    (folder / "noise").write_bytes(noise)
    inner = subprocess.run(["zstd", "-q", "-c", folder / "inner.tar"], capture_output=True, check=True).stdout
    padded = inner + b"\x50\x2a\x4d\x18" + len(noise).to_bytes(4, "little") + noise  # a skippable frame
    outer = folder / "twice.tar.zst.zst"
    with outer.open("wb") as out:
        subprocess.run(["zstd", "-q", "-1", "--long=27", "-c"], input=padded, stdout=out, check=True)
    assert rofuse("-v", outer, mountpoint).returncode == 0
    expected = read_expected(DATA / "basic-gnu.expected")
    assert difference(expected, snapshot(mountpoint)) == []


def test_an_error_of_a_kind_that_one_codec_has_is_told(rofuse: Rofuse) -> None:
    """Two lzip members, and behind them what looks like the end of one that is all of it, and empty."""
    path = rofuse.folder / "a.lz"
    data = member(b"fox" * 15) * 2
    path.write_bytes(data + struct.pack("<IQQ", 1, 0, len(data) + 20))
    assert "bytes it should be" in failed(rofuse("ls", path), 13)


@pytest.mark.parametrize(
    "name", ["lrzip-n.basic-gnu.tar.lrz", "lzop.basic-gnu.tar.lzo", "python-uu.basic-gnu.tar.uu"]
)
def test_what_libraries_and_programs_decode(name: str, rofuse: Rofuse, mountpoint: Path) -> None:
    if name.endswith(".lrz") and shutil.which("lrzip") is None:
        pytest.skip("needs lrzip")
    expected = read_expected(DATA / "basic-gnu.expected")
    for _ in range(2):
        assert rofuse(DATA / "streams" / name, mountpoint).returncode == 0
        assert difference(expected, snapshot(mountpoint)) == []
        assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_program_that_is_missing_or_forbidden_is_named(rofuse: Rofuse, mountpoint: Path) -> None:
    path = DATA / "streams" / "lrzip.basic-gnu.tar.lrz"
    line = failed(rofuse("ls", path, environment={"PATH": "/nowhere"}), 16)
    assert "needs the program lrzip (package lrzip)" in line
    if shutil.which("lrzip") is None:
        pytest.skip("needs lrzip")
    assert "which --no-programs keeps" in failed(rofuse("ls", "--no-programs", path), 1)
    assert "which --no-programs keeps" in failed(rofuse("-o", "no-programs", path, mountpoint), 1)
