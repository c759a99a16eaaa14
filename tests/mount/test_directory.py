"""Directories through real mounts: what they were, whatever becomes of them, and whatever lies over them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.formats.directory_support import odd_tree
from tests.mount.command import Rofuse, becomes, failed, rofuse
from tests.mount.conftest import shell
from tests.mount.test_live import end, runtime, status
from tests.trees import difference, snapshot, with_directory_links

__all__ = ["rofuse", "runtime"]

BIG = bytes(range(256)) * 4096 * 2


@pytest.fixture
def tree(folder: Path) -> Path:
    root = folder / "tree"
    (root / "d" / "empty").mkdir(parents=True)
    (root / "a").write_text("one")
    (root / "d" / "b").write_text("two")
    (root / "d" / "big").write_bytes(BIG)
    return root


def cat(path: Path) -> str:
    result = shell("cat", path)
    return result.stdout or result.stderr


def sums(folder: Path) -> str:
    """Of all that is there, read by another process."""
    return shell("sh", "-c", "find . -type f -exec sha256sum {} + | sort -k2", cwd=folder).stdout


def requests(rofuse: Rofuse, mountpoint: Path) -> dict[str, int]:
    (found,) = status(rofuse, mountpoint)
    told = found["requests"]
    assert isinstance(told, dict)
    return {name: figures["count"] for name, figures in told.items()}


def test_a_mount_is_what_system_calls_find(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    tree = odd_tree(folder)
    expected = with_directory_links(snapshot(tree))
    result = rofuse(tree, mountpoint)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert difference(expected, snapshot(mountpoint)) == []
    with (mountpoint / "sparse").open("rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 1 << 20
    assert (mountpoint / "sparse").stat().st_blocks == (tree / "sparse").stat().st_blocks
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_what_has_changed_is_stale_and_told(
    rofuse: Rofuse, tree: Path, folder: Path, mountpoint: Path
) -> None:
    log = folder / "log"
    assert rofuse("--log-file", log, tree, mountpoint).returncode == 0
    assert cat(mountpoint / "d" / "b") == "two"
    (tree / "d" / "b").write_text("TWO")
    (tree / "a").unlink()
    (tree / "new").touch()
    for path in (mountpoint / "a", mountpoint / "d" / "b") * 2:
        assert "Stale file handle" in cat(path)
        assert path.stat().st_size == 3
    assert sorted(os.listdir(mountpoint)) == ["a", "d"]
    assert status(rofuse, mountpoint)[0]["changed"] == ["a", "d/b"]
    assert "has changed: d/b" in rofuse("status", mountpoint).stdout
    assert log.read_text().count("d/b: ") == 1


def test_follow_gives_what_is_there_now(rofuse: Rofuse, tree: Path, mountpoint: Path) -> None:
    assert rofuse("--follow", tree, mountpoint).returncode == 0
    assert cat(mountpoint / "a") == "one"
    (tree / "a").write_text("one and more")
    assert cat(mountpoint / "a") == "one and more"
    (tree / "d" / "big").write_text("less")
    assert cat(mountpoint / "d" / "big") == "less"
    (tree / "a").unlink()
    (tree / "a").symlink_to("/etc/passwd")
    assert "Stale file handle" in cat(mountpoint / "a")


def test_without_privileges_files_are_read_by_the_server(rofuse: Rofuse, tree: Path) -> None:
    """In a user namespace of one's own nobody may have the kernel read files."""
    wanted = hashlib.sha256(BIG).hexdigest()
    script = f"sha256sum d/big; cat d/b; echo x >> {tree}/d/big; cat d/big; cat a"
    result = rofuse("run", tree, "--", "sh", "-c", script)
    assert result.stdout == f"{wanted}  d/big\ntwoone"
    assert "Stale file handle" in result.stderr


@pytest.fixture
def passed_through(rofuse: Rofuse, tree: Path, mountpoint: Path, root: None) -> None:
    """A mount whose files the kernel reads itself."""
    assert rofuse("--workers", 2, tree, mountpoint).returncode == 0
    assert hashlib.sha256((mountpoint / "d" / "big").read_bytes()).digest() == hashlib.sha256(BIG).digest()
    if "READ" in requests(rofuse, mountpoint):
        pytest.skip("this kernel passes no files through, or not those of this file system")


def test_the_kernel_reads_files_itself(passed_through: None, rofuse: Rofuse, mountpoint: Path) -> None:
    for _round in range(3):
        assert len(sums(mountpoint).splitlines()) == 3
    assert "READ" not in requests(rofuse, mountpoint)


