"""The list of live mounts: an entry lives as long as its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rofuse_mount import runtime

HOLD = """
import sys
from rofuse_mount import runtime
registration = runtime.Registration(7, {"source": "s"})
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "rofuse-mount"


def hold() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_an_entry_lives_as_long_as_its_process(folder: Path) -> None:
    with hold() as process:
        assert runtime.read(7) == {"source": "s"}
        farewell = runtime.Farewell(7)
        process.kill()
        farewell.wait()
    assert (folder / "7.json").exists()
    assert runtime.read(7) is None


def test_a_clean_end_leaves_nothing(folder: Path) -> None:
    registration = runtime.Registration(3, {})
    assert runtime.read(3) == {}
    registration.close()
    assert list(folder.iterdir()) == []
    runtime.Farewell(3).wait()


def test_a_left_over_entry_is_taken_over() -> None:
    with hold() as process:
        process.kill()
    registration = runtime.Registration(7, {"source": "new"})
    assert runtime.read(7) == {"source": "new"}
    registration.close()


def test_a_number_that_is_given_out_again_before_its_server_has_ended(folder: Path) -> None:
    with hold() as process:
        registration = runtime.Registration(7, {"source": "new"})
        assert registration.fd >= 0
        assert runtime.read(7) == {"source": "new"}
        farewell = runtime.Farewell(7)
        process.communicate()  # and nothing that was the new one's goes with it
        assert runtime.read(7) == {"source": "new"}
        registration.close()
        farewell.wait()
    assert list(folder.iterdir()) == []


def test_the_files_of_a_later_mount_are_left_alone(folder: Path) -> None:
    first = runtime.Registration(7, {"source": "first"})
    second = runtime.Registration(7, {"source": "second"})
    first.close()
    assert sorted(path.name for path in folder.iterdir()) == ["7.json", "7.socket"]
    assert runtime.read(7) == {"source": "second"}
    second.close()
    assert list(folder.iterdir()) == []


def test_a_directory_that_others_can_write_is_not_used(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    registration = runtime.Registration(7, {})
    assert list(folder.iterdir()) == []
    assert runtime.read(7) is None
    registration.close()


def test_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runtime.directory() == f"{tmp_path}/rofuse-mount"
    tmp_path.chmod(0o777)
    other = "/run/rofuse-mount" if os.getuid() == 0 else f"/tmp/rofuse-mount-{os.getuid()}"
    assert runtime.directory() == other
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime.directory(12345) == "/tmp/rofuse-mount-12345"


def test_a_farewell_takes_no_longer_than_it_may() -> None:
    registration = runtime.Registration(9, {})
    farewell = runtime.Farewell(9)
    farewell.wait(0.01)  # it lives on
    assert runtime.read(9) == {}
    registration.close()
    runtime.Farewell(9).wait(60)
