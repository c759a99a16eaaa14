"""Going into the background, seen by the caller: when the command returns, with what, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

SECONDS = 30.0

PRELUDE = """
import os, sys, time
from rofuse_mount import background
me = background.start()
if isinstance(me, background.Parent):
    status, message = me.wait()
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)
"""


def command(child: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + child]


def run(child: str, pass_fds: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(child), check=False, capture_output=True, text=True, timeout=SECONDS, pass_fds=pass_fds
    )


@pytest.fixture
def survivor(tmp_path: Path) -> Iterator[Path]:
    """A file in which a background process leaves its pid; it is ended after the test."""
    path = tmp_path / "pid"
    yield path
    if path.exists():
        os.kill(int(path.read_text()), signal.SIGKILL)


LIVE_ON = """
open({path!r}, "w").write(str(os.getpid()))
me.ready()
time.sleep(1000)
"""


def test_the_command_returns_when_the_child_is_ready(survivor: Path) -> None:
    result = run(LIVE_ON.format(path=str(survivor)))  # also: the pipes were let go, or this would not return
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    pid = int(survivor.read_text())
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {os.devnull}
    assert os.getsid(pid) == pid


def test_a_hangup_does_not_end_it(survivor: Path) -> None:
    assert run(LIVE_ON.format(path=str(survivor))).returncode == 0
    pid = int(survivor.read_text())
    os.kill(pid, signal.SIGHUP)
    ignored = next(
        line for line in Path(f"/proc/{pid}/status").read_text().split("\n") if line.startswith("SigIgn")
    )
    assert int(ignored.split()[1], 16) >> (signal.SIGHUP - 1) & 1


def test_descriptors_of_the_caller_are_let_go_and_its_own_are_kept(survivor: Path, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    own = f"log = open({str(tmp_path / 'log')!r}, 'w')\n"
    result = run(own + LIVE_ON.format(path=str(survivor)), pass_fds=[write_end])
    os.close(write_end)
    assert result.returncode == 0
    assert os.read(read_end, 1) == b""  # nobody holds the other end
    os.close(read_end)
    pid = int(survivor.read_text())
    assert str(tmp_path / "log") in {
        os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")
    }


def test_a_failure_has_its_status_and_message() -> None:
    result = run("me.fail(13, 'damaged: \\udcff')")
    assert result.returncode == 13
    assert "damaged: " in result.stderr


def test_the_child_still_has_the_terminal_before_it_is_ready() -> None:
    result = run("print('working', flush=True); me.fail(1, '')")
    assert (result.returncode, result.stdout) == (1, "working\n")


def test_what_was_printed_before_is_printed_once() -> None:
    script = command("me.fail(2, '')")
    script[2] = "print('once')\n" + script[2]
    result = subprocess.run(script, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.stdout == "once\n"


@pytest.mark.parametrize(
    "end, told",
    [("os.kill(os.getpid(), 9)", "signal 9"), ("os._exit(7)", "status 7"), ("os._exit(0)", "status 0")],
)
def test_a_child_that_ends_silently_is_a_failure(end: str, told: str) -> None:
    result = run(end)
    assert result.returncode != 0
    assert told in result.stderr


def test_an_interrupted_wait_ends_the_child_too(survivor: Path) -> None:
    script = f"open({str(survivor)!r}, 'w').write(str(os.getpid())); os.write(1, b'x'); time.sleep(1000)"
    process = subprocess.Popen(command(script), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=SECONDS)  # returns when the child's end of the pipe is closed
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in complaint
    survivor.unlink()


def test_who_follows_when_the_parent_has_gone_closes_nothing_of_others() -> None:
    script = """
me.ready()
others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
if not os.fork():
    me.follow()
    for fd in others:
        os.fstat(fd)
    os.write(witness, b"open")
"""
    read_end, write_end = os.pipe()
    before = f"import os; witness = os.dup({write_end})\n"
    with subprocess.Popen([sys.executable, "-c", before + PRELUDE + script], pass_fds=[write_end]):
        os.close(write_end)
        assert os.read(read_end, 99) == b"open"
    os.close(read_end)


def test_a_child_that_nobody_waits_for_learns_it() -> None:
    script = """
os.write(witness, b"x")
while os.getppid() == parent:
    time.sleep(0.01)
try:
    me.ready()
except BrokenPipeError:
    os.write(witness, b"unwanted")
"""
    read_end, write_end = os.pipe()
    before = f"import os; parent = os.getpid(); witness = os.dup({write_end})\n"
    process = subprocess.Popen([sys.executable, "-c", before + PRELUDE + script], pass_fds=[write_end])
    os.close(write_end)
    assert os.read(read_end, 1) == b"x"
    process.kill()
    process.wait()
    assert os.read(read_end, 100) == b"unwanted"
    os.close(read_end)
