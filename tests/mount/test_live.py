"""Live mounts through the command: status, take-over, dead mounts, run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mount.command import COMMAND, Result, Rofuse, becomes, failed, rofuse
from tests.mount.conftest import shell
from tests.mount.test_supervised import is_gone

__all__ = ["rofuse"]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "testdata" / "sample.tar.zst"
KEYS = """source mountpoint fstype supervisor_pid server_pid worker_pids started restarts takeovers requests pushed
    cache rss""".split()


@pytest.fixture(autouse=True)
def runtime(rofuse: Rofuse) -> Path:
    """A runtime directory of the test's own."""
    path = rofuse.folder / "run"
    path.mkdir(mode=0o700)
    rofuse.environment["XDG_RUNTIME_DIR"] = str(path)
    return path


def status(rofuse: Rofuse, *mountpoints: Path) -> list[dict[str, object]]:
    result = rofuse("status", "--json", *mountpoints)
    assert result.returncode == 0, result
    return [json.loads(line) for line in result.stdout.splitlines()]


def end(rofuse: Rofuse, mountpoint: Path) -> None:
    """Kills all that serves a mount, the supervisor first."""
    (found,) = status(rofuse, mountpoint)
    pids = [found["supervisor_pid"], *found["worker_pids"]]  # type: ignore[misc]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert becomes(lambda: all(is_gone(pid) for pid in pids))


def test_status(rofuse: Rofuse, mountpoint: Path) -> None:
    assert (rofuse("status").returncode, status(rofuse)) == (0, [])
    assert rofuse("--workers", 2, SAMPLE, mountpoint).returncode == 0
    assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
    (found,) = status(rofuse)
    assert list(found) == KEYS
    assert (found["source"], found["mountpoint"]) == (str(SAMPLE), str(mountpoint))
    assert (found["fstype"], found["restarts"], found["takeovers"]) == ("fuse.rofuse", 0, 0)
    workers = found["worker_pids"]
    assert isinstance(workers, list) and len(workers) == 2 and found["server_pid"] == workers[0]
    requests = found["requests"]
    assert isinstance(requests, dict)
    assert requests["READ"]["count"] == 1
    assert set(requests["READ"]) == {"count", "median_us", "p99_us"}
    text = rofuse("status", mountpoint).stdout
    assert str(mountpoint) in text and "READ" in text
    assert "not a mountpoint" in failed(rofuse("status", rofuse.folder), 10)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert status(rofuse) == []


