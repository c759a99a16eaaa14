"""Going into the background: the command returns when the mount is usable, or with the reason why it is not.

Strategy
``start()`` forks before there is any thread. The child does all the work, indexing and mounting included, still on the
caller's terminal: it may draw, ask for a password, and Ctrl-C reaches it. The parent sleeps on a pipe. When the mount
is served, ``Child.ready()`` leaves the terminal and lets the parent go; ``Child.fail()`` gives it an exit status and a
message instead. A child that dies silently is a failure too.

Rules
- After ``ready()`` the child has a session of its own, ``/`` as its directory, /dev/null as its standard streams,
  ignores SIGHUP, and holds no descriptor that it inherited: a pipe of the caller's that stayed open would keep its
  reader waiting.
- What arrives through the pipe is one byte of exit status and the message; 0 and nothing is success.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from signal import SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIGHUP, SIGINT, SIGTERM, pthread_sigmask, signal

_MESSAGE_MAX = 1 << 16


class Parent:
    """The process that the caller waits for."""

    __slots__ = ("_mask", "_pid", "_pipe")

    def __init__(self, pid: int, pipe: int, mask: Iterable[int]) -> None:
        self._pid = pid
        self._pipe = pipe
        self._mask = mask  # of signals, restored where an interruption is taken care of

    def wait(self) -> tuple[int, str]:
        """Sleeps until the child is ready or has failed: exit status and message (0 and "" when it serves). When
        this wait is interrupted, the child is ended too."""
        try:
            pthread_sigmask(SIG_SETMASK, self._mask)
            report = self._read()
        except BaseException:
            self._terminate()
            raise
        if report:
            return report[0], report[1:].decode("utf-8", "surrogateescape")
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        return max(code, 1), f"the server ended with {how} before the mount was ready"

    def end(self) -> None:
        """Tells the child to end, when it has been waited for, and returns when it has."""
        self._terminate()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            return

    def _read(self) -> bytes:
        report = b""
        while len(report) < _MESSAGE_MAX and (more := os.read(self._pipe, _MESSAGE_MAX)):
            report += more
        os.close(self._pipe)
        return report

    def _terminate(self) -> None:
        try:
            os.kill(self._pid, SIGTERM)
        except ProcessLookupError:
            pass


class Child:
    """The process that is to serve."""

    __slots__ = ("_inherited", "_pipe")

    def __init__(self, pipe: int, inherited: list[int]) -> None:
        self._pipe = pipe
        self._inherited = inherited

    def ready(self) -> None:
        """The mount is usable: leaves the terminal and lets the parent go. Raises BrokenPipeError when nobody waits
        any more: then the mount is not wanted either."""
        self._leave_terminal()
        self._report(0, "")

    def follow(self) -> None:
        """For a child of this process that is to stay with it: leaves the terminal and says nothing to the parent."""
        self._leave_terminal()
        self._hang_up()

    def _leave_terminal(self) -> None:
        signal(SIGHUP, SIG_IGN)
        os.setsid()
        os.chdir("/")
        _flush()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in 0, 1, 2:
            os.dup2(null, fd)
        if null > 2:
            os.close(null)
        for fd in self._inherited:
            if _is_open(fd) and os.get_inheritable(fd):
                os.close(fd)

    def fail(self, status: int, message: str) -> None:
        """There will be no mount. ``status`` (1 to 255) is the command's exit status."""
        try:
            self._report(status, message)
        except BrokenPipeError:
            return  # nobody to tell

    def _report(self, status: int, message: str) -> None:
        report = bytes((status,)) + message.encode("utf-8", "surrogateescape")[: _MESSAGE_MAX - 1]
        try:
            while report:
                report = report[os.write(self._pipe, report) :]
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        """Once: later its number is another descriptor's."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def start() -> Parent | Child:
    """Forks; tells each of the two processes who it is. There must be no thread yet."""
    _flush()
    inherited = [fd for fd in _open_descriptors() if fd > 2 and os.get_inheritable(fd)]
    read_end, write_end = os.pipe()
    mask = pthread_sigmask(SIG_BLOCK, (SIGINT, SIGTERM))
    pid = os.fork()
    if pid:
        os.close(write_end)
        return Parent(pid, read_end, mask)
    pthread_sigmask(SIG_SETMASK, mask)
    os.close(read_end)
    return Child(write_end, inherited)


def _flush() -> None:
    """What is buffered belongs to the terminal, once."""
    for stream in sys.stdout, sys.stderr:
        if stream is not None:
            stream.flush()


def _open_descriptors() -> list[int]:
    """Python's own are close-on-exec; those that are not came with the process."""
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
