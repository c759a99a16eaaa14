"""The progress bar: on a terminal, after a while, and nowhere else."""

from __future__ import annotations

import gzip
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

DRAW = """
import sys, time
from rofuse_mount.cli import progress
progress._PATIENCE, progress._INTERVAL = {patience}, 0
bar = progress.Progress("indexing", "/tmp/[a].tar")
for done in range(0, 1001, 100):
    bar(done << 20, 1000 << 20)
    time.sleep(0.01)
print("rich" in sys.modules)
bar.close()
"""


def draw(*, terminal: bool, patience: float = 0, **environment: str) -> tuple[str, str]:
    """What appears on standard error, and whether rich was imported."""
    ours, theirs = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-c", DRAW.format(patience=patience)],
        stdout=subprocess.PIPE,
        stderr=theirs if terminal else subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
        check=True,
        text=True,
        timeout=60,
    )
    os.set_blocking(ours, False)
    try:
        drawn = os.read(ours, 1 << 16).decode()
    except BlockingIOError:
        drawn = ""
    os.close(ours)
    os.close(theirs)
    return drawn, process.stdout.strip()


def test_a_terminal_shows_how_far_it_is_and_how_fast() -> None:
    drawn, imported = draw(terminal=True)
    assert imported == "True"
    assert "indexing [a].tar" in drawn
    assert "MiB" in drawn
    assert "/s" in drawn


def test_nothing_is_drawn_of_short_work_or_where_nobody_looks() -> None:
    assert draw(terminal=True, patience=60) == ("", "False")
    assert draw(terminal=False) == ("", "False")
    assert draw(terminal=True, TERM="dumb") == ("", "False")


def test_colour_obeys_no_color() -> None:
    assert "\x1b[3" not in draw(terminal=True, NO_COLOR="1")[0]


def test_the_indexing_process_dies(tmp_path: Path) -> None:
    """It is told in one line, whatever ended it."""
    code = f"""
import os, signal
from rofuse_formats import indexing
indexing.write_index = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
from rofuse_mount.cli import main
main(["dump", {str(tmp_path / "a.tar.gz")!r}])
"""
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(10240)))
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr == f"rofuse-mount: {tmp_path}/a.tar.gz: indexing ended with signal 9\n"


def test_it_fits_the_terminal_whatever_the_name_is() -> None:
    for columns in (50, 80):
        drawn, _ = draw(terminal=True, COLUMNS=str(columns), NO_COLOR="1")
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
        frames = [frame for frame in re.split(r"[\r\n]+", plain) if frame.strip()]
        assert frames
        assert max(map(len, frames)) <= columns
        assert "100%" in frames[-1]
        assert "/s" in frames[-1]
        assert "0:00" in frames[-1]
