"""What people do at a shell in their first minutes, and what careless programs do for good: words in another order,
names that are nearly right, standard streams that are closed, unmounting and looking at once."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.mount.command import COMMAND, Rofuse, becomes, failed
from tests.mount.looking import SAMPLE, bare
from tests.mount.test_supervised import is_gone
from tests.mount.test_zip import ENCRYPTED

__all__ = ["bare"]


UNWRITTEN = "rofuse-mount: standard output cannot be written:"


# -- standard streams --------------------------------------------------------------------------------------------------


def closed(rofuse: Rofuse, streams: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs it with some standard streams closed, as ``<&-`` does."""
    script = f'exec "$@" {streams}'
    words = ["sh", "-c", script, "sh", *COMMAND, *map(str, arguments)]
    return subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=rofuse.environment,
        cwd=rofuse.folder,
    )


CLOSED = [
    " ".join(chosen)
    for count in (1, 2, 3)
    for chosen in itertools.combinations(("<&-", ">&-", "2>&-"), count)
]


@pytest.mark.parametrize("streams", CLOSED)
def test_it_mounts_whatever_streams_are_closed(streams: str, bare: Rofuse, mountpoint: Path) -> None:
    result = closed(bare, streams, SAMPLE, mountpoint)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert os.listdir(mountpoint) == ["orchard"]
    result = closed(bare, streams, "umount", "--wait", mountpoint)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_messages_never_go_to_standard_output(bare: Rofuse) -> None:
    result = closed(bare, "2>&-", "ls", "no.tar")
    assert (result.returncode, result.stdout) == (11, "")
    result = closed(bare, "2>&-")
    assert (result.returncode, result.stdout) == (2, "")


def test_of_standard_streams_that_cannot_be_used(bare: Rofuse) -> None:
    for command in ("ls", "dump", "find", "info", "cat"):
        result = closed(bare, ">&-", command, SAMPLE, *["orchard/lib/orchard.py"] * (command == "cat"))
        assert (result.returncode, result.stderr) == (1, f"{UNWRITTEN} Bad file descriptor\n"), command
    result = closed(bare, "<&-", "ls", "-")
    assert (result.returncode, result.stdout) == (11, "")
    assert result.stderr.startswith("rofuse-mount: -: ") and result.stderr.count("\n") == 1
    bare.environment.pop("PYTHONUNBUFFERED", None)
    for number, words in enumerate((["--help"], ["--version"], ["ls", "--help"], ["cache"]) * 2):
        if number == 4:
            bare.environment["PYTHONUNBUFFERED"] = "1"
        result = closed(bare, ">/dev/full", *words)
        assert (result.returncode, result.stderr) == (1, f"{UNWRITTEN} No space left on device\n"), words


# -- unmounting --------------------------------------------------------------------------------------------------------


def test_nothing_is_left_when_umount_returns(bare: Rofuse, folder: Path) -> None:
    place = folder / "made"
    for _ in range(3):
        assert bare(SAMPLE, place).returncode == 0
        assert bare("umount", place).returncode == 0
        assert not place.exists()


def test_a_mount_of_an_archive_on_a_mount_and_then_that(bare: Rofuse, folder: Path) -> None:
    with tarfile.open(folder / "outer.tar", "w") as tar:
        tar.add(SAMPLE, "inner.tar.zst")
    assert bare(folder / "outer.tar", folder / "outer").returncode == 0
    assert bare(folder / "outer/inner.tar.zst", folder / "inner").returncode == 0
    assert "is busy" in failed(bare("umount", folder / "outer"), 10)
    result = bare("umount", folder / "inner", folder / "outer")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(os.listdir(folder)) == ["outer.tar"]


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_without_a_terminal_no_password_is_asked_for(bare: Rofuse, folder: Path) -> None:
    """``bare`` runs it in a session that has none, its standard input nothing."""
    (folder / "it.zip").write_bytes(ENCRYPTED)
    for words in (
        ["--password", "it.zip", "new"],
        ["-o", "password", "it.zip", "new"],
        ["ls", "--password", "it.zip"],
    ):
        assert "--password-file" in failed(bare(*words), 14)
    assert sorted(os.listdir(folder)) == ["it.zip"]


# -- words -------------------------------------------------------------------------------------------------------------

MEANT = {
    "unmount {folder}/it": (11, "'rofuse-mount umount'"),
    "lss {sample}": (11, "'rofuse-mount ls'"),
    "help": (2, "'rofuse-mount --help'"),
    "version": (2, "'rofuse-mount --version'"),
    "verfy": (2, "'rofuse-mount verify'"),
    "-v ls {sample}": (11, "'rofuse-mount ls'"),
    "{folder}/none {sample}": (11, "swapped"),
    "none {sample}": (11, "swapped"),
    "find {sample} -iname x": (2, "'-iname'"),
    "extract {sample} {sample}": (1, "is not a directory"),
    "--log-file {folder}/no/log {sample} {folder}/it": (1, "log: No such file or directory\n"),
    "run --at {sample} {sample} -- true": (10, "the mountpoint is a file"),
    "no.zip {folder}/it": (11, "no.zip: cannot be opened: No such file or directory\n"),
}


