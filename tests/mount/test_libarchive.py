"""What libarchive reads, through real mounts: a helper that is killed, a mount after another, the errno of what
cannot be read."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.formats.libarchive_support import TESTDATA, descendants, program_behind, seven, texts
from tests.mount.command import Rofuse, becomes, failed, rofuse
from tests.mount.conftest import shell

__all__ = ["rofuse"]

MIB = 1 << 20


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    return texts(24, MIB)


@pytest.fixture(scope="module")
def solid(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]) -> Path:
    return seven(tmp_path_factory.mktemp("solid"), tree, "-mx=1", "-ms=on")


def helpers(archive: Path) -> list[int]:
    """The helper processes that have an archive open, but for this process's own."""
    found, own = [], descendants()
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = Path("/proc", process)
        try:
            is_helper = b"archives.libarchive.helper" in (folder / "cmdline").read_bytes()
            opened = [os.readlink(link) for link in (folder / "fd").iterdir()] if is_helper else []
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if str(archive) in opened and int(process) not in own:
            found.append(int(process))
    return found


def sums(root: Path) -> dict[str, str]:
    out = shell("sh", "-c", f"cd {root} && find . -type f -print0 | xargs -0 sha256sum").stdout
    return {line[66:].removeprefix("./"): line[:64] for line in out.splitlines()}


def test_a_solid_archive_is_decoded_once(
    rofuse: Rofuse, folder: Path, mountpoint: Path, solid: Path, tree: dict[str, bytes]
) -> None:
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in tree.items()}
    assert rofuse(solid, mountpoint).returncode == 0
    assert sums(mountpoint) == expected
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert becomes(lambda: not helpers(solid))
    listed = rofuse("cache").stdout
    assert "spool" in listed and "it.7z" in listed
    assert rofuse(solid, mountpoint).returncode == 0
    assert sums(mountpoint) == expected
    assert helpers(solid) == []
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse("cache", "clear").returncode == 0
    assert list(rofuse.cache.glob("*/*.members")) == []


def test_a_helper_that_is_killed_in_mid_read(
    rofuse: Rofuse, mountpoint: Path, solid: Path, tree: dict[str, bytes]
) -> None:
    assert rofuse(solid, mountpoint).returncode == 0
    *_others, last = tree
    with subprocess.Popen(["sha256sum", mountpoint / last], stdout=subprocess.PIPE, text=True) as reader:
        assert becomes(lambda: bool(helpers(solid)) or reader.poll() is not None)
        for pid in helpers(solid):
            os.kill(pid, signal.SIGKILL)
        out, _err = reader.communicate(timeout=60)
    assert out[:64] == hashlib.sha256(tree[last]).hexdigest()


def test_the_server_of_a_mount_that_decodes_is_killed(
    rofuse: Rofuse, mountpoint: Path, solid: Path, tree: dict[str, bytes]
) -> None:
    """The next one goes on with what is kept."""
    assert rofuse(solid, mountpoint).returncode == 0
    first = next(iter(tree))
    assert shell("cat", mountpoint / first).returncode == 0
    import json

    facts = json.loads(rofuse("status", "--json", mountpoint).stdout)
    os.kill(facts["server_pid"], signal.SIGKILL)
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in tree.items()}
    assert becomes(lambda: sums(mountpoint) == expected)


def test_the_errno_of_what_cannot_be_read(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path = folder / "it.mtree"
    path.write_text("#mtree\n./a type=file size=7 mode=644\n./b type=file size=0 mode=644\n")
    assert rofuse(path, mountpoint).returncode == 0
    assert shell("cat", mountpoint / "b").returncode == 0
    assert os.strerror(errno.EOPNOTSUPP) in shell("cat", mountpoint / "a").stderr


def test_links_whose_targets_are_compressed(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(TESTDATA / "la-7z-links.7z", mountpoint).returncode == 0
    assert shell("stat", "-c", "%F %s", mountpoint / "d/link").stdout == "symbolic link 7\n"
    assert shell("readlink", mountpoint / "d/link").stdout == "../text\n"
    assert shell("cat", mountpoint / "d/link").stdout == shell("cat", mountpoint / "text").stdout != ""


def test_a_library_that_is_missing_is_named(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    without = {"LIBARCHIVE": "/no/such/library.so"}
    line = failed(rofuse(TESTDATA / "la-7z-solid.7z", mountpoint, environment=without), 16)
    assert "libarchive13" in line
    assert rofuse(TESTDATA / "zip-basic-infozip.zip", mountpoint, environment=without).returncode == 0


def test_many_readers_while_it_is_decoded(
    rofuse: Rofuse, mountpoint: Path, solid: Path, tree: dict[str, bytes]
) -> None:
    assert rofuse("-o", "workers=2", solid, mountpoint).returncode == 0
    names, wrong = list(tree), []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for name in chance.sample(names, 6):
            out = shell("sha256sum", mountpoint / name).stdout
            if out[:64] != hashlib.sha256(tree[name]).hexdigest():
                wrong.append(name)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("stored", [False, True])
def test_an_archive_behind_a_program(
    stored: bool, rofuse: Rofuse, folder: Path, mountpoint: Path, tree: dict[str, bytes]
) -> None:
    some = dict(list(tree.items())[:3])
    archive = seven(folder, some, "-mx=0" if stored else "-mx=1")
    program = folder / "setup.exe"
    program.write_bytes(program_behind(archive.read_bytes()))
    for _ in range(2):
        assert rofuse(program, mountpoint).returncode == 0
        assert sums(mountpoint) == {name: hashlib.sha256(data).hexdigest() for name, data in some.items()}
        assert rofuse("umount", "--wait", mountpoint).returncode == 0
