"""Runs a program that decodes what a stranger compressed, bounds what it may take, and ends with it.

This file is run by its path, in a process of its own: ``CONTROL MEMORY FILES PROGRAM ARGUMENT...``. CONTROL is the
descriptor of a socket; when its other end is closed, by whomever, the program is killed, and all that it started.
MEMORY: bytes of address space; FILES: bytes of a file that it writes. It ends with the program's status, or 128 and the
signal that ended it.

Rules
- It is the leader of a session that is only the program's: no terminal to ask for a password on.
- The program gains no privilege by being started, and dies with this process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
from typing import NoReturn

_SET_PARENT_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES = 1, 38  # linux/prctl.h
NOT_STARTED = 127
OF_SIGNAL = 128


def main(control: int, memory: int, files: int, command: list[str]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    os.set_inheritable(control, False)
    ours, theirs = os.pipe()
    for end in (ours, theirs):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    watcher = os.getpid()
    child = os.fork()
    if not child:
        _run(watcher, memory, files, command)
    for descriptor in (0, 1):
        os.close(descriptor)
    poll = select.poll()
    poll.register(control, 0)  # a hang-up is always told
    poll.register(ours, select.POLLIN)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else OF_SIGNAL - code)
        for descriptor, _events in poll.poll():
            if descriptor == control:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)  # or who reaps nothing, as PID 1 of a container, has a zombie
                os.killpg(0, signal.SIGKILL)
            os.read(ours, 64)


def _run(watcher: int, memory: int, files: int, command: list[str]) -> NoReturn:
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if os.getppid() == watcher:
            _bound(resource.RLIMIT_AS, memory)
            _bound(resource.RLIMIT_FSIZE, files)
            _bound(resource.RLIMIT_CORE, 0)
            os.execv(command[0], command)
    finally:
        os._exit(NOT_STARTED)


def _bound(what: int, most: int) -> None:
    _soft, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