@pytest.mark.parametrize("arguments", MEANT)
def test_what_was_meant(arguments: str, bare: Rofuse, folder: Path) -> None:
    words = arguments.format(sample=SAMPLE, folder=folder).split()
    status, said = MEANT[arguments]
    assert said in failed(bare(*words), status)
    assert os.listdir(folder) == []


def test_a_mount_that_is_to_be_unmounted_by_another_word(bare: Rofuse, mountpoint: Path) -> None:
    assert bare(SAMPLE, mountpoint).returncode == 0
    assert "'rofuse-mount umount'" in failed(bare("unmount", mountpoint), 11)


def test_a_file_may_have_any_name(bare: Rofuse, folder: Path) -> None:
    for name in ("lss", "help"):
        shutil.copy(SAMPLE, folder / name)
        assert bare(name, folder / "it").returncode == 0
        assert bare("umount", folder / "it").returncode == 0


def test_an_empty_word_is_no_path(bare: Rofuse, folder: Path) -> None:
    """Such as comes of a variable that is not set. It is not the working directory."""
    assert "''" in failed(bare("", folder / "it"), 11)
    for words in (
        [SAMPLE, ""],
        ["-o", "nonempty", SAMPLE, ""],
        ["umount", ""],
        ["run", "--at", "", SAMPLE, "true"],
    ):
        assert "empty" in failed(bare(*words), 10)
    assert bare(SAMPLE, folder / "it").returncode == 0
    result = subprocess.run(
        [*COMMAND, "umount", ""],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder / "it",
        env=bare.environment,
    )
    assert result.returncode == 10
    assert (folder / "it/orchard").is_dir()


def test_a_working_directory_that_is_gone(bare: Rofuse, folder: Path) -> None:
    (folder / "gone").mkdir()
    script = 'cd gone && rmdir ../gone && exec "$@"'
    for words, status, said in (
        (["a.tar", folder / "it"], 11, "a.tar: cannot be opened: No such file"),
        ([SAMPLE, "it"], 10, "it cannot be found: No such file"),
        (["umount", "it"], 10, " cannot be found: No such file"),
        (["ls", "a.tar"], 11, "a.tar: "),
    ):
        (folder / "gone").mkdir(exist_ok=True)
        result = subprocess.run(
            ["sh", "-c", script, "sh", *COMMAND, *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env=bare.environment,
        )
        assert said in failed(result, status)


def test_a_mountpoint_that_cannot_be_made_is_told_before_the_archive_is_read(
    bare: Rofuse, folder: Path, mountpoint: Path
) -> None:
    (folder / "text").write_text("no archive\n" * 100)
    assert bare(SAMPLE, mountpoint).returncode == 0
    assert "cannot be made" in failed(bare("text", mountpoint / "new"), 10)


def test_of_what_is_not_mounted_nobody_says_that_it_is(bare: Rofuse, folder: Path, mountpoint: Path) -> None:
    """As mount(8) asks for it where nobody said ro."""
    assert "no.tar" in failed(bare("no.tar", mountpoint, "-o", "rw"), 11)
    assert "read-only" in bare(SAMPLE, mountpoint, "-o", "rw").stderr


def test_the_index_of_a_relative_path(bare: Rofuse, folder: Path) -> None:
    """Programs that read it may be elsewhere."""
    shutil.copy(SAMPLE, folder / "a.tar.zst")
    assert bare("index", "--index-here", "a.tar.zst").returncode == 0
    facts = json.loads(bare("info", "--json", "a.tar.zst").stdout)
    assert (facts["source"], facts["index"]["path"]) == (f"{folder}/a.tar.zst", f"{folder}/a.tar.zst.rofuse")


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_what_is_interrupted_says_so_in_a_line(bare: Rofuse, folder: Path) -> None:
    """While it waits for an archive that comes through a pipe."""
    read_end, write_end = os.pipe()
    words = [*COMMAND, "-", "it"]
    with subprocess.Popen(
        words, stdin=read_end, stderr=subprocess.PIPE, text=True, cwd=folder, env=bare.environment
    ) as process:
        os.write(write_end, b"beginning")
        assert becomes(lambda: not select.select([read_end], [], [], 0)[0])  # it has taken that
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None and process.stderr.read() == "rofuse-mount: interrupted\n"
    os.close(read_end)
    os.close(write_end)
    assert os.listdir(folder) == []


SLOW = """
import time
import rofuse_formats.indexing
from rofuse_mount.cli import main

rofuse_formats.indexing.write_index = lambda *arguments: time.sleep(120)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("words", [["index"], ["ls"], []])
def test_nobody_goes_on_indexing_for_one_who_was_killed(
    words: list[str], number: signal.Signals, bare: Rofuse, folder: Path
) -> None:
    with tarfile.open(folder / "a.tar.bz2", "w:bz2") as tar:
        tar.add(SAMPLE, "member")
    places = ["it"] if not words else []
    command = [sys.executable, "-c", SLOW, *words, "a.tar.bz2", *places]
    with subprocess.Popen(command, cwd=folder, env=bare.environment) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert becomes(lambda: bool(children.read_text().split()))
        (child,) = map(int, children.read_text().split())
        process.send_signal(number)
        assert process.wait(60) == -number
    assert becomes(lambda: is_gone(child))
