"""The sockets by which processes share a mount: whatever a coordinator sends, ``connect`` gives a share or an OSError,
and what was negotiated is taken over or a ValueError; whatever a visitor says to a supervisor, it is answered, or
dismissed, and no descriptor is left behind.

Input: a byte that says who is spoken to and how many descriptors come along, then the message.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

from rofuse_mount import negotiation
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.sharing import _GREETING, connect
from rofuse_mount.supervisor.desk import Desk
from tests.protocol.kernel import OFFERS, init_body, request

MAX_LEN = 4096
_MOST_DESCRIPTORS = 3


class _Supervisor:
    """What a desk asks of one."""

    restarts = takeovers = 0
    instances: tuple[()] = ()

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        pass

    def forget(self, fd: int) -> None:
        pass

    def take_over(self, start: object) -> str:
        return "not now"


class _Coordinator:
    """Sends whoever connects what is put into ``messages``."""

    def __init__(self) -> None:
        self.path = f"\0rofuse-fuzz-{os.getpid()}"
        self.messages: queue.SimpleQueue[tuple[bytes, list[int]]] = queue.SimpleQueue()
        self.served: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """Filled when a connection is closed: then no descriptor of it is left."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            message, descriptors = self.messages.get()
            with connection:
                if message:
                    socket.send_fds(connection, [message], descriptors)
            self.served.put(True)


@cache
def _coordinator() -> _Coordinator:
    return _Coordinator()


def _negotiated() -> Iterator[bytes]:
    for minor, flags in OFFERS.items():
        engine = Engine(Filesystem())
        engine.handle(request(26, init_body(minor, flags)))
        yield engine.negotiated


def seeds() -> Iterator[bytes]:
    for negotiated in _negotiated():
        yield b"\1" + _GREETING + negotiated
        yield b"\2" + negotiated
    for word in (b"status", b"spec", b'takeover {"command": ["a"], "path": ["b"]}', b"nonsense"):
        yield b"\0" + word
        yield b"\4" + word


def fuzz(data: bytes) -> None:
    if not data:
        return
    kind, count, message = data[0] & 3, data[0] >> 2 & _MOST_DESCRIPTORS, data[1:]
    if kind == 1:
        _connect(message, count)
    elif kind == 2:
        _resume(message)
    else:
        _visit(message, count)


def _connect(message: bytes, count: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        _coordinator().messages.put((message, [null] * count))
        with connect(_coordinator().path) as share:
            assert count == 1 and message.startswith(_GREETING)
            _resume(share.negotiated)
    except OSError:
        assert count != 1 or not message.startswith(_GREETING)
    finally:
        _coordinator().served.get()
        os.close(null)


def _resume(negotiated: bytes) -> None:
    try:
        Engine(Filesystem()).resume(negotiated)
    except ValueError:
        return
    assert negotiation.freeze(negotiation.thaw(negotiated)) == negotiated


def _visit(message: bytes, count: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null, listener = os.open(os.devnull, os.O_RDONLY), socket.socket(socket.AF_UNIX)
    before = len(os.listdir("/proc/self/fd"))
    state: dict[str, Any] = {
        "spec": null,
        "keep": [null],
        "facts": {"source": "a"},
        "command": [],
        "path": [],
    }
    desk = Desk(cast(Any, _Supervisor()), listener.detach(), state)
    try:
        socket.send_fds(ours, [message], [null] * count) if message else ours.shutdown(socket.SHUT_WR)
        desk._serve(theirs)
        assert theirs.fileno() < 0  # dismissed
    finally:
        os.close(desk._listener.detach())
        ours.close()
        os.close(null)
    assert len(os.listdir("/proc/self/fd")) == before - 4
