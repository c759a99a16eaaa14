"""For whom something is read, and whether that one still waits.

Strategy
A byte of an archive may be gigabytes of decoding away, and who asked for it may be killed meanwhile. The kernel says
nothing of that to who answers (a page that is read ahead has nobody who could be interrupted), so who decodes looks now
and then whether the process that asked is still there. A thread says for which one it reads (``reading_for``); what may
take long asks whether that is of any use (``check``).

Rules
- Nothing is given up but on evidence. Who says for whom a thread reads knows that the number is that process's here.
- A signal that its receiver survives gives nothing up: programs do not expect a file's read to be interrupted.
- Asking costs nothing where it was done less than ``PERIOD`` ago, or nobody is named.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINTR
from time import monotonic
from typing import NoReturn

PERIOD = 0.2  # seconds


class _Reader(threading.local):
    """Of this thread. ``due``: when it is to be looked for again; 0: it was not yet."""

    pid = 0
    due = 0.0


_reader = _Reader()


def reading_for(pid: int) -> None:
    """This thread reads for that process (a thread of it will do) from now on; 0: for nobody who could be gone."""
    _reader.pid, _reader.due = pid, 0.0


def is_in_vain() -> bool:
    """Whether the process this thread reads for has come to its end; once it has, ever after."""
    reader = _reader
    if not reader.pid:
        return False
    now = monotonic()
    if now < reader.due:
        return False
    is_first = not reader.due
    if not _exists(reader.pid) or (not is_first and _is_dying(reader.pid)):
        return True
    reader.due = now + PERIOD
    return False


def check() -> None:
    """Raises InterruptedError where going on is in vain."""
    if is_in_vain():
        give_up()


def give_up() -> NoReturn:
    """Raises InterruptedError."""
    raise InterruptedError(EINTR, "whoever asked for it has ended")


@contextmanager
def held(lock: threading.Lock | threading.Semaphore) -> Iterator[None]:
    """A lock, waited for as long as that makes sense. Raises InterruptedError."""
    if not lock.acquire(blocking=not _reader.pid):
        while not lock.acquire(timeout=PERIOD):
            check()
    try:
        yield
    finally:
        lock.release()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _is_dying(pid: int) -> bool:
    """It may wait for the very reply that is given up. A zombie waits for nothing."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            status = file.read(1 << 14)
    except OSError:
        return False
    _, _, state = status.partition(b"\nState:\t")
    pending = _signals(status, b"\nSigPnd:\t") | _signals(status, b"\nShdPnd:\t")
    return bool(pending & _KILL) or state[:1] in (b"Z", b"X")


# SIGKILL in a set of signals; what kills a process otherwise becomes that (signal(7), proc(5))
_KILL = 1 << 8


def _signals(status: bytes, title: bytes) -> int:
    _, _, rest = status.partition(title)
    try:
        return int(rest.partition(b"\n")[0] or b"0", 16)
    except ValueError:
        return 0