def test_restarts_are_counted(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    (before,) = status(rofuse)
    os.kill(before["server_pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
    (after,) = status(rofuse)
    assert after["restarts"] == 1
    assert after["server_pid"] != before["server_pid"]
    assert after["supervisor_pid"] == before["supervisor_pid"]


def test_the_supervisor_is_small(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    (found,) = status(rofuse)
    lines = Path(f"/proc/{found['supervisor_pid']}/status").read_text().splitlines()
    (resident,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    assert resident <= 15 << 10


def test_a_takeover_is_refused_where_the_archive_is_another(
    rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    archive = folder / "a.tar.zst"
    shutil.copy(SAMPLE, archive)
    assert rofuse(archive, mountpoint).returncode == 0
    assert rofuse("takeover", mountpoint).returncode == 0
    archive.rename(folder / "old")
    assert rofuse("takeover", mountpoint).returncode == 0  # a name says nothing while nothing else has it
    shutil.copy(SAMPLE, archive)
    assert "another file" in failed(rofuse("takeover", mountpoint), 1)
    archive.unlink()
    with (folder / "old").open("r+b") as file:
        file.write(b"\0")
    assert "has changed" in failed(rofuse("takeover", mountpoint), 1)
    (found,) = status(rofuse, mountpoint)
    assert found["takeovers"] == 2
    assert shell("ls", mountpoint).stdout == "orchard\n"
    assert "not a mountpoint" in failed(rofuse("takeover", folder), 10)


def test_a_server_that_a_takeover_started_is_restarted(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    assert rofuse("takeover", "-s", mountpoint).returncode == 0
    (found,) = status(rofuse, mountpoint)
    os.kill(found["server_pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


WITHOUT_PYTHON = "import sys; from rofuse_mount.cli import main; sys.executable = '/nowhere/python'; main()"


@pytest.mark.parametrize("can_be_lean", [True, False])
def test_a_server_that_is_killed_at_once_is_replaced(
    rofuse: Rofuse, mountpoint: Path, runtime: Path, can_be_lean: bool
) -> None:
    """While the supervisor is still what has mounted, and where it must remain that."""
    if not can_be_lean:
        rofuse.command = (sys.executable, "-c", WITHOUT_PYTHON)
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    (facts,) = (runtime / "rofuse-mount").glob("*.json")
    supervisor = json.loads(facts.read_text())["supervisor_pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")

    def is_replaced(server: str) -> bool:
        return is_gone(int(server)) and len(children.read_text().split()) == 1

    for _ in range(2):
        (server,) = children.read_text().split()
        os.kill(int(server), signal.SIGKILL)
        assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
        # What the kernel has cached it gives out before the server has quite ended.
        assert becomes(partial(is_replaced, server))
    (found,) = status(rofuse)
    assert (found["supervisor_pid"], found["restarts"]) == (supervisor, 2)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_signal_ends_a_mount_that_has_just_begun(rofuse: Rofuse, mountpoint: Path, runtime: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    (facts,) = (runtime / "rofuse-mount").glob("*.json")
    os.kill(json.loads(facts.read_text())["supervisor_pid"], signal.SIGTERM)
    assert becomes(lambda: not rofuse.mounts() and not facts.exists())


def test_dead_mounts_are_cleared(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    end(rofuse, mountpoint)
    assert shell("ls", mountpoint).returncode == 2
    assert status(rofuse) == []
    again = rofuse(SAMPLE, mountpoint)
    assert again.returncode == 0
    assert "dead mount" in again.stderr
    assert len(rofuse.mounts()) == 1
    end(rofuse, mountpoint)
    assert rofuse("umount", mountpoint).returncode == 0
    assert rofuse.mounts() == []


# --- run ----------------------------------------------------------------------------------------


def remains(rofuse: Rofuse) -> list[str]:
    """What a run has left behind: directories, mounts, processes."""
    folders = [str(path) for path in rofuse.folder.glob("rofuse-run-*")]
    mounts = [entry.mountpoint.decode() for entry in rofuse.mounts()]
    processes = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"rofuse_mount\0run" in words and os.fsencode(rofuse.folder) in words and not is_gone(int(pid)):
            processes.append(pid)
    return folders + mounts + processes


@pytest.fixture
def run(rofuse: Rofuse) -> Iterator[Rofuse]:
    """The archive lies in the test's folder, so that processes can be found by it."""
    shutil.copy(SAMPLE, rofuse.folder / "a.tar.zst")
    rofuse.environment["TMPDIR"] = str(rofuse.folder)
    yield rofuse
    assert becomes(lambda: remains(rofuse) == []), remains(rofuse)


def test_run(run: Rofuse) -> None:
    archive = run.folder / "a.tar.zst"
    result = run("run", archive, "--", "sh", "-c", "pwd; echo $ROFUSE_MOUNTPOINT; ls; exit 7")
    assert result.returncode == 7
    here, there, name = result.stdout.splitlines()
    assert (here, name) == (there, "orchard")
    assert not Path(here).exists()
    assert run("run", archive, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert "not found" in failed(run("run", archive, "--", "no-such-command"), 127)
    assert "CMD" in failed(run("run", archive), 2)


def test_run_at_a_directory(run: Rofuse) -> None:
    archive, at = run.folder / "a.tar.zst", run.folder / "at"
    for _ in range(2):
        result = run("run", "--at", at, archive, "--", "sh", "-c", f"pwd; ls {at}")
        assert result.stdout.splitlines() == [str(run.folder), "orchard"]
        assert not at.exists()
    at.mkdir()
    assert run("run", archive, "--at", at, "--", "true").returncode == 0
    assert at.is_dir()
    (at / "file").touch()
    assert "not empty" in failed(run("run", "--at", at, archive, "--", "true"), 10)


@pytest.mark.parametrize("victim", ["the command", "rofuse-mount"])
def test_nothing_is_left_of_a_run_that_is_killed(victim: str, run: Rofuse) -> None:
    process = run.start(
        "run", run.folder / "a.tar.zst", "--", "sh", "-c", "echo $(pwd); sleep 1000 & sleep 1000"
    )
    assert process.stdout is not None
    assert "rofuse-run" in process.stdout.readline()
    if victim == "rofuse-mount":
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    else:
        process.send_signal(signal.SIGTERM)  # passed on
        assert process.wait(30) == 128 + signal.SIGTERM
    process.communicate()


def test_a_run_outlives_its_server(run: Rofuse) -> None:
    words = ["sh", "-c", "ls; read line; cat orchard/README"]
    with subprocess.Popen(
        [*COMMAND, "run", str(run.folder / "a.tar.zst"), "--", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=run.environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "orchard\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        servers = [
            int(pid)
            for child in children
            for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()
            if b"rofuse_mount\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(servers) == 1
        os.kill(servers[0], signal.SIGKILL)
        out, _ = process.communicate("\n", timeout=30)
        assert out
        assert process.returncode == 0


def as_user(rofuse: Rofuse, uid: int, *words: object) -> Result:
    """Runs the command as an ordinary user. The interpreter of the tests may lie where that user cannot go: what is
    imported must be there before."""
    code = f"""
import os, sys
import rofuse_mount.cli.commands.run, rofuse_mount.cli.commands.mount, rofuse_mount.cli.commands.umount
import rofuse_mount.cli.progress, rofuse_formats.indexing, rofuse_mount.figures, rofuse_mount.mounting.private
import ctypes, difflib, json, locale, logging, random, resource, select, shutil, signal, socket, syslog, tempfile
import traceback
import rofuse_formats
rofuse_formats.formats()
open({str(ROOT / "testdata" / "sample.tar.zst")!r}, "rb").close()
rofuse_formats.open({str(ROOT / "testdata" / "sample.tar.zst")!r}, keep=False)
os.setgroups([])
os.setresgid({uid}, {uid}, {uid})
os.setresuid({uid}, {uid}, {uid})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as a program that was executed by this user is
from rofuse_mount.cli import main
main(sys.argv[1:])
"""
    return subprocess.run(
        [COMMAND[0], "-c", code, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**rofuse.environment, "PATH": "/bin", "XDG_RUNTIME_DIR": ""},
    )


def test_an_ordinary_user_runs(run: Rofuse, user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run.folder.chmod(0o777)
    words = ["sh", "-c", "id -u; ls; stat -c %u orchard; exit 3"]
    result = as_user(run, user, "run", "-o", f"uid={user}", run.folder / "a.tar.zst", "--", *words)
    assert (result.stderr, result.stdout.split(), result.returncode) == (
        "",
        [str(user), "orchard", str(user)],
        3,
    )


def test_an_ordinary_user_s_mount(rofuse: Rofuse, user: int) -> None:
    """Through fusermount3. The interpreter cannot be executed again by that user, so the supervisor stays as it is."""
    rofuse.folder.chmod(0o777)
    archive, mountpoint = rofuse.folder / "a.tar.zst", rofuse.folder / "users"
    shutil.copy(SAMPLE, archive)
    result = as_user(rofuse, user, archive, mountpoint)
    assert (result.returncode, result.stderr) == (0, "")
    (entry,) = rofuse.mounts()
    assert b"user_id=%d" % user in entry.super_options
    assert shell("ls", mountpoint, uid=user).stdout == "orchard\n"
    (found,) = status(rofuse, mountpoint)
    os.kill(found["server_pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert shell("cat", mountpoint / "orchard" / "README", uid=user).returncode == 0
    (found,) = status(rofuse, mountpoint)
    assert found["restarts"] == 1
    assert "another user" in failed(rofuse("takeover", mountpoint), 15)
    assert as_user(rofuse, user, "umount", "--wait", mountpoint).returncode == 0
    assert rofuse.mounts() == []
    assert not mountpoint.exists()
    assert becomes(lambda: is_gone(found["supervisor_pid"]))  # type: ignore[arg-type]
