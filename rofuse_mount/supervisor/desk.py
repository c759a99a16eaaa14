"""Where a live mount can be asked and told things: a socket in its user's runtime directory.

Strategy
One connection, one word, in SEQPACKET messages. The supervisor answers what it knows itself, passes the connection on
to its servers for their figures, and does not wait for any of them: whoever asks reads until the end, or as long as it
cares to.

    status                              a line of facts; then each server's figures, a line each
    spec                                the facts, with the numbers ("spec", "keep") of the descriptors that servers
                                        inherit, and those descriptors
    takeover + descriptor + JSON        a new spec, and {"command", "path"}: how servers are started from now on;
                                        answered by an empty line, or why not

Rules
- Only the mount's user and root are heard (SO_PEERCRED). Who does not say anything for a while is dismissed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rofuse_mount.supervisor import Supervisor

_CREDENTIALS = Struct("<iII")  # struct ucred: pid, uid, gid
_VISITORS = 16
_PATIENCE_SECONDS = 10.0
_MESSAGE_MAX = 1 << 16


class Desk:
    """The socket ``listener``, of a supervisor. ``state`` is what new servers are started from (``lean``)."""

    def __init__(self, supervisor: Supervisor, listener: int, state: dict[str, Any]) -> None:
        self._supervisor, self._state = supervisor, state
        self._listener = socket.socket(fileno=listener)
        self._visitors: dict[socket.socket, float] = {}

    def open(self) -> None:
        self._listener.setblocking(False)
        self._supervisor.watch(self._listener.fileno(), self._admit)

    def _admit(self) -> None:
        try:
            visitor, _ = self._listener.accept()
        except OSError:
            return
        now = time.monotonic()
        for other, since in list(self._visitors.items()):
            if len(self._visitors) >= _VISITORS or now - since > _PATIENCE_SECONDS:
                self._dismiss(other)
        if peer_uid(visitor) not in (0, os.getuid()):
            visitor.close()
            return
        self._visitors[visitor] = now
        self._supervisor.watch(visitor.fileno(), lambda: self._serve(visitor))

    def _dismiss(self, visitor: socket.socket) -> None:
        self._visitors.pop(visitor, None)
        self._supervisor.forget(visitor.fileno())
        visitor.close()

    def _serve(self, visitor: socket.socket) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(visitor, _MESSAGE_MAX, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        self._supervisor.forget(visitor.fileno())
        word, _, rest = message.partition(b" ")
        try:
            if word == b"status":
                _send(visitor, json.dumps(self.facts()).encode())
                for instance in self._supervisor.instances:
                    instance.show_figures(visitor.fileno())
            elif word == b"spec":
                keep = self._state["keep"]
                numbers = {"spec": self._state["spec"], "keep": keep}
                _send(visitor, json.dumps(self.facts() | numbers).encode(), keep)
            elif word == b"takeover" and descriptors:
                _send(visitor, self._take_over(rest, descriptors[0]).encode())
                descriptors = []
        finally:
            for fd in descriptors:
                os.close(fd)
            self._dismiss(visitor)

    def facts(self) -> dict[str, Any]:
        supervisor = self._supervisor
        pids = [i.pid for i in supervisor.instances if not i.leaving]
        facts: dict[str, Any] = self._state["facts"]
        return facts | {
            "server_pid": pids[0] if pids else None,
            "worker_pids": pids,
            "restarts": supervisor.restarts,
            "takeovers": supervisor.takeovers,
        }

    def _take_over(self, request: bytes, spec: int) -> str:
        from rofuse_mount.supervisor.lean import server_start

        try:
            told = json.loads(request)
            command, path = [str(word) for word in told["command"]], [str(folder) for folder in told["path"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            os.close(spec)
            return "the request cannot be understood"
        old = self._state["spec"]
        state = self._state | {"command": command, "path": path, "spec": spec}
        state["keep"] = [spec if fd == old else fd for fd in state["keep"]]
        failure = self._supervisor.take_over(server_start(state))
        if failure:
            os.close(spec)
        else:
            os.close(old)
            self._state = state
        return failure


def peer_uid(peer: socket.socket) -> int:
    """Who is at the other end of a unix socket."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _send(visitor: socket.socket, message: bytes, descriptors: list[int] | None = None) -> None:
    try:
        if descriptors:
            socket.send_fds(visitor, [message], descriptors, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        else:
            visitor.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return
