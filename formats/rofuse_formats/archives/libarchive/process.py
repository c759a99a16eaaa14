"""The helper process, seen from who needs it.

Strategy
A process is started (never forked: this one may have threads) and told what to open. Where the source is files, it
gets their descriptors; else it asks for bytes, and is answered by whoever waits for it. It ends when this object
goes.

Rules
- What it says is not believed: it is checked here, and one that says what cannot be is ended and counts as dead.
- ``DiedError`` is never a user's: who meets it starts another one, or tells of what it was doing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import weakref
from typing import Any

from rofuse_formats import errors
from rofuse_formats.archives.libarchive import protocol
from rofuse_formats.archives.libarchive.protocol import Line, Message
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source, files_of

SILENCE = 600
"""Seconds without a word after which a process is given up. One that is busy for nothing is ended earlier, by the
time of the processor that it takes."""
NICE = 5
"""How far a process steps back that nobody waits for."""
_CODE = """
import sys
sys.path[:0] = {path!r}
from rofuse_formats.archives.libarchive.helper import main
main({descriptor})
"""


class DiedError(Exception):
    """The process has ended, or had to be. ``str(error)``: how. ``was_killed``: by somebody else, as it seems."""

    def __init__(self, how: str, *, was_killed: bool = False) -> None:
        super().__init__(how)
        self.was_killed = was_killed


class Helper:
    """A process that has the archive open. Used by one thread at a time; to be closed."""

    def __init__(
        self,
        source: Source,
        kind: str,
        limits: Limits,
        *,
        start: int = 0,
        password: bytes | None = None,
        encoding: str | None = None,
    ) -> None:
        """``start``: where in the source the archive begins. Raises OSError."""
        self.position = 0
        """In the linear stream: behind the group that was decoded last."""
        self.progress = 0
        """Bytes of the source that it has come by."""
        self._source = source
        files = [(file.fd, file.size) for file in files_of(source)]
        ours, theirs = socket.socketpair()
        with theirs:
            code = _CODE.format(path=_path(), descriptor=theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *(fd for fd, _size in files)],
                cwd="/",
                env={name: os.environ[name] for name in ("LIBARCHIVE",) if name in os.environ},
            )
        ours.settimeout(SILENCE)
        self._line = Line(ours)
        self._end = weakref.finalize(self, _end, self._process, ours)
        order = {
            "kind": kind,
            "files": files,
            "size": source.size,
            "start": start,
            "password": password.decode("latin-1") if password is not None else None,
            "encoding": encoding,
            "max_window": limits.max_window,
        }
        try:
            self._line.send_json(protocol.OPEN, order)
        except EOFError:
            pass  # whoever asks will be told

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, kind: int, a: int = 0, b: int = 0) -> None:
        try:
            self._line.send(kind, a, b)
        except (EOFError, OSError):
            pass  # told by ``receive``

    def receive(self) -> Message:
        """What it says next, but for what is answered here. Raises DiedError, and what went wrong with the
        archive."""
        try:
            while True:
                message = self._line.receive()
                if message.kind == protocol.READ:
                    self._answer(message)
                elif message.kind == protocol.TICK:
                    self.progress = min(max(message.a, 0), self._source.size)
                    self._source.pread(0, self.progress)  # who watches the source sees how far it is
                elif message.kind == protocol.ERROR:
                    raise error_of(message.json())
                else:
                    return message
        except EOFError:
            how, was_killed = self._how()
            raise DiedError(how, was_killed=was_killed) from None
        except TimeoutError:
            raise DiedError(f"was silent for {SILENCE} seconds") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DiedError(f"spoke nonsense ({error})") from None

    def _answer(self, message: Message) -> None:
        size, offset = message.a, message.b
        if not (0 < size <= protocol.LARGEST and 0 <= offset <= self._source.size):
            raise ValueError("wants bytes that are none")
        self._line.send(protocol.CONTENT, 0, 0, self._source.pread(size, offset))

    def _how(self) -> tuple[str, bool]:
        self.close()
        code = self._process.returncode
        if code >= 0:
            return f"ended with status {code}", False
        if code == -signal.SIGXCPU:
            return "took too much time for nothing", False
        return f"was ended by signal {-code}", code in (-signal.SIGKILL, -signal.SIGTERM)

    def step_back(self, back: bool) -> None:
        """Whether nobody waits for what it does: then others' work goes first."""
        try:
            os.setpriority(os.PRIO_PROCESS, self.pid, NICE if back else 0)
        except OSError:
            pass  # it has ended; or what has stepped back may not step forward again, which takes a privilege

    def end(self) -> None:
        """Ends it, whoever waits for it. By any thread."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        if self._end.alive:
            self._line.close()
            try:
                self._process.wait(0.2)  # it goes by itself, and says how it went where it has gone already
            except subprocess.TimeoutExpired:
                pass
            self._end()


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    if process.poll() is None:
        process.kill()
    process.wait()


def error_of(trouble: Any) -> FormatError:
    """What went wrong, as the helper told it. Raises ValueError, TypeError for what is none."""
    name, message = trouble
    kind = getattr(errors, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, FormatError) and isinstance(message, str)):
        raise ValueError("no error that is known here")
    line = " ".join(message.split())[:1000]
    return kind(line) if kind is not DamagedError else DamagedError(line)


def _path() -> list[str]:
    """Where Python finds what is imported here."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(errors.__file__)))
    return [own, *(path for path in sys.path if os.path.isabs(path) and path != own)]
