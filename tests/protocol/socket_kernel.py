"""The kernel's end of a connection, played by a test over a SEQPACKET socketpair: a message is a request."""

from __future__ import annotations

import os
import socket
from typing import Any

from rofuse_mount import wire
from rofuse_mount.wire import InitFlag, Opcode

SECONDS = 20.0  # before a reply that does not come fails the test


class Reply:
    """What came back for a request, or a notification (unique 0)."""

    def __init__(self, message: bytes) -> None:
        length, self.error, self.unique = wire.OUT_HEADER.unpack_from(message)
        self.body = message[wire.OUT_HEADER.size :]
        assert length == len(message)


class SocketKernel:
    """``fd`` is the server's descriptor; ``request`` and ``reply`` are ours."""

    def __init__(self) -> None:
        self.socket, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(SECONDS)
        self.fd = self._theirs.fileno()
        self._unique = 0

    def request(self, opcode: int, body: bytes = b"", nodeid: int = 1, unique: int | None = None) -> int:
        """Sends a request; returns its unique number."""
        if unique is None:
            self._unique += 2
            unique = self._unique
        length = wire.IN_HEADER.size + len(body)
        header = wire.IN_HEADER.pack(
            length, opcode, unique, nodeid, os.getuid(), os.getgid(), os.getpid(), 0, 0
        )
        self.socket.sendall(header + body)
        return unique

    def reply(self) -> Reply:
        return Reply(self.socket.recv(1 << 17))

    def ask(self, opcode: int, body: bytes = b"", nodeid: int = 1) -> Reply:
        """A request and its reply, the only one outstanding."""
        unique = self.request(opcode, body, nodeid)
        reply = self.reply()
        assert reply.unique == unique
        return reply

    def init(self, minor: int = wire.KERNEL_MINOR_VERSION) -> Reply:
        return self.ask(Opcode.INIT, _init_body(minor))

    def send_init(self) -> None:
        """INIT that waits in the socket for a server to come, and whose answer nobody reads."""
        self.request(Opcode.INIT, _init_body(wire.KERNEL_MINOR_VERSION))

    def end(self) -> None:
        """As an unmount: the server reads the end, also where an answer of its was not read."""
        self.socket.shutdown(socket.SHUT_WR)

    def __enter__(self) -> SocketKernel:
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()
        self._theirs.close()


def _init_body(minor: int) -> bytes:
    flags = InitFlag.ASYNC_READ | InitFlag.MAX_PAGES | InitFlag.NO_OPEN_SUPPORT
    return wire.INIT_IN.pack(7, minor, 1 << 17, flags, 0)
