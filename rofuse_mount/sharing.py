"""Serving one mount from several processes: clones of its descriptor, and a coordinator that hands them out.

Strategy
Each worker gets a descriptor of its own (a clone): a queue of its own for what it reads, so workers do not wait for one
another, and a reply finds its request. The coordinator keeps a duplicate of each, so what a worker had in flight does
not die with it, and asks the kernel to deliver it again to the others. A worker is told what was negotiated at INIT,
and so can serve at once; the connection it came by is its sign of life.

    coordinator = Coordinator("/run/me/share", server.fileno())
    while True:                                        # in a thread, while the server serves
        coordinator.accept_worker()

    with connect("/run/me/share") as share:            # in another process
        Server.from_fd(share.fd, Filesystem(), share.negotiated).serve()

Rules
- SEQPACKET, one message with one descriptor: nothing can be read too far or in part.
- The socket has mode 0600, and the peer's uid is asked of the kernel (SO_PEERCRED): ours or root's, on both sides.
- The coordinator never waits for a peer: what it sends fits into the socket's buffer, and what a peer sends is not
  read beyond its end.
- Workers must answer alike: the same inode numbers, offsets and handles. HAS_RESEND (Linux 6.9) is needed for requests
  to outlive a worker; without, they fail with ECONNABORTED when it is noticed that it has ended.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable
from struct import Struct
from time import monotonic
from types import TracebackType

from rofuse_mount import agreements
from rofuse_mount.device import Device

_CREDENTIALS = Struct("<iII")  # struct ucred: pid, uid, gid
_GREETING = b"rofuse-share 1\n"  # and what was negotiated
_MESSAGE_MAX = 1024
_BACKLOG = 64


def clone(fd: int) -> int:
    """Another descriptor of the same connection, with a queue of its own. Raises OSError."""
    return Device(fd).clone().fd


def clone_multiple(fd: int, n: int) -> list[int]:
    """``n`` clones, or none: what was made is closed when one fails. Raises OSError."""
    made: list[int] = []
    try:
        made.extend(clone(fd) for _ in range(n))
    except OSError:
        close_all(made)
        raise
    return made


def close_all(fds: Iterable[int]) -> None:
    """Closes every one of them, then raises the first OSError there was."""
    failure: OSError | None = None
    for fd in fds:
        try:
            os.close(fd)
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure


class Worker:
    """A process that was given a clone. ``pid``, ``uid``: whose it is; ``fd``: the coordinator's duplicate."""

    __slots__ = ("_connection", "fd", "pid", "uid")

    def __init__(self, connection: socket.socket, fd: int, pid: int, uid: int) -> None:
        self._connection, self.fd, self.pid, self.uid = connection, fd, pid, uid

    def close(self) -> None:
        self._connection.close()
        os.close(self.fd)

    def fileno(self) -> int:
        return self._connection.fileno()

    def has_ended(self) -> bool:
        """Whether its end of the connection is closed; what it may have sent is thrown away."""
        try:
            return not self._connection.recv(_MESSAGE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


class Coordinator:
    """Hands out clones of ``fd``, which stays the caller's, at a socket. ``negotiated``: ``Engine.negotiated``; None,
    where a Server of this process has ``fd``: what it negotiates.

    ``workers`` are those that live. Any thread may call any method; a thread of its own waits for workers' ends.
    """

    def __init__(self, socket_path: str | os.PathLike[str], fd: int, negotiated: bytes | None = None) -> None:
        """Raises OSError: the path is taken, or cannot be made."""
        self.fd, self.negotiated = fd, negotiated
        self.path = os.fspath(socket_path)
        self.workers: list[Worker] = []
        self._lock = threading.Lock()  # of workers
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            mask = os.umask(0o177)  # from its first moment on
            try:
                self._listener.bind(self.path)
            finally:
                os.umask(mask)
            self._listener.listen(_BACKLOG)
        except BaseException:
            self._listener.close()
            close_all((self._wake, self._waker))
            raise
        self._watcher = threading.Thread(target=self._watch, name="rofuse-coordinator", daemon=True)
        self._watcher.start()

    def accept_worker(self, timeout: float | None = None) -> Worker:
        """Waits for the next worker of this user (or root) and gives it a clone. Strangers are refused, and who has
        gone before it was served is passed over. Who comes before INIT is answered waits until it is. Raises
        TimeoutError (after ``timeout`` seconds), ValueError where it is not known what was negotiated, OSError."""
        if self.negotiated is None:
            began = monotonic()
            self.negotiated = agreements.negotiated(self.fd, timeout)
            timeout = None if timeout is None else max(0.001, timeout - (monotonic() - began))
        self._listener.settimeout(timeout)
        while True:
            connection, _ = self._listener.accept()
            worker = self._welcome(connection, self.negotiated)
            if worker is not None:
                with self._lock:
                    self.workers.append(worker)
                os.write(self._waker, b"w")
                return worker

    def _welcome(self, connection: socket.socket, negotiated: bytes) -> Worker | None:
        pid, uid = peer(connection)
        if uid not in (0, os.getuid()):
            connection.close()
            return None
        try:
            fd = clone(self.fd)
        except BaseException:
            connection.close()
            raise
        try:
            socket.send_fds(
                connection,
                [_GREETING + negotiated],
                [fd],
                socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
            )
        except OSError:
            connection.close()
            os.close(fd)
            return None
        return Worker(connection, fd, pid, uid)

    def _watch(self) -> None:
        """Notices workers' ends, until the coordinator is closed."""
        from select import POLLIN, poll

        while True:
            poller = poll()
            poller.register(self._wake, POLLIN)
            with self._lock:
                living = list(self.workers)
            for worker in living:
                poller.register(worker, POLLIN)
            ready = {fd for fd, _ in poller.poll()}
            if self._wake in ready and b"q" in os.read(self._wake, _BACKLOG):
                return
            for worker in living:
                if worker.fileno() in ready and worker.has_ended():
                    self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        """First what it had in flight goes to the others; then its queue may go."""
        with self._lock:
            self.workers.remove(worker)
        try:
            Device(worker.fd).resend()
        except OSError:
            pass  # a kernel that cannot (EINVAL), or the connection has ended
        worker.close()

    def close(self) -> None:
        """Takes no more workers, and lets those there are go on alone: nobody re-sends what they had in flight when
        they die. The path is removed, and who waits in ``accept_worker`` gets an OSError."""
        if self._waker < 0:
            return
        os.write(self._waker, b"q")
        self._watcher.join()
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
        self._listener.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        for worker in self.workers:
            worker.close()
        self.workers.clear()
        close_all((self._wake, self._waker))
        self._wake = self._waker = -1

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Share:
    """What a worker was given: ``fd``, a descriptor of the connection, and ``negotiated``, what was agreed at INIT. It
    is the coordinator's sign that the worker lives: keep it until the end of serving."""

    __slots__ = ("_connection", "fd", "negotiated")

    def __init__(self, connection: socket.socket, fd: int, negotiated: bytes) -> None:
        self._connection, self.fd, self.negotiated = connection, fd, negotiated

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._connection.close()

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(socket_path: str | os.PathLike[str], timeout: float | None = 10.0) -> Share:
    """Becomes a worker of the coordinator at ``socket_path``. Raises PermissionError where that is another user's,
    TimeoutError, ConnectionError (it has refused, or is no coordinator), OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors: list[int] = []
    try:
        connection.settimeout(timeout)
        connection.connect(os.fspath(socket_path))
        if peer(connection)[1] not in (0, os.getuid()):
            raise PermissionError(f"{os.fspath(socket_path)} is another user's")
        message, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_MAX, 8, socket.MSG_CMSG_CLOEXEC)
        if not message.startswith(_GREETING) or len(descriptors) != 1:
            raise ConnectionError(f"{os.fspath(socket_path)} gives no descriptor of a mount")
        return Share(connection, descriptors[0], message[len(_GREETING) :])
    except BaseException:
        close_all(descriptors)
        connection.close()
        raise


def peer(connection: socket.socket) -> tuple[int, int]:
    """The pid and uid of who is at the other end of a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid
