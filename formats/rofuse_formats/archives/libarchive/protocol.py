"""What the helper process and who asks it say to each other over a stream socket.

A message is a header (kind, bytes of its body, two numbers) and a body. To the helper: ``OPEN``, then ``LIST`` or
``DATA``, and ``CONTENT`` as the answer to each ``READ``. From it: ``READ`` where it has no descriptor of the source,
and the rest.

Rules
- Neither side believes the other: the body's size is bounded, a kind or a number that cannot be ends the
  conversation. The helper decodes what a stranger wrote; it may have become that stranger's.
- Bodies are bytes of the archive, or JSON in which bytes are Latin-1 text.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections import deque
from struct import Struct
from typing import Any, NamedTuple

HEADER = Struct("<IIqq")
LARGEST = 1 << 24
MOST_PARTS = 512
"""Of a message's body. A system call takes 1024."""
_MOST_WAITING = 16
_MOST_QUEUED = 16

# to the helper
OPEN, LIST, DATA, CONTENT = 1, 2, 3, 4
"""``OPEN``: JSON (what ``process.Helper`` is made with). ``LIST``: describe the entries, and tell how much the groups
of a bytes or more have in all. ``DATA``: decode the group with byte a of the linear stream; b: whether one of its
entries has killed a helper. ``CONTENT``: bytes of the source."""
# from the helper
READ, ENTRIES, LISTED, GROUP, BYTES, BAD, DONE, ERROR, TICK = 16, 17, 18, 19, 20, 21, 22, 23, 24
"""``READ``: a bytes at offset b of the source are wanted. ``ENTRIES``: JSON, a list of ``Row``. ``LISTED``: JSON, a
Summary.
``GROUP``: what is decoded now becomes bytes [a, b) of the linear stream; it begins with that, and ``DONE`` ends it: in
[a, b), if that is something, lie the groups that are best decoded next. ``BYTES``: those from a on. ``BAD``: what
should be [a, b) is not; JSON, a Trouble. ``ERROR``: nothing more comes; JSON, a Trouble. ``TICK``: is at byte a of
the source."""

Trouble = tuple[str, str]
"""The name of a class of ``rofuse_formats.errors`` and the message."""


class Row(NamedTuple):
    """An entry as it is told. Text is bytes as Latin-1."""

    path: str
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    size: int
    """-1: the archive does not say."""
    place: int
    """Where its bytes lie in the source as they are; -1: they must be decoded."""
    checksum: int | None
    """CRC-32 of what lies there, if it is to be checked."""
    linear: int
    """Where its bytes begin in the linear stream: those of all files that have bytes, in archive order."""
    times: list[tuple[int, int] | None]
    """mtime, atime, ctime, birthtime."""
    target: str
    """Of a symbolic link, or what is another name for (``hardlink``). Of a link without one it is its bytes, which are
    in the linear stream or at ``place``."""
    hardlink: bool
    rdev: tuple[int, int]
    encrypted: bool
    xattrs: list[tuple[str, str]]
    warning: str


class Message(NamedTuple):
    kind: int
    a: int
    b: int
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


class Line:
    """One end of the conversation. Raises EOFError when the other one is gone, ValueError for what cannot be."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._waiting: deque[Message] = deque()

    def send(self, kind: int, a: int = 0, b: int = 0, *body: bytes | memoryview) -> None:
        """``body``: up to ``MOST_PARTS``, which become one."""
        size = sum(map(len, body))
        header = HEADER.pack(kind, size, a, b)
        try:
            sent = self.socket.sendmsg((header, *body))
            if sent < len(header) + size:
                self.socket.sendall(b"".join((header, *body))[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError from error

    def send_json(self, kind: int, value: Any, a: int = 0, b: int = 0) -> None:
        self.send(kind, a, b, json.dumps(value, separators=(",", ":")).encode())

    def answer(self, kind: int) -> Message:
        """The next message of this kind. Others that come before it are kept for ``receive``."""
        while (message := self._receive()).kind != kind:
            if len(self._waiting) >= _MOST_WAITING:
                raise EOFError
            self._waiting.append(message)
        return message

    def receive(self) -> Message:
        return self._waiting.popleft() if self._waiting else self._receive()

    def _receive(self) -> Message:
        kind, size, a, b = HEADER.unpack(self._exactly(HEADER.size))
        if size > LARGEST:
            raise ValueError(f"a message of {size} bytes")
        return Message(kind, a, b, self._exactly(size) if size else b"")

    def _exactly(self, size: int) -> bytes:
        try:
            data = self.socket.recv(size, socket.MSG_WAITALL)
            if len(data) < size:
                parts = [data]
                while data and (size := size - len(data)):
                    data = self.socket.recv(size, socket.MSG_WAITALL)
                    parts.append(data)
                if size or not data:
                    raise EOFError
                data = b"".join(parts)
        except ConnectionResetError as error:
            raise EOFError from error
        return data

    def close(self) -> None:
        self.socket.close()


class QueuedLine(Line):
    """What is said goes on its way by a thread: who decodes need not wait until it is heard."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._queue: queue.Queue[tuple[int, int, int, tuple[bytes | memoryview, ...]]] = queue.Queue(
            _MOST_QUEUED
        )
        threading.Thread(target=self._send_on, daemon=True).start()

    def send(self, kind: int, a: int = 0, b: int = 0, *body: bytes | memoryview) -> None:
        self._queue.put((kind, a, b, body))

    def wait(self) -> None:
        """Until all is said."""
        self._queue.join()

    def _send_on(self) -> None:
        while True:
            kind, a, b, body = self._queue.get()
            try:
                super().send(kind, a, b, *body)
            except (EOFError, OSError):
                os._exit(0)  # nobody listens any more
            self._queue.task_done()
