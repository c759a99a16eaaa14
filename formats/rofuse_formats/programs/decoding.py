"""Decoding by a program.

Strategy
A thread feeds the source to the program; who reads takes what comes out of it, a pipe's worth at a time. So nobody
waits for a program that waits for him.

Rules
- A program that neither takes nor gives anything for ``SILENCE`` seconds is ended, whatever it complains of.
- What comes before an error is given out first. A program that checks what it decoded says so at its end: all of it is
  suspect then.
- When the decoder goes, so does the program, and the thread after it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

from rofuse_formats import cache
from rofuse_formats.errors import DamagedError, FormatError, LimitError, MissingLibraryError, UnsupportedError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.programs import Program, watching
from rofuse_formats.source import Source
from rofuse_formats.units import FAIR, Findings, Place, Unit

SILENCE = 600  # seconds
MEMORY = 256 * MIB
"""Bytes of address space beside three windows."""
_PIECE = 256 << 10
_MOST_COMPLAINT = 4096
_OF_MEMORY = ("memory", "alloc")


class _Feed:
    """What the thread has come to. ``position``: bytes of the source that it has read."""

    def __init__(self, source: Source, end: int, pipe: int) -> None:
        self.position = 0
        self.error: Exception | None = None
        self._source, self._end, self._pipe = source, end, pipe

    def run(self) -> None:
        try:
            while data := self._source.pread(min(_PIECE, self._end - self.position), self.position):
                view = memoryview(data)
                while view:
                    written = os.write(self._pipe, view)
                    view, self.position = view[written:], self.position + written
        except BrokenPipeError:
            pass  # the program has ended, and how is asked of itself
        except (OSError, FormatError) as error:
            self.error = error
        finally:
            os.close(self._pipe)


class _Decoder:
    """``units.Decoder``. Raises MissingLibraryError, UnsupportedError where the program cannot or may not be
    started."""

    window = MIB  # of it, as far as that is this process's memory

    def __init__(self, program: Program, source: Source, place: Place, limits: Limits) -> None:
        self.findings = Findings()
        self._program = program
        path = program.find()
        if path is None:
            raise MissingLibraryError(f"what is compressed by {program.name} {program.lack}")
        if not limits.programs:
            raise UnsupportedError(
                f"needs the program {program.name}, which --no-programs keeps from being started"
            )
        self._folder, self._files = _room() if program.writes else ("", 0)
        memory = MEMORY + 3 * limits.max_window
        control, theirs = socket.socketpair()
        with theirs:
            words = map(str, (theirs.fileno(), memory, self._files, path, *program.arguments))
            self._process = process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", watching.__file__, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                cwd="/",
                env={"PATH": os.path.dirname(path), "LC_ALL": "C", "LRZIP": "NOCONFIG"}
                | ({"TMPDIR": self._folder} if self._folder else {}),
                start_new_session=True,
            )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._close = weakref.finalize(self, _end, process, control)
        self._feed = _Feed(source, place.end, os.dup(process.stdin.fileno()))
        process.stdin.close()
        threading.Thread(target=self._feed.run, name=program.name, daemon=True).start()
        self._output, self._errors = process.stdout.fileno(), process.stderr.fileno()
        self._complaint = b""
        self._poll = select.poll()
        for descriptor in (self._output, self._errors):
            self._poll.register(descriptor, select.POLLIN)

    @property
    def position(self) -> int:
        return self._feed.position

    def read(self, most: int, /) -> bytes:
        if not self._close.alive:
            return b""
        taken, since = self.position, time.monotonic()
        while True:
            ready = {descriptor for descriptor, _events in self._poll.poll(SILENCE * 1000)}
            if self.position != taken:
                taken, since = self.position, time.monotonic()
            elif self._output not in ready and time.monotonic() - since >= SILENCE:
                self._close()
                raise DamagedError(f"{self._program.name} did nothing for {SILENCE} seconds", taken)
            if self._errors in ready:
                text = os.read(self._errors, _MOST_COMPLAINT)
                self._complaint = (self._complaint + text)[-_MOST_COMPLAINT:]
                if not text:
                    self._poll.unregister(self._errors)
            if self._output in ready:
                data = os.read(self._output, min(most, _PIECE))
                if not data:
                    self._finish()
                return data

    def _finish(self) -> None:
        """Raises what went wrong, where something did."""
        try:
            code = self._process.wait(SILENCE)
        except subprocess.TimeoutExpired:
            code = watching.OF_SIGNAL + signal.SIGKILL
        self._complaint = (self._complaint + _rest(self._errors))[-_MOST_COMPLAINT:]
        self._close()
        if self._feed.error is not None:
            raise self._feed.error
        if code:
            raise self._trouble(code)

    def _trouble(self, code: int) -> FormatError:
        name, offset = self._program.name, self.position
        if code == watching.OF_SIGNAL + signal.SIGXFSZ:
            where = f" in {self._folder}" if self._folder else ""
            return LimitError(
                f"{name} writes a file of more than the {self._files / MIB:,.0f} MiB that it may{where}"
            )
        lines = self._complaint.decode("utf-8", "backslashreplace").replace("\r", "\n").splitlines()
        words = [" ".join(line.split())[:200] for line in lines if line.strip()]
        told = "; ".join(words[-2:]) or f"ended with status {code}"
        if any(word in told.lower() for word in _OF_MEMORY):
            return LimitError(f"{name}: {told} (--max-window raises what memory it may take)")
        return DamagedError(f"{name}: {told}, before offset {offset}", offset)


def _room() -> tuple[str, int]:
    """Where a temporary file may be made, and bytes that it may have: half of what is free there."""
    folder = cache.directory()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:
        folder = "/var/tmp"
    if not os.access(folder, os.W_OK):
        folder = "/var/tmp"
    place = os.statvfs(folder)
    return folder, place.f_bavail * place.f_frsize // 2


def _rest(descriptor: int) -> bytes:
    """What there is still to read of a pipe whose writer has ended."""
    os.set_blocking(descriptor, False)
    found = b""
    try:
        while data := os.read(descriptor, _MOST_COMPLAINT):
            found = (found + data)[-_MOST_COMPLAINT:]
    except BlockingIOError:
        pass  # somebody else has it open, and says nothing now
    return found


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Ends the program, if it has not ended, by ending the talk with who watches it."""
    control.close()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


class ProgramKind:
    """``units.Kind``"""

    def __init__(self, program: Program) -> None:
        self.magic = b"RO" + program.name.encode()[:5].ljust(5, b"\0") + b"\1"
        self._program = program

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        yield Unit(Place(0, source.size), FAIR + 1, exact=False)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(self._program, source, place, limits)
