"""A few seconds of ``tests/soak``: everything that can be done to mounts, and nobody reads a wrong byte."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "run.py"


@pytest.mark.timeout(300)
def test_a_short_soak(fuse: None, root: None) -> None:
    missing = [tool for tool in ("7z", "xz", "zip", "zstd") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    command = [sys.executable, str(SOAK), "--minutes", "0.15", "--seed", "7"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong: 0, unexpected errors: 0" in done.stdout
