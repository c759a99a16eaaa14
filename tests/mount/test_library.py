"""The library as its users meet it: the README's example, a filesystem with names only, every mount option."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path

import pytest

import rofuse_mount
from rofuse_mount import mounting
from tests.mount.conftest import SECONDS, eventually, shell, table_entry
from tests.mount.probes import ask

README = Path(__file__).parents[2] / "README.md"

NAMES_ONLY = """
import stat, sys
from rofuse_mount import Attr, DirEntry, Entry, Filesystem, mount

TREE = {1: {b"file": 2, b"folder": 3}, 3: {b"deep": 4}}
MODES = {2: stat.S_IFREG | 0o640, 3: stat.S_IFDIR | 0o755, 4: stat.S_IFREG | 0o600}


class NamesOnly(Filesystem):
    def lookup(self, ctx, parent, name):
        if name not in TREE.get(parent, {}):
            raise FileNotFoundError
        ino = TREE[parent][name]
        return Entry(ino, Attr(ino, MODES[ino], size=7 * ino), entry_timeout=0, attr_timeout=0)

    def readdir(self, ctx, ino, fh, offset, size):
        for cookie, (name, child) in enumerate(TREE[ino].items(), 1):
            if cookie > offset:
                yield DirEntry(child, cookie, MODES[child] >> 12, name)


mount(sys.argv[1], NamesOnly()).serve()
"""

Run = Callable[[str], Path]


def readme_example() -> str:
    """The text of the one Python program in the README that is a filesystem."""
    found = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (text,) = (text for text in found if "Filesystem" in text)
    assert isinstance(text, str)
    return text


@pytest.fixture
def run(fuse: None, folder: Path, mountpoint: Path) -> Iterator[Run]:
    """``run(text)``: a program that mounts, as a process of its own; gives the mountpoint when it is usable."""
    running: list[subprocess.Popen[bytes]] = []

    def start(text: str) -> Path:
        program = folder / "example.py"
        program.write_text(text)
        running.append(subprocess.Popen([sys.executable, program, mountpoint], cwd=folder))
        assert eventually(lambda: table_entry(mountpoint) is not None or running[0].poll() is not None)
        assert running[0].poll() is None, "it ended"
        return mountpoint

    yield start
    entry = table_entry(mountpoint)
    if entry is not None and shell("umount", mountpoint).returncode:
        mounting.abort(entry.minor)
        shell("umount", "-l", mountpoint)
    for process in running:
        try:
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


# --- the README -----------------------------------------------------------------------------


def test_the_readme_shows_a_filesystem_in_under_thirty_lines() -> None:
    assert len(readme_example().splitlines()) < 30


def test_the_readme_example_lists_and_reads(run: Run) -> None:
    mnt = run(readme_example())
    lines = shell("ls", "-la", mnt).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["total", "-rw-r--r--", "-rw-r--r--"]
    assert [line.split()[-1] for line in lines[1:]] == ["bye", "hello"]
    assert shell("cat", mnt / "hello", mnt / "bye").stdout == "Hello, world!\nBye.\n"
    assert shell("stat", "-c", "%s %a %h %F", mnt / "hello").stdout == "14 644 1 regular file\n"
    assert shell("stat", "-c", "%a %h %F", mnt).stdout == "755 2 directory\n"
    assert shell("find", mnt, "-type", "f", "-size", "-10c").stdout == f"{mnt}/bye\n"


def test_the_readme_example_says_what_it_has_not(run: Run) -> None:
    mnt = run(readme_example())
    assert ask("opening", mnt / "missing", os.O_RDONLY) == "ENOENT"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        assert ask("opening", mnt / "hello", flags) == "EROFS"
    assert ask("opening", mnt / "new", os.O_WRONLY | os.O_CREAT) == "EROFS"
    assert ask("opening", mnt / "hello", os.O_RDONLY) == ""
    found = ask("statfs", mnt)
    assert (found["f_bsize"], found["f_frsize"], found["f_namemax"], found["f_blocks"]) == (
        4096,
        4096,
        255,
        0,
    )
    assert found["f_flag"] & os.ST_RDONLY


def test_the_readme_example_ends_when_it_is_unmounted(run: Run) -> None:
    mnt = run(readme_example())
    assert shell("umount", mnt).returncode == 0
    assert table_entry(mnt) is None  # and its process ends with 0: see the fixture


# --- names only -----------------------------------------------------------------------------


def test_a_filesystem_with_names_only_lists(run: Run) -> None:
    """Neither getattr nor anything else: what is said with a name is all there is, and stays."""
    mnt = run(NAMES_ONLY)
    tree = "0 d 555 \n14 f 640 file\n21 d 755 folder\n28 f 600 folder/deep\n"
    for _ in range(2):
        found = shell("find", mnt, "-printf", "%s %y %m %P\n")
        assert (found.stdout, found.stderr) == (tree, "")
        time.sleep(1.1)  # whatever was valid for a second, as is the default, is no longer
    assert shell("ls", mnt).stdout == "file\nfolder\n"
    assert len(shell("ls", "-la", mnt).stdout.splitlines()) == 3
    assert shell("stat", "-c", "%s %i", mnt / "folder" / "deep").stdout == "28 4\n"
    assert ask("opening", mnt / "folder" / "missing", os.O_RDONLY) == "ENOENT"


MOUNTED_TWICE = """
import sys
from rofuse_mount import Filesystem, MountError, MountOptions, mount

