"""The inspection commands in a pipe, on a terminal, and where next to nothing is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.mount.command import COMMAND, SECONDS, Rofuse
from tests.mount.looking import SAMPLE, evil, look, on_terminal

__all__ = ["evil", "look"]


@pytest.mark.parametrize("arguments", ["cat {} big", "find {}", "ls --json {}", "tree {}"])
def test_a_reader_that_goes_away(arguments: str, look: Rofuse, folder: Path) -> None:
    archive = folder / "many.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(5000):
            tar.addfile(tarfile.TarInfo(f"a-directory-with-a-name/and-a-file-{number}"))
        info = tarfile.TarInfo("big")
        info.size = 1 << 22
        tar.addfile(info, BytesIO(bytes(1 << 22)))
    with look.start(*arguments.format(archive).split()) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.buffer.read(10)  # type: ignore[attr-defined]  # a text file over a buffer
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(SECONDS) == 141


def test_output_that_cannot_be_written(look: Rofuse) -> None:
    for arguments in (["ls", "-R", SAMPLE], ["cat", SAMPLE, "*/README", "*/docs/*"]):
        with open("/dev/full", "wb") as full:
            command = [*COMMAND, *map(str, arguments)]
            result = subprocess.run(
                command,
                check=False,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=look.environment,
                timeout=SECONDS,
            )
        assert result.returncode == 1
        assert result.stderr == "rofuse-mount: standard output cannot be written: No space left on device\n"


INSPECTIONS = ["ls {}", "ls -l {}", "ls -lR {}", "tree {}", "find {}", "stat {} *", "info {}"]


@pytest.mark.parametrize("arguments", INSPECTIONS)
def test_no_byte_of_an_archive_reaches_a_terminal_raw(arguments: str, evil: Path, look: Rofuse) -> None:
    plain = on_terminal(look, *arguments.format(evil).split(), NO_COLOR="1")
    assert "".join(c for c in plain if not c.isprintable()).strip("\n") == ""
    assert "a\\x1b[31mred" in plain
    assert "\\xff" in plain


def test_in_a_pipe_names_are_what_they_are(evil: Path, look: Rofuse) -> None:
    assert "\x1b[31mred\n" in look("ls", evil).stdout
    assert look("find", "-print0", evil).stdout.split("\0")[1:4:2] == ["b\nline", os.fsdecode(b"d\xff")]


def test_colours_where_they_are_wanted(look: Rofuse) -> None:
    coloured = on_terminal(look, "ls", SAMPLE)
    assert "\x1b[1;34morchard\x1b[0m" in coloured
    assert "\x1b" not in on_terminal(look, "ls", SAMPLE, NO_COLOR="1")
    assert "\x1b" not in on_terminal(look, "ls", SAMPLE, TERM="dumb")
    assert "\x1b" not in look("ls", SAMPLE).stdout


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_it_fits_the_terminal(columns: int, look: Rofuse) -> None:
    for arguments in (
        ["ls", SAMPLE, "orchard/letters", "orchard"],
        ["ls", "-l", SAMPLE, "orchard/harvest"],
        ["tree", SAMPLE],
        ["formats"],
        ["stat", SAMPLE, "orchard/README"],
    ):
        shown = on_terminal(look, *arguments, columns=columns, NO_COLOR="1").splitlines()
        too_long = [line for line in shown if len(line) > columns and str(SAMPLE) not in line]
        assert too_long == []
    wide = on_terminal(look, "ls", SAMPLE, "orchard/letters", columns=200, NO_COLOR="1")
    assert wide.count("\n") == 2 or columns != 200


@pytest.mark.parametrize(
    "arguments",
    ["ls {0}", "ls --json {0}", "info {0}", "find {0}", "tree {0}", "stat {0} orchard", "formats"],
)
def test_a_bare_environment(arguments: str, folder: Path) -> None:
    """No HOME, no locale, nowhere to write, no terminal, and nothing imported that would draw or decode."""
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], *arguments.format(SAMPLE).split()]
    result = subprocess.run(
        command,
        check=False,
        env={"PATH": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        start_new_session=True,
        cwd="/",
    )
    assert result.returncode == 0, result.stderr
    assert b"orchard" in result.stdout or arguments == "formats"
    imported = {line.split(b"|")[-1].strip().decode() for line in result.stderr.splitlines()}
    assert not imported & {"rich", "rich.console", "rofuse_mount.wire", "rofuse_mount.mounting"}


def test_listing_an_indexed_archive_imports_next_to_nothing(look: Rofuse) -> None:
    assert look("index", SAMPLE).returncode == 0
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "ls", "--json", "-d", str(SAMPLE), "/"],
        check=False,
        capture_output=True,
        env=look.environment,
        timeout=SECONDS,
    )
    imported = {line.split(b"|")[-1].strip().decode() for line in result.stderr.splitlines()}
    assert json.loads(result.stdout)["type"] == "dir"
    assert "rofuse_formats.index" in imported
    heavy = {"rich", "zstandard", "logging", "socket", "shutil", "rofuse_formats.streams"}
    assert not imported & heavy
