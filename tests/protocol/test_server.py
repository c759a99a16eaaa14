"""The serving threads, with a kernel at the other end of a socket: readiness, parallel requests, accidents, ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from rofuse_mount import server, wire
from rofuse_mount.device import Device
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.mounting import MountpointError
from rofuse_mount.records import Attr, Context, MountOptions
from rofuse_mount.server import ServeError, Server
from rofuse_mount.supervisor import Board, Post, Seat
from rofuse_mount.supervisor.board import RESENT
from rofuse_mount.wire import Opcode
from tests.protocol.socket_kernel import SECONDS, SocketKernel

READ = struct.pack("<QQIIQII", 0, 0, 4096, 0, 0, 0, 0)


class Fixed(Filesystem):
    """Attributes for everybody, and the number of calls at the end."""

    def __init__(self) -> None:
        self.ends = 0

    def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
        return Attr(ino, 0o100444, size=5)

    def destroy(self, ctx: Context) -> None:
        self.ends += 1


class Serving:
    """A server in a thread of its own, and what became of it."""

    def __init__(
        self,
        kernel: SocketKernel,
        filesystem: Filesystem,
        options: MountOptions | None = None,
        post: Post | None = None,
    ) -> None:
        options = options or MountOptions()
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        device, engine = Device(kernel.fd), Engine(filesystem, options)
        self.server = Server(device, engine, options, on_ready=self.ready.set, post=post)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.server.serve()
        except BaseException as failure:
            self.failure = failure

    def join(self) -> None:
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


Serve = Callable[..., Serving]


@pytest.fixture
def kernel() -> Iterator[SocketKernel]:
    with SocketKernel() as kernel:
        yield kernel


@pytest.fixture
def serve(kernel: SocketKernel) -> Iterator[Serve]:
    running: list[Serving] = []

    def start(
        filesystem: Filesystem, options: MountOptions | None = None, post: Post | None = None
    ) -> Serving:
        running.append(Serving(kernel, filesystem, options, post))
        return running[-1]

    yield start
    kernel.end()
    for serving in running:
        serving.join()
    for thread in threading.enumerate():  # or it would read what has its descriptor's number next
        if thread.name == "rofuse-serve":
            thread.join(SECONDS)


def test_ready_is_after_init_and_not_before(kernel: SocketKernel, serve: Serve) -> None:
    serving = serve(Fixed())
    assert kernel.ask(Opcode.STATFS).error == -errno.EIO
    assert not serving.ready.is_set()
    assert kernel.init().error == 0
    assert serving.ready.wait(SECONDS)
    assert kernel.ask(Opcode.GETATTR, bytes(16)).error == 0


def test_the_end_is_clean_and_told_to_the_filesystem_once(kernel: SocketKernel, serve: Serve) -> None:
    filesystem = Fixed()
    serving = serve(filesystem)
    kernel.init()
    kernel.end()
    serving.join()
    assert serving.failure is None
    assert filesystem.ends == 1


def test_the_callers_descriptor_stays_open_and_no_other_does(kernel: SocketKernel, serve: Serve) -> None:
    before = set(os.listdir("/proc/self/fd"))
    serving = serve(Fixed())
    kernel.init()
    assert serving.ready.wait(SECONDS)
    kernel.socket.shutdown(2)
    serving.join()
    assert set(os.listdir("/proc/self/fd")) == before
    os.fstat(kernel.fd)


def test_as_many_threads_as_were_asked_for_work_at_once(kernel: SocketKernel, serve: Serve) -> None:
    together = threading.Barrier(5)

    class Meeting(Fixed):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            together.wait(SECONDS)
            return b"met"

    serve(Meeting(), MountOptions(threads=5))
    kernel.init()
    wanted = {kernel.request(Opcode.READ, READ) for _ in range(5)}
    replies = [kernel.reply() for _ in range(5)]
    assert {reply.unique for reply in replies} == wanted
    assert {reply.body for reply in replies} == {b"met"}


def test_a_request_that_nobody_waits_for_does_not_keep_the_server(
    kernel: SocketKernel, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_OVER_SECONDS", 0.05)
    begun, later = threading.Event(), threading.Event()

    class Slow(Fixed):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            begun.set()
            later.wait(SECONDS)
            return b""

    filesystem = Slow()
    serving = serve(filesystem)
    kernel.init()
    kernel.request(Opcode.READ, READ)
    assert begun.wait(SECONDS)
    kernel.end()
    serving.join()
    assert not later.is_set()
    assert (serving.failure, filesystem.ends) == (None, 1)
    later.set()


@pytest.mark.parametrize("accident", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
def test_whatever_a_handler_raises_is_answered_and_survived(
    kernel: SocketKernel, serve: Serve, accident: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Fixed):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            raise accident("on purpose")

    serve(Broken(), MountOptions(threads=1))
    kernel.init()
    for _ in range(3):
        assert kernel.ask(Opcode.READ, READ).error == -errno.EIO
    assert kernel.ask(Opcode.GETATTR, bytes(16)).error == 0
    assert "on purpose" in caplog.text


def test_a_reply_of_the_wrong_kind_is_answered_eio(kernel: SocketKernel, serve: Serve) -> None:
    class Wrong(Fixed):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            return "text"  # type: ignore[return-value]  # the mistake that is meant

    serve(Wrong())
    kernel.init()
    assert kernel.ask(Opcode.READ, READ).error == -errno.EIO


def test_a_kernel_that_is_too_old_ends_serving_with_the_reason(kernel: SocketKernel, serve: Serve) -> None:
    serving = serve(Fixed())
    assert kernel.init(minor=20).error == -errno.EPROTO
    serving.join()
    assert isinstance(serving.failure, ServeError)
    assert "7.20" in str(serving.failure)


def test_what_on_ready_raises_leaves_serve(kernel: SocketKernel) -> None:
    def refuse() -> None:
        raise BrokenPipeError("nobody waits")

    server = Server(Device(kernel.fd), Engine(Fixed()), MountOptions(), on_ready=refuse)
    kernel.send_init()
    with pytest.raises(BrokenPipeError):
        server.serve()


def test_a_descriptor_that_cannot_be_read_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    fd = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(ServeError, match="directory"):
            Server(Device(fd), Engine(Fixed()), MountOptions()).serve()
    finally:
        os.close(fd)
    assert "serving thread" in caplog.text


def test_a_negotiated_connection_is_served_without_init(kernel: SocketKernel, serve: Serve) -> None:
    serving = serve(Fixed())
    kernel.init()
    negotiated = serving.server.engine.negotiated
    kernel.socket.shutdown(1)  # the first server reads the end
    serving.join()

    with SocketKernel() as second:
        server = Server.from_fd(second.fd, Fixed(), negotiated)
        assert server.fileno() == second.fd
        thread = threading.Thread(target=server.serve)
        thread.start()
        assert second.ask(Opcode.GETATTR, bytes(16)).error == 0
        with pytest.raises(MountpointError):
            server.unmount()
        second.end()
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_an_agreement_that_is_none_is_refused(kernel: SocketKernel) -> None:
    with pytest.raises(ValueError):
        Server.from_fd(kernel.fd, Fixed(), b"garbage")


def test_statistics_count_each_opcode_over_all_threads(kernel: SocketKernel, serve: Serve) -> None:
    serving = serve(Fixed(), MountOptions(threads=3))
    kernel.init()
    for _ in range(20):
        kernel.ask(Opcode.GETATTR, bytes(16))
    kernel.ask(Opcode.MKDIR, bytes(8) + b"x\0")
    kernel.end()
    serving.join()
    figures = serving.server.statistics()
    assert {name: figure.count for name, figure in figures.items()} == {"INIT": 1, "GETATTR": 20, "MKDIR": 1}
    assert 0 < figures["GETATTR"].median_us <= figures["GETATTR"].p99_us


@pytest.mark.parametrize("debug, sign", [(True, "GETATTR"), ("json", '"')])
def test_debug_writes_a_line_for_each_request(
    kernel: SocketKernel, serve: Serve, caplog: pytest.LogCaptureFixture, debug: bool | str, sign: str
) -> None:
    caplog.set_level("DEBUG", logger="rofuse_mount.wire")
    serving = serve(Fixed(), MountOptions(debug=debug))
    kernel.init()
    kernel.ask(Opcode.GETATTR, bytes(16))
    kernel.end()
    serving.join()
    assert len(caplog.messages) == 2
    assert sign in caplog.messages[1]
    assert "GETATTR" in caplog.messages[1].upper()


def test_refused_replies_are_logged_once_a_kind(
    kernel: SocketKernel, serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev

    def refusing(fd: int, buffers: list[bytes]) -> int:
        if b"doomed" in buffers:
            raise OSError(errno.EFAULT, "Bad address")
        return real(fd, buffers)

    class Doomed(Fixed):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            return b"doomed"

    serve(Doomed())
    kernel.init()
    monkeypatch.setattr(os, "writev", refusing)
    for _ in range(3):
        assert kernel.ask(Opcode.READ, READ).error == -errno.EIO
    assert caplog.text.count("Bad address") == 1


# --- signals --------------------------------------------------------------------------------


class Unmounting(Server):
    """Its unmount is the fake kernel's end."""

    kernel: SocketKernel
    mounted = None

    def _leave(self) -> None:
        self.kernel.end()
        self._drain(SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_serving_and_its_handler_comes_back(
    kernel: SocketKernel, number: signal.Signals
) -> None:
    previous = signal.getsignal(number)
    server = Unmounting(
        Device(kernel.fd), Engine(Fixed()), MountOptions(), on_ready=lambda: os.kill(os.getpid(), number)
    )
    server.kernel = kernel
    kernel.send_init()
    assert server.serve_until_signal() == number
    assert signal.getsignal(number) == previous
    assert signal.set_wakeup_fd(-1) == -1


def test_an_ignored_hangup_stays_ignored(kernel: SocketKernel) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        def hang_up_and_unmount() -> None:
            os.kill(os.getpid(), signal.SIGHUP)
            kernel.end()

        server = Unmounting(Device(kernel.fd), Engine(Fixed()), MountOptions(), on_ready=hang_up_and_unmount)
        server.kernel = kernel
        kernel.send_init()
        assert server.serve_until_signal() is None
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_thread_that_cannot_be_started_is_done_without(
    kernel: SocketKernel, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    serving = serve(Fixed())

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", refuse)
    kernel.init()
    assert serving.ready.wait(SECONDS)
    assert kernel.ask(Opcode.GETATTR, bytes(16)).error == 0
    assert "can't start new thread" in caplog.text


def test_the_sizes_of_resumed_buffers_suffice_for_any_agreement(kernel: SocketKernel) -> None:
    with SocketKernel() as first:
        engine = Engine(Fixed())
        thread = threading.Thread(target=Server(Device(first.fd), engine, MountOptions()).serve)
        thread.start()
        first.init()
        first.end()
        thread.join(SECONDS)
    server = Server.from_fd(kernel.fd, Fixed(), engine.negotiated)
    assert server._buffer_size >= (1 << 20) + wire.IN_HEADER.size + wire.WRITE_IN.size


class Ahead(Fixed):
    """Stores one file when another is read."""

    store: Callable[[int, list[bytes]], bool] = staticmethod(lambda ino, data: False)
    read_last = 0

    def store_ahead(self, store: Callable[[int, list[bytes]], bool]) -> None:
        self.store = store

    def is_quick(self, request: memoryview) -> bool:
        return False

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
        self.read_last = ino
        return b"file"

    def push(self) -> None:
        if self.read_last:  # INIT was no READ
            self.store(self.read_last + 1, [b"next ", b"file"])


def test_what_is_stored_ahead_comes_behind_the_answer_that_nobody_waits(kernel: SocketKernel) -> None:
    serving = Serving(kernel, Ahead())
    kernel.init()
    assert serving.ready.wait(SECONDS)
    unique = kernel.request(Opcode.READ, READ, nodeid=7)
    reply, notification = kernel.reply(), kernel.reply()
    assert (reply.unique, reply.body) == (unique, b"file")
    assert (notification.unique, notification.error) == (0, wire.NotifyCode.STORE)
    assert notification.body == struct.pack("<QQII", 8, 0, 9, 0) + b"next file"
    kernel.end()
    serving.join()


def test_the_only_thread_stores_nothing(kernel: SocketKernel) -> None:
    serving = Serving(kernel, Ahead(), MountOptions(threads=1))
    kernel.init()
    assert serving.ready.wait(SECONDS)
    assert kernel.ask(Opcode.READ, READ, nodeid=7).body == b"file"
    kernel.end()
    serving.join()


class Quick(Fixed):
    def is_quick(self, request: memoryview) -> bool:
        return True


def test_spinning_comes_after_requests_and_ends(
    kernel: SocketKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rest nothing is looked for: how often it was does not change."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    serving = Serving(kernel, Quick())
    kernel.init()
    assert serving.ready.wait(SECONDS)
    spins: list[int] = []
    for _ in range(3):
        for _ in range(5):
            kernel.ask(Opcode.GETATTR, bytes(16))
        threading.Event().wait(0.2)  # longer than all that it may spin
        spins.append(sum(serving.server._spinner.figures().values()))
        threading.Event().wait(0.1)
        assert sum(serving.server._spinner.figures().values()) == spins[-1]
    assert 0 < spins[0] <= 7 and spins[2] <= 17  # no more than requests, and two before the first
    kernel.end()
    serving.join()


class Slow(Fixed):
    """Whoever asks for the attributes of an inode waits for its gate; nothing is quick but to be asked for STATFS."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[int, threading.Event] = defaultdict(threading.Event)
        self.at_work: list[int] = []

    def is_quick(self, request: memoryview) -> bool:
        return request[4] == Opcode.STATFS

    def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
        self.at_work.append(ino)
        assert self.gates[ino].wait(SECONDS)
        return super().getattr(ctx, ino, fh)


def test_suspects_are_answered_one_after_the_other_and_keep_nobody_from_the_others(
    kernel: SocketKernel, serve: Serve
) -> None:
    board, filesystem = Board.create(), Slow()
    for unique in 100, 102:  # a server has died at both
        board.bench(0)[unique % 64] = unique
    board.charge(0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    post = Post(Seat(kernel.fd, board.fd, 1, theirs.detach()))
    with ours, post._channel:
        serve(filesystem, post=post)
        assert kernel.init().error == 0
        for node, unique in (5, 100), (6, 102):
            kernel.request(Opcode.GETATTR, bytes(16), node, RESENT | unique)
        for _ in range(9):
            assert kernel.ask(Opcode.STATFS).error == 0
        (first,) = filesystem.at_work
        assert board.at_work(1).count(100) + board.at_work(1).count(102) == 1
        filesystem.gates[first].set()
        assert kernel.reply().unique & ~RESENT == (100 if first == 5 else 102)
        filesystem.gates[11 - first].set()
        assert kernel.reply().unique & ~RESENT == (102 if first == 5 else 100)
        assert kernel.ask(Opcode.STATFS).error == 0


class Watched(Fixed):
    """Looks at what is noted when it is asked whether a request is quick."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board, self.noted = board, list[bool]()

    def is_quick(self, request: memoryview) -> bool:
        unique = int.from_bytes(request[8:16], "little")
        self.noted.append(unique in self.board.at_work(1))
        return request[4] != Opcode.GETATTR


def test_a_request_is_noted_as_soon_as_it_is_read(kernel: SocketKernel, serve: Serve) -> None:
    """What was read and is not noted is answered by nobody when this server dies, where the kernel cannot send it
    again. But a suspect is not, before it is answered alone."""
    board = Board.create()
    filesystem = Watched(board)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    post = Post(Seat(kernel.fd, board.fd, 1, theirs.detach()))
    with ours, post._channel:
        serve(filesystem, post=post)
        assert kernel.init().error == 0
        for _ in range(3):
            assert kernel.ask(Opcode.STATFS).error == 0
            assert kernel.ask(Opcode.GETATTR, bytes(16)).error == 0
        assert filesystem.noted == [True] * 7
