"""What the tests of the commands that look into archives share: running them, on a terminal too, and reading what they
write."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Iterator
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.mount.command import SECONDS, Rofuse

DATA = Path(__file__).parents[2] / "testdata"
SAMPLE, BASIC = DATA / "sample.tar.zst", DATA / "basic-posix.tar"

Object = dict[str, Any]


@pytest.fixture
def look(folder: Path) -> Rofuse:
    """``rofuse`` without what mounting takes."""
    return Rofuse(folder)


@pytest.fixture
def evil(folder: Path) -> Path:
    """An archive whose names and owners are made to be sent to a terminal."""
    path = folder / "evil.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a\x1b[31mred", "b\nline", "c\u202ebidi", os.fsdecode(b"d\xff")):
            info = tarfile.TarInfo(name)
            info.uname, info.size = "r\x1b]0;x\x07t", 3
            tar.addfile(info, BytesIO(b"abc"))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "to\x1b[2J"
        tar.addfile(info)
    return path


def objects(result: subprocess.CompletedProcess[str], status: int = 0) -> list[Object]:
    assert result.returncode == status, result
    assert result.stdout.isascii()
    return [json.loads(line, parse_float=Decimal) for line in result.stdout.splitlines()]


def lines(result: subprocess.CompletedProcess[str], status: int = 0) -> list[str]:
    assert result.returncode == status, result
    return result.stdout.splitlines()


def on_terminal(
    look: Rofuse, *arguments: object, columns: int = 80, wait: float = 0, status: int = 0, **environment: str
) -> str:
    """What the command writes to a terminal of so many columns, which is not read from before so many seconds."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {key: value for key, value in look.environment.items() if key not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [*look.command, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables | {"TERM": "xterm-256color"} | environment,
    )
    os.close(theirs)
    time.sleep(wait)
    output = b""
    try:
        while data := os.read(ours, 1 << 16):
            output += data
    except OSError:
        pass  # nobody has it open any more
    os.close(ours)
    assert process.wait(SECONDS) == status, output
    return output.decode().replace("\r\n", "\n")


# -- where there is next to nothing ------------------------------------------------------------------------------------

INSTALLED = shutil.which("rofuse-mount", path=os.path.dirname(sys.executable)) or ""


@pytest.fixture
def bare(fuse: None, folder: Path) -> Iterator[Rofuse]:
    """The installed command, with no HOME, no locale, and a cache directory that cannot be written."""
    if not INSTALLED:
        pytest.skip("needs the package to be installed")
    command = Rofuse(folder, (INSTALLED,))
    command.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_CACHE_HOME": "/proc/nowhere"}
    yield command
    command.close()


@pytest.fixture
def kept(bare: Rofuse) -> Rofuse:
    """With a cache directory that can be written."""
    bare.environment["XDG_CACHE_HOME"] = str(bare.cache)
    return bare
