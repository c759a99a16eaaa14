"""Files pushed into the page cache of a kernel, and what their readers get."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.mount.command import Rofuse, rofuse
from tests.mount.conftest import shell

__all__ = ["rofuse"]

FOLDERS, FILES = 20, 40


@pytest.fixture
def tree(folder: Path) -> Path:
    """Many small files, of every size around that of a page, and some in between that are not pushed."""
    for number in range(FOLDERS * FILES):
        path = folder / "tree" / f"{number // FILES:02}" / f"{number % FILES:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 200_000 if number % 97 == 0 else 4090 + number % 13 if number % 2 else number * 7
        path.write_bytes((b"%d " % number * size)[:size])
    return folder / "tree"


def archive(tree: Path, kind: str) -> Path:
    path = tree.parent / f"a.{kind}"
    if kind == "zip":
        assert shell("python3", "-m", "zipfile", "-c", path, ".", cwd=tree).returncode == 0
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as made:
            made.add(tree, ".")
    return path


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_who_reads_a_tree_gets_it_in_few_requests(
    rofuse: Rofuse, mountpoint: Path, tree: Path, kind: str
) -> None:
    assert rofuse(archive(tree, kind), mountpoint).returncode == 0
    assert shell("diff", "-r", tree, mountpoint).returncode == 0
    (status,) = map(json.loads, rofuse("status", "--json", mountpoint).stdout.splitlines())
    reads, pushed = status["requests"]["READ"]["count"], status["pushed"]
    assert reads <= FOLDERS * FILES / 5
    assert pushed["files"] > FOLDERS * FILES * 3 / 4 and pushed["unread"] == 0


def test_small_directories_take_no_request_each(rofuse: Rofuse, mountpoint: Path, folder: Path) -> None:
    """But those that list it: its first files are stored with the answer to the second of them."""
    for number in range(400):
        path = folder / "tree" / f"{number:03}"
        path.mkdir(parents=True)
        for file in ("a", "b"):
            (path / file).write_text(f"{number} {file}" * 50)
    assert rofuse(archive(folder / "tree", "tar"), mountpoint).returncode == 0
    assert shell("grep", "-r", "-q", "nowhere", mountpoint).returncode == 1
    (status,) = map(json.loads, rofuse("status", "--json", mountpoint).stdout.splitlines())
    assert status["requests"]["READ"]["count"] <= 100 and status["pushed"]["unread"] == 0
    assert shell("diff", "-r", folder / "tree", mountpoint).returncode == 0


def test_one_thread_serves_without_pushing(rofuse: Rofuse, mountpoint: Path, tree: Path) -> None:
    assert rofuse("-s", archive(tree, "tar"), mountpoint).returncode == 0
    assert shell("diff", "-r", tree, mountpoint).returncode == 0
    (status,) = map(json.loads, rofuse("status", "--json", mountpoint).stdout.splitlines())
    assert status["pushed"] == {"files": 0, "bytes": 0, "unread": 0}


def test_many_readers_at_once_all_get_what_is_there(rofuse: Rofuse, mountpoint: Path, tree: Path) -> None:
    assert rofuse(archive(tree, "zip"), mountpoint).returncode == 0
    readers = " & ".join(f"diff -r {tree} {mountpoint} || echo differs" for _ in range(6))
    result = shell("sh", "-c", f"{readers} & wait")
    assert (result.returncode, result.stdout) == (0, "")