def test_an_open_file_can_be_opened_again_whatever_became_of_its_server(
    passed_through: None, rofuse: Rofuse, mountpoint: Path
) -> None:
    """The kernel takes one registration for all openings of a file, also from another server."""
    command = ["sh", "-c", "exec 3<d/big; echo; read _; exec sha256sum /proc/self/fd/3"]
    with subprocess.Popen(
        command, cwd=mountpoint, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        for _round in range(2):
            pids = status(rofuse, mountpoint)[0]["worker_pids"]
            assert isinstance(pids, list) and len(pids) == 2
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert shell("sha256sum", mountpoint / "d" / "big").returncode == 0
        assert rofuse("takeover", mountpoint).returncode == 0
        assert shell("sha256sum", mountpoint / "d" / "big").returncode == 0
        out, _err = holder.communicate("\n", timeout=30)
        assert out.split()[0] == hashlib.sha256(BIG).hexdigest()
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_restarted_server_has_the_same_snapshot(rofuse: Rofuse, tree: Path, mountpoint: Path) -> None:
    assert rofuse(tree, mountpoint).returncode == 0
    (tree / "new").touch()
    (tree / "d" / "b").write_text("changed")
    os.kill(status(rofuse)[0]["server_pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert cat(mountpoint / "a") == "one"
    assert "Stale" in cat(mountpoint / "d" / "b")
    assert rofuse("takeover", mountpoint).returncode == 0
    assert shell("ls", mountpoint).stdout == "a\nd\n"
    (found,) = status(rofuse)
    assert (found["restarts"], found["takeovers"]) == (1, 1)


# -- what lies over what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["d/empty", "d/new", "new"])
def test_the_mountpoint_may_lie_within_the_tree(place: str, rofuse: Rofuse, tree: Path) -> None:
    mountpoint = tree / place
    before = sums(tree)
    assert rofuse("-s", tree, mountpoint).returncode == 0
    assert sums(mountpoint) == before
    assert shell("ls", "-A", mountpoint / "d" / "empty").stdout == ""
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_mountpoint_that_holds_something_is_shown_empty(rofuse: Rofuse, tree: Path) -> None:
    assert rofuse("-s", "-o", "nonempty", tree, tree / "d").returncode == 0
    assert shell("find", ".", cwd=tree / "d").stdout == ".\n./a\n./d\n"
    assert cat(tree / "d" / "a") == "one"


def test_a_tree_may_be_mounted_over_itself(rofuse: Rofuse, tree: Path) -> None:
    before = sums(tree)
    assert "not empty" in failed(rofuse(tree, tree), 10)
    assert rofuse("-s", "-o", "nonempty", tree, tree).returncode == 0
    assert sums(tree) == before
    assert rofuse("takeover", tree).returncode == 0
    assert status(rofuse, tree)[0]["source"] == str(tree)
    assert sums(tree) == before
    assert rofuse("umount", "--wait", tree).returncode == 0


def test_a_later_mount_over_a_part_of_the_tree_is_not_entered(
    rofuse: Rofuse, tree: Path, mountpoint: Path
) -> None:
    """Its server could be waiting for this one."""
    assert rofuse("-s", tree, mountpoint).returncode == 0
    assert rofuse("-s", "-o", "nonempty", mountpoint, tree / "d").returncode == 0
    assert "Stale file handle" in cat(mountpoint / "d" / "b")
    assert cat(tree / "d" / "a") == "one"
    assert rofuse("umount", "--wait", tree / "d").returncode == 0
    assert cat(mountpoint / "d" / "b") == "two"


def test_the_program_itself_is_not_covered(rofuse: Rofuse) -> None:
    folder = Path(__file__).parents[2]
    assert "this very program" in failed(rofuse("-o", "nonempty", rofuse.folder, folder), 10)
    assert rofuse.mounts() == []


def test_other_file_systems_are_entered_or_not(
    rofuse: Rofuse, tree: Path, mountpoint: Path, root: None
) -> None:
    other = tree / "d" / "empty"
    assert shell("mount", "-t", "tmpfs", "tmpfs", other).returncode == 0
    try:
        (other / "inside").write_text("inside")
        assert rofuse(tree, mountpoint).returncode == 0
        assert cat(mountpoint / "d" / "empty" / "inside") == "inside"
        assert rofuse("umount", "--wait", mountpoint).returncode == 0
        assert rofuse("-x", tree, mountpoint).returncode == 0
        assert shell("ls", "-A", mountpoint / "d" / "empty").stdout == ""
        assert cat(mountpoint / "d" / "b") == "two"
        assert rofuse("index", tree).returncode == 0
    finally:
        shell("umount", "-l", other)
    message = failed(rofuse("-s", "--saved", tree, other), 10)
    assert "was a mountpoint" in message


def test_what_is_excluded_is_not_there(rofuse: Rofuse, tree: Path, mountpoint: Path) -> None:
    assert rofuse("--exclude", "b", "-o", "exclude=a,exclude=empty/", tree, mountpoint).returncode == 0
    assert shell("find", ".", cwd=mountpoint).stdout == ".\n./d\n./d/big\n"
    assert "pattern" in failed(rofuse("-o", "exclude=/", tree, rofuse.folder / "new"), 2)


# -- saved and frozen ------------------------------------------------------------------------------------------


def test_a_saved_snapshot_is_mounted_later(rofuse: Rofuse, tree: Path, mountpoint: Path) -> None:
    assert "index" in failed(rofuse("--saved", tree, mountpoint), 11)
    assert rofuse("index", "--exclude", "empty", tree).returncode == 0
    assert len(rofuse.indexes()) == 1
    (tree / "a").unlink()
    (tree / "new").touch()
    assert rofuse("--saved", tree, mountpoint).returncode == 0
    assert shell("find", ".", cwd=mountpoint).stdout == ".\n./a\n./d\n./d/b\n./d/big\n"
    assert cat(mountpoint / "d" / "b") == "two"
    assert "Stale" in cat(mountpoint / "a")
    assert rofuse("takeover", mountpoint).returncode == 0
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse(tree, mountpoint).returncode == 0
    assert sorted(os.listdir(mountpoint)) == ["d", "new"]
    assert len(rofuse.indexes()) == 1


def test_verify_tells_what_became_of_a_saved_snapshot(rofuse: Rofuse, tree: Path) -> None:
    assert rofuse("index", "--index-here", "--exclude", "*.o", tree).returncode == 0
    assert (tree.parent / "tree.rofuse").exists()
    clean = rofuse("verify", "--saved", tree)
    assert (clean.returncode, clean.stdout.splitlines()[-1]) == (
        0,
        "5 entries checked, 2.0 MiB: none changed",
    )
    (tree / "x.o").touch()
    (tree / "a").write_text("ONE")
    (tree / "d" / "b").unlink()
    (tree / "d" / "b").mkdir()
    (tree / "d" / "b" / "c").touch()
    (tree / "d" / "empty").chmod(0o700)
    shutil.rmtree(tree / "d" / "empty")
    result = rofuse("verify", "--saved", "--json", tree)
    assert result.returncode == 13
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    told = {line["path"]: line["error"] for line in lines[:-1] if not line["ok"]}
    assert told.pop("a").startswith("has changed (modification time")
    assert told == {"d/b": "has changed (type)", "d/b/c": "was added", "d/empty": "was removed"}
    assert lines[-1] == {"summary": {"checked": 6, "damaged": 4, "bytes": len(BIG)}}
    assert rofuse("verify", tree).returncode == 0


@pytest.fixture(params=["xfs", "btrfs"])
def reflinks(request: pytest.FixtureRequest, folder: Path, root: None) -> Iterator[Path]:
    """A file system that has them."""
    kind, place = request.param, folder / "disk"
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is missing")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    place.mkdir()
    made = shell(f"mkfs.{kind}", "-q", image)
    mounted = shell("mount", "-o", "loop", image, place)
    if made.returncode or mounted.returncode:
        pytest.skip(f"no {kind} can be mounted here: {made.stderr or mounted.stderr}")
    yield place
    shell("umount", "-l", place)


def test_what_is_frozen_stays_and_leaves_nothing(
    reflinks: Path, rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    tree = odd_tree(reflinks)
    (tree / "big").write_bytes(BIG)
    expected = with_directory_links(snapshot(tree))
    assert rofuse("--freeze", tree, mountpoint).returncode == 0
    assert os.listdir(reflinks) == ["tree"]
    (tree / "big").write_text("changed")
    (tree / "a").unlink()
    os.truncate(tree / "sparse", 5)
    assert difference(expected, snapshot(mountpoint)) == []
    os.kill(status(rofuse)[0]["server_pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert rofuse("takeover", mountpoint).returncode == 0
    assert difference(expected, snapshot(mountpoint)) == []
    end(rofuse, mountpoint)
    rofuse("umount", mountpoint)
    assert os.listdir(reflinks) == ["tree"]
    assert becomes(lambda: shell("umount", reflinks).returncode == 0)  # nobody holds anything of it


def test_freezing_is_refused_where_there_are_no_reflinks(
    rofuse: Rofuse, tree: Path, mountpoint: Path
) -> None:
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no memory file system")
    copy = Path("/dev/shm") / f"{tree.parent.name}-tree"
    shutil.copytree(tree, copy)
    try:
        assert "reflinks" in failed(rofuse("--freeze", copy, mountpoint), 1)
    finally:
        shutil.rmtree(copy)
    assert rofuse.mounts() == []
    assert "--freeze" in failed(rofuse("--freeze", "--follow", tree, mountpoint), 2)
