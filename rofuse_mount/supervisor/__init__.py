"""The supervisor: a mount does not die with its server.

Strategy
A FUSE connection lives as long as a descriptor of it is open, and a kernel from 6.9 on delivers every request that was
read and not answered once more when it is asked to (RESEND). So one process holds the descriptors and does nothing
that could fail; servers, one or several, are its children. When one dies, the kernel is asked to resend, and another
is started: those who read wait a moment longer, and see nothing of it.

On older kernels what a server was at when it died is answered EIO, from what it noted on the board. The mount stays.

A take-over is the same on purpose: a new server is started, and when it is ready the old one goes.

Rules
- The supervisor never touches its mount, never waits for a server, and reads nothing a server could spoil: one byte of
  a channel, and numbers on a board.
- A server that dies at once again and again is started at growing intervals; when it does not even get ready, ten times
  in a row and for a minute, the mount is ended: an error is better than waiting for ever.
- A request at which several servers died is answered EIO (``post``).
- SIGTERM, SIGINT and SIGHUP (unless it was ignored) end the mount, here or at a server. The end of the mount, by
  whoever unmounts it, ends the servers, and their end the supervisor.
- When the supervisor itself is killed its servers go on, and end the mount when they are told to; nobody starts
  another server then.
- Memory: ``lean`` continues a supervisor in a fresh interpreter that has imported next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from errno import EIO
from struct import Struct
from typing import Any

from rofuse_mount.supervisor.board import BENCHES, Board
from rofuse_mount.supervisor.instance import Instance, Start, forking, spawning
from rofuse_mount.supervisor.post import END, FAILED, LEAVE, READY, Post, Seat

__all__ = ["Board", "Post", "Seat", "StartError", "Supervisor", "forking", "spawning"]

_HEADER = Struct("<IiQ")  # fuse_out_header: length, error or the notification's code, unique
_RESEND = _HEADER.pack(_HEADER.size, 7, 0)
_HAS_RESEND = 1 << 39
_FLAGS_AT = Struct("<12xQ")  # in what was negotiated (``negotiation.freeze``)

_LIVED_SECONDS = 2.0  # a server that served so long is not one that dies at once
_PROMPT = 3  # restarts without a pause
_LONGEST_PAUSE, _LONGEST_AT_WORK = 5.0, 0.1  # the latter after a server that has got on with the requests
_HOPELESS, _HOPELESS_SECONDS = 10, 60.0
_STARTUP_SECONDS = 60.0
_LAST_SECONDS = 5.0  # for the other servers, when one has read the connection's end


class StartError(Exception):
    """The first server could not begin; nothing is mounted any more. ``status`` is its exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Supervisor:
    """Holds a mount's descriptors and keeps its servers alive: ``begin``, then ``run``.

    ``devices``: a descriptor of the connection for each worker (clones of one another). ``ending``: what is to be done
    at the end (``mounting.ending.Ending``). ``start``: starts a server. ``log``: takes a line.
    """

    def __init__(
        self,
        devices: Sequence[int],
        board: Board,
        ending: Any,
        start: Start,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.devices, self.board, self.ending, self.start, self.log = list(devices), board, ending, start, log
        self.instances: list[Instance] = []
        self.restarts = self.takeovers = 0
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._due: dict[int, float] = {}  # workers that are to be started, and when
        self._early_deaths = self._never_ready = 0
        self._last_ready = time.monotonic()
        self._newest = 0  # request that any server that died was at
        self._replacing = False
        self._deadline: float | None = None  # of the end, when the servers that are left are killed
        self._ending = False
        self.ended = False  # the mount: a server has read the connection's end

    # --- what happens -----------------------------------------------------------------------

    def begin(self) -> None:
        """Starts the servers; returns when all are ready, or when the mount has already ended (``over``). Raises
        StartError, and then the mount is off again."""
        for worker in range(len(self.devices)):  # the first alone: INIT is answered by one
            instance = self.launch(worker)
            end = time.monotonic() + _STARTUP_SECONDS
            while not instance.ready and not self.ended:
                if instance not in self.instances or time.monotonic() > end:
                    message = instance.message or "the server ended before the mount was ready"
                    status = instance.status
                    self.end()
                    self.run()
                    raise StartError(message, status)
                self.turn(0.5)

    def run(self) -> None:
        """Keeps the mount alive until it ends."""
        while not self.over:
            self.turn()
        self.ending.clean_up(self.log)

    def run_until_signal(self) -> None:
        """As ``run``, and ends the mount on SIGTERM, SIGINT and SIGHUP, except those that were ignored. For the main
        thread."""
        handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        numbers = [number for number, handler in handlers.items() if handler != signal.SIG_IGN]
        source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        wakeup = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _note_signal)
        self.watch(source, lambda: self._signalled(source, numbers))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        try:
            self.run()
        finally:
            for number in numbers:
                signal.signal(number, handlers[number])
            signal.set_wakeup_fd(wakeup)
            self.forget(source)
            os.close(source)
            os.close(sink)

    def _signalled(self, source: int, numbers: Sequence[int]) -> None:
        if any(number in numbers for number in os.read(source, 64)):
            self.end()

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Calls ``handler`` whenever ``fd`` has something to read, or its end."""
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def turn(self, longest: float | None = None) -> None:
        """Waits for something to happen, and does what is due."""
        times = [*self._due.values(), *([self._deadline] if self._deadline is not None else [])]
        pause = max(0.0, min(times) - time.monotonic()) if times else longest
        if pause is not None and longest is not None:
            pause = min(pause, longest)
        for fd, _event in self._poll.poll(None if pause is None else int(pause * 1000) + 1):
            handler = self._handlers.get(fd)
            if handler is not None:  # else an earlier one of this round has taken it away
                handler()
        now = time.monotonic()
        for worker in [worker for worker, due in self._due.items() if due <= now]:
            del self._due[worker]
            self._relaunch(worker)
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            for instance in self.instances:
                instance.kill(signal.SIGKILL)

    @property
    def over(self) -> bool:
        return not self.instances and not self._due and (self.ended or self._ending)

    # --- servers ----------------------------------------------------------------------------

    def launch(self, worker: int, start: Start | None = None) -> Instance:
        """Starts a server. Raises OSError where that is impossible."""
        used = {instance.bench for instance in self.instances}
        bench = next(number for number in range(BENCHES) if number not in used)
        self.board.clear(bench)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                seat = Seat(self.devices[worker], self.board.fd, bench, theirs.fileno())
                foreign = [ours.fileno(), *(i.channel.fileno() for i in self.instances)]
                pid = (start or self.start)(seat, foreign)
        except BaseException:
            ours.close()
            raise
        instance = Instance(pid, ours, worker, bench)
        self.adopt(instance)
        return instance

    def adopt(self, instance: Instance) -> None:
        self.instances.append(instance)
        self.watch(instance.pidfd, lambda: self._died(instance))
        self.watch(instance.channel.fileno(), lambda: self._told(instance))

    def _told(self, instance: Instance) -> None:
        try:
            message = instance.channel.recv(1 << 13, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        word = message[:1]
        if word == READY:
            instance.ready = True
            instance.since = time.monotonic()
            self._never_ready = 0
            self._last_ready = instance.since
        elif word == FAILED:
            instance.status, instance.message = (
                message[1] if len(message) > 1 else 1,
                os.fsdecode(message[2:]),
            )
        elif word == END:
            self.end()
        elif not message:
            self.forget(instance.channel.fileno())  # its pidfd will tell the rest

    def _died(self, instance: Instance) -> None:
        self._told(instance)  # its last words
        self.forget(instance.pidfd)
        self.forget(instance.channel.fileno())
        code = instance.reap()
        self.instances.remove(instance)
        if instance.leaving:
            if code:
                self._redeliver(instance)
            self.board.clear(instance.bench)
        elif code == 0:
            self.ended = True
            if self._deadline is None:
                self._deadline = time.monotonic() + _LAST_SECONDS
        elif not self._ending and not self.ended:
            self._crashed(instance, code)

    def _crashed(self, instance: Instance, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"status {code}"
        newest = max(self.board.at_work(instance.bench), default=0)
        longest = _LONGEST_AT_WORK if newest > self._newest else _LONGEST_PAUSE
        self._newest = max(newest, self._newest)
        self._redeliver(instance)
        self.board.charge(instance.bench)
        if not instance.ready:
            self._never_ready += 1
            if not self.board.negotiated:
                return  # nobody can have used the mount yet: ``begin`` tells
        lived = time.monotonic() - instance.since
        self._early_deaths = 0 if instance.ready and lived >= _LIVED_SECONDS else self._early_deaths + 1
        if self._hopeless:
            reason = f"{instance.message or how}, {self._never_ready} times"
            self.log(f"the server cannot be started ({reason}); the mount is ended")
            self.end()
            return
        late = self._early_deaths - _PROMPT
        pause = min(longest, 0.05 * (1 << min(late, 16))) if late >= 0 else 0.0
        again = f"; it dies again and again, the next one starts in {pause:.2g} s" if pause else ""
        self.log(f"the server (pid {instance.pid}) ended with {how} and is started again{again}")
        self._due[instance.worker] = time.monotonic() + pause

    @property
    def _hopeless(self) -> bool:
        """Ten deaths alone may be an accident of the surroundings: a machine under load, the want of memory."""
        waited = time.monotonic() - self._last_ready
        return self._never_ready >= _HOPELESS and waited >= _HOPELESS_SECONDS

    def _relaunch(self, worker: int) -> None:
        self.restarts += 1
        try:
            self.launch(worker)
        except OSError as error:
            self._never_ready += 1
            self.log(f"no server can be started: {error.strerror}")
            if self._hopeless:
                self.end()
            else:
                self._due[worker] = time.monotonic() + 1.0

    def _redeliver(self, instance: Instance) -> None:
        """What the server was at goes to another one, or, on an old kernel, is answered EIO."""
        device = self.devices[instance.worker]
        if self.can_resend:
            try:
                os.write(device, _RESEND)
                return
            except OSError as error:
                if error.errno != 22:  # EINVAL: a kernel that does not know it after all
                    return  # the connection has ended
        for unique in self.board.at_work(instance.bench):
            try:
                os.write(device, _HEADER.pack(_HEADER.size, -EIO, unique))
            except OSError:
                continue  # it was answered

    @property
    def can_resend(self) -> bool:
        negotiated = self.board.negotiated
        return len(negotiated) >= _FLAGS_AT.size and bool(_FLAGS_AT.unpack_from(negotiated)[0] & _HAS_RESEND)

    def take_over(self, start: Start) -> str:
        """Replaces every server by one that ``start`` starts, which also starts all later ones. Returns why that
        failed, and then nothing has changed; or nothing."""
        if self._replacing:
            return "another take-over is under way"
        self._replacing = True
        try:
            return self._replace(start)
        finally:
            self._replacing = False

    def _replace(self, start: Start) -> str:
        new: list[Instance] = []
        end = time.monotonic() + _STARTUP_SECONDS
        try:
            new += (self.launch(worker, start) for worker in range(len(self.devices)))
        except OSError as error:
            self._dismiss(new)
            return f"the new server cannot be started: {error.strerror}"
        for instance in new:
            instance.leaving = True  # until it is ready its death is nobody's loss
        while any(not instance.ready for instance in new):
            self.turn(0.5)
            lost = [i for i in new if i not in self.instances]
            if lost or time.monotonic() > end or self._ending or self.ended:
                self._dismiss(new)
                return next((i.message for i in lost if i.message), "the new server did not become ready")
        self.start = start
        for instance in new:
            instance.leaving = False
        self._due.clear()
        self._early_deaths = 0
        for instance in (old for old in self.instances if old not in new):
            instance.leaving = True
            if self.can_resend:
                instance.kill(signal.SIGKILL)  # what it was at is delivered again
            else:
                instance.tell(LEAVE)
        self.takeovers += 1
        return ""

    def _dismiss(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            if instance in self.instances:
                instance.leaving = True
                instance.kill(signal.SIGKILL)

    # --- the end ----------------------------------------------------------------------------

    def end(self) -> None:
        """Ends the mount; ``run`` returns when its servers have ended."""
        if self._ending:
            return
        self._ending = True
        self._due.clear()
        self._deadline = time.monotonic() + float(self.ending.take_off(self.log))


def _note_signal(number: int, frame: object) -> None:
    """Nothing: the signal's number is in the pipe already."""