for subtype in None, "other":
    server = mount(sys.argv[1], Filesystem(), MountOptions(subtype=subtype))
    try:
        mount(sys.argv[1], Filesystem())
    except MountError as error:
        print(error)
    server.unmount()
"""


def test_what_this_process_has_mounted_and_not_served_yet_is_busy(fuse: None, mountpoint: Path) -> None:
    """As in an interactive session. To look at the mount would be to wait for oneself."""
    try:
        found = shell(sys.executable, "-c", MOUNTED_TWICE, mountpoint)
        assert found.stdout == f"{mountpoint} is busy: rofuse is mounted there already\n" * 2
        assert table_entry(mountpoint) is None
    finally:
        while table_entry(mountpoint) is not None:
            shell("umount", "-l", mountpoint)


# --- what it costs to import ----------------------------------------------------------------


def test_the_library_needs_neither_click_nor_rich() -> None:
    program = """
import sys, rofuse_mount
for name in rofuse_mount.__all__:
    getattr(rofuse_mount, name)
rofuse_mount.Filesystem().statfs(rofuse_mount.Context(), 1)
from rofuse_mount.engine import Engine
Engine(rofuse_mount.Filesystem())
print([name for name in sys.modules if name.split(".")[0] in ("click", "rich")])
"""
    assert shell(sys.executable, "-c", program).stdout == "[]\n"


def test_help_shows_every_public_name() -> None:
    program = "import pydoc, rofuse_mount; print(pydoc.plain(pydoc.render_doc(rofuse_mount)))"
    text = shell(sys.executable, "-c", program).stdout
    for name in rofuse_mount.__all__:
        assert re.search(rf"^ *(class )?{name}\b", text, re.MULTILINE), name
    for kind in rofuse_mount.MountOptions, rofuse_mount.Attr:
        assert all(f"``{field}``" in (kind.__doc__ or "") for field in kind.__slots__), kind


def test_every_public_name_is_what_it_says() -> None:
    from rofuse_mount import filesystem, server

    assert rofuse_mount.mount is server.mount
    assert rofuse_mount.Server is server.Server
    assert rofuse_mount.MountError is mounting.MountError
    assert rofuse_mount.Filesystem is filesystem.Filesystem
    with pytest.raises(AttributeError):
        attrgetter("nothing")(rofuse_mount)
