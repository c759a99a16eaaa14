"""Runs the installed command, and cleans up behind it whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from rofuse_mount import mountinfo, mounting

SECONDS = 60
COMMAND = (sys.executable, "-m", "rofuse_mount")

Result = subprocess.CompletedProcess[str]


class Rofuse:
    """``rofuse(...)`` runs ``rofuse-mount`` with those arguments, in ``folder``, with a cache directory of its own, and
    without a controlling terminal. ``command``: how it is called."""

    def __init__(self, folder: Path, command: tuple[str, ...] = COMMAND) -> None:
        self.folder, self.command = folder, command
        self.cache = folder / "cache"
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(self.cache), "HOME": str(folder)}

    def __call__(
        self,
        *arguments: object,
        environment: dict[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> Result:
        """Runs it to its end, which for a mount is when it is usable."""
        with subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            cwd=self.folder,
            env=self.environment | (environment or {}),
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.args, process.returncode, out, err)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts it and returns: for what stays in the foreground."""
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def mounts(self) -> list[mountinfo.MountEntry]:
        return [entry for entry in mountinfo.read() if entry.mountpoint.startswith(os.fsencode(self.folder))]

    def indexes(self) -> list[Path]:
        return sorted(self.cache.glob("rofuse-mount/*"))

    def close(self) -> None:
        for entry in reversed(self.mounts()):
            mounting.abort(entry.minor)
            subprocess.run(
                ["umount", "-l", entry.mountpoint], check=False, timeout=SECONDS, capture_output=True
            )


def failed(result: Result, status: int) -> str:
    """The one line that a failure prints, checked to be one and to come with ``status``."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("rofuse-mount: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def becomes(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def rofuse(fuse: None, folder: Path) -> Iterator[Rofuse]:
    command = Rofuse(folder)
    yield command
    command.close()
