"""What a shell is offered, and what is told to who calls things otherwise."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.command import Rofuse, failed, rofuse
from tests.mount.looking import SAMPLE, look

__all__ = ["look", "rofuse"]


def offered(look: Rofuse, *words: object) -> list[str]:
    """What bash is offered for the last of these words."""
    environment = {
        "_ROFUSE_MOUNT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["rofuse-mount", *map(str, words)]),
        "COMP_CWORD": str(len(words)),
    }
    script = "import sys; sys.argv = ['rofuse-mount']; from rofuse_mount.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=look.folder,
        env=look.environment | environment,
    )
    assert result.stderr == ""
    return [line for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize("command", ["cat", "ls", "stat", "find", "tree", "verify"])
def test_members_are_offered(command: str, look: Rofuse) -> None:
    assert offered(look, command, SAMPLE, "orchard/ha") == ["plain,orchard/harvest/"]
    assert offered(look, command, SAMPLE, "/orchard/harvest/20") == [
        f"plain,/orchard/harvest/{year}.csv" for year in range(2018, 2024)
    ]
    assert offered(look, command, SAMPLE, "no/such") == []
    assert offered(look, command, look.folder / "no.tar", "x") == []


FILE, DIRECTORY = ["file,x"], ["dir,x"]
PLACES = {
    "a.tar": DIRECTORY,
    "mount": FILE,
    "mount a.tar": DIRECTORY,
    "-q a.tar": DIRECTORY,
    "--log-file": FILE,
    "run": FILE,
    "run --at": DIRECTORY,
    "run a.tar": FILE,
    "run a.tar make": FILE,
    "umount": DIRECTORY,
    "umount a": DIRECTORY,
    "-u": DIRECTORY,
    "status": DIRECTORY,
    "takeover": DIRECTORY,
    "extract a.tar": DIRECTORY,
    "pack": FILE,
    "pack a.tar": FILE,
    "index": FILE,
    "cache clear": FILE,
}


@pytest.mark.parametrize("words", PLACES)
def test_files_are_offered_wherever_they_are_wanted(words: str, look: Rofuse) -> None:
    """A shell that is told nothing offers nothing: not even what it would without being told."""
    assert offered(look, *words.split(), "x") == PLACES[words]


def test_the_first_word_may_be_a_file_that_begins_as_a_command(look: Rofuse) -> None:
    (look.folder / "statue.tar").touch()
    (look.folder / "stable").mkdir()
    (look.folder / "st one.tar").touch()
    assert offered(look, "st") == [f"plain,{word}" for word in ("stat", "status", "stable/", "statue.tar")]


def test_live_mounts_are_offered_to_who_unmounts(rofuse: Rofuse, folder: Path) -> None:
    assert rofuse(SAMPLE, folder / "it").returncode == 0
    for command in ("umount", "-u", "status", "takeover"):
        assert offered(rofuse, command, str(folder)) == [f"plain,{folder}/it"]
        assert f"plain,{folder}/it" in offered(rofuse, command, "")


def test_commands_and_files_are_offered(look: Rofuse) -> None:
    assert {"plain,stat", "plain,status"} == set(offered(look, "st"))
    assert offered(look, "./x") == ["file,./x"]
    assert offered(look, "ls", "x") == ["file,x"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_shells(shell: str, look: Rofuse) -> None:
    script = look(environment={"_ROFUSE_MOUNT_COMPLETE": f"{shell}_source"})
    assert script.returncode == 0
    path = shutil.which(shell)
    if path is not None:
        result = subprocess.run(
            [path, "-n"], check=False, input=script.stdout, capture_output=True, text=True
        )
        assert (result.returncode, result.stderr) == (0, "")


def test_other_names_and_other_orders(look: Rofuse) -> None:
    assert "index --force" in failed(look("--recreate-index", SAMPLE, "m"), 2)
    assert "always read-only" in failed(look("-o", "readonly", SAMPLE, "m"), 2)
    assert "called subdir" in failed(look("-o", "subtree=x", SAMPLE, "m"), 2)
    assert "No such option" in failed(look("--nonsense", SAMPLE, "m"), 2)
    assert "where is it to be mounted" in failed(look(SAMPLE), 2)
    assert "swapped" in failed(look(look.folder, SAMPLE), 2)
    assert not (look.folder / "m").exists()
