"""Serving a mount: threads that read requests, let the engine answer them, and write the replies.

Strategy
Every thread runs one loop over the same descriptor, with a buffer of its own; the kernel wakes one of them for each
request, unless they take ``turns``. The first runs alone until INIT is answered, as nothing else may be answered
before; then the others start. The thread that called ``serve`` serves nothing: it waits on a pipe that tells it of
readiness, signals and the end, so it can run callbacks and end the mount while requests go on, and always returns.

Rules
- Every request is answered. What the engine lets through (no memory, an interrupt) is answered EIO and logged.
- The end is the kernel's: ``unmount`` takes the mount off, the threads read the end and leave. None is interrupted.
- The process that serves never touches its own mount: a thread that did would wait for another one, or for itself.
- ``_answer_all`` is the hot path. It makes no object beyond what the engine returns.
- Under a supervisor (``post``) neither the descriptor nor the end is this server's: it asks for the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

from rofuse_mount import counters, mounting
from rofuse_mount.agreements import Served
from rofuse_mount.answering import Handle, logged
from rofuse_mount.attaching import attach
from rofuse_mount.backings import Backings
from rofuse_mount.counters import OPCODE_MASK, SCALE_BITS, WIDTH_BITS
from rofuse_mount.device import Device, buffer_size, readable, was_sent_before
from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.memory import lacks_memory
from rofuse_mount.mounting.ending import Ending
from rofuse_mount.records import Buffer, MountOptions
from rofuse_mount.spinning import Spinner, is_worth_it
from rofuse_mount.turns import PreparesAhead, SaysWhatIsQuick, StoresAhead, in_turn, noted

if TYPE_CHECKING:
    from logging import Logger

    from rofuse_mount.supervisor.post import Post

_THREADS = 4
_ENDED, _OVER, _ORPHANED, _READY = 0, 253, 254, 255  # events; a number between them is a signal's
_OVER_SECONDS = 1.0  # for requests that are answered still, when nobody could read the replies any more
_OPCODE_AT = 4  # in a request; its low byte is enough
_RESUMED_MAX_WRITE = 1 << 20  # what another server may have negotiated; pages that are not used cost nothing


class ServeError(Exception):
    """Serving cannot begin, or cannot go on. ``str(error)`` is one line."""


class Server:
    """A filesystem at the kernel's other end: what ``mount`` and ``from_fd`` give.

    ``on_ready`` is called once, by the thread in ``serve``, when INIT was answered and the mount is usable; what it
    raises ends the mount and leaves ``serve``. With ``mounted`` the descriptor is the server's own and is closed at
    the end, else it is the caller's. ``made_mountpoint``: the directory was made for this mount, and goes with it.
    ``post``: the supervisor's, which has ``ending`` in its hands as long as it lives.
    """

    def __init__(
        self,
        device: Device,
        engine: Engine,
        options: MountOptions,
        mounted: mounting.Mount | None = None,
        *,
        on_ready: Callable[[], None] | None = None,
        made_mountpoint: bool = False,
        post: Post | None = None,
        ending: Ending | None = None,
    ) -> None:
        self.device, self.engine, self.options = device, engine, options
        self.mounted, self.on_ready = mounted, on_ready
        self._post = post
        if mounted is not None:
            ending = Ending.of(mounted, made=made_mountpoint)
        self._end = ending
        self._served = Served(device.fd, engine)
        max_write = options.max_write if engine.config is None else max(options.max_write, _RESUMED_MAX_WRITE)
        self._buffer_size = buffer_size(max_write)
        self._handle: Handle = engine.handle
        if options.debug:
            describe = engine.describe_json if options.debug == "json" else engine.describe
            self._handle = logged(engine.handle, describe, _log("rofuse_mount.wire").debug)
        self._tables: list[counters.Table] = []
        self._refusals: set[int] = set()
        filesystem: object = engine.filesystem
        self._spinner = Spinner(filesystem.prepare) if isinstance(filesystem, PreparesAhead) else Spinner()
        self._turn = threading.Lock()  # held by who reads, where threads take turns
        self._lock = threading.Lock()  # of all that follows
        self._threads = 0  # that serve
        self._waiting = False  # whether somebody is in serve
        self._over = False  # whether a thread has read the connection's end
        self._failure: Exception | None = None
        self._events = self._event_sink = -1

    @classmethod
    def from_fd(
        cls, fd: int, filesystem: Filesystem, negotiated: bytes, options: MountOptions | None = None
    ) -> Server:
        """Serves a connection whose INIT was answered elsewhere; ``negotiated`` is what was agreed there
        (``Engine.negotiated``). Raises ValueError for an agreement that is none."""
        options, device = options or MountOptions(), Device(fd)
        engine = Engine(filesystem, options, backing=Backings(device))
        engine.resume(negotiated)
        return cls(device, engine, options)

    def fileno(self) -> int:
        """The descriptor of /dev/fuse, -1 when all is over."""
        return self.device.fd

    def statistics(self) -> dict[str, counters.Latency]:
        """Count and latency of each opcode so far, by its name. From any thread."""
        return counters.summary(list(self._tables))

    def _figures(self) -> str:
        """What the supervisor is told: one line of JSON."""
        from rofuse_mount import figures

        return figures.line(list(self._tables), self.engine.filesystem, self._spinner.figures())

    def unmount(self, *, lazy: bool = False) -> None:
        """Takes the mount off, unless that has been done; ``serve`` then returns. From any thread or signal handler.
        Raises BusyError (``lazy`` detaches it from the tree at once and serves its users to their end), MountError.
        """
        if self.mounted is None or self._end is None:
            raise mounting.MountpointError("this server was given a descriptor, not a mountpoint")
        if self._end.is_mounted():
            mounting.unmount(self.mounted.mountpoint, lazy=lazy, fstype=self.mounted.fstype)

    # --- the thread that waits --------------------------------------------------------------

    def serve(self) -> None:
        """Serves until the filesystem is unmounted, by whomever. Call it once. Raises ServeError where serving became
        impossible, and what ``on_ready`` raised. Ctrl-C ends it, too; a signal that kills leaves a dead mount."""
        self._open_events()
        self._serve(())

    def serve_until_signal(self) -> int | None:
        """As ``serve``, and unmounts on SIGTERM, SIGINT and SIGHUP, except those that were ignored. Returns the
        signal's number, or None when it was unmounted otherwise. For the main thread."""
        import signal

        handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        ending = [number for number, handler in handlers.items() if handler != signal.SIG_IGN]
        self._open_events()
        wakeup = signal.set_wakeup_fd(self._event_sink, warn_on_full_buffer=False)
        for number in ending:
            signal.signal(number, lambda number, frame: None)  # its number is in the pipe already
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)  # held back, perhaps, while it was being mounted
        try:
            return self._serve(ending)
        finally:
            for number in ending:
                signal.signal(number, handlers[number])
            signal.set_wakeup_fd(wakeup)

    def _open_events(self) -> None:
        self._events, self._event_sink = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._event_sink, False)  # as signal.set_wakeup_fd demands
        self._waiting = True

    def _serve(self, ending: Collection[int]) -> int | None:
        caught: int | None = None
        try:
            self._start_threads(1, first=True)
            while (event := self._next_event()) != _ENDED:
                if event == _READY:
                    self._ready()
                elif event == _OVER:
                    self._drain(_OVER_SECONDS)
                    break
                elif event == _ORPHANED:
                    self._leave()
                    break
                elif event in ending:
                    caught = event
                    if self._post is None or not self._post.ask_end():
                        self._leave()
                        break
        except BaseException:
            if self._post is None:
                self._leave()
            raise
        finally:
            self._finish()
        if self._failure is not None:
            raise ServeError(str(self._failure)) from self._failure
        return caught

    def _next_event(self) -> int:
        """Sleeps until there is one; listens to the supervisor meanwhile."""
        post = self._post
        while post is not None and post.supervised:
            ready = readable((self._events, post.fileno()))
            if post.fileno() in ready:
                post.attend(self._figures)
            if self._events in ready:
                break
            if not post.supervised and not post.alone:
                return _ORPHANED
        return os.read(self._events, 1)[0]

    def _ready(self) -> None:
        config, end = self.engine.config, self._end
        if end is not None and end.minor is not None and config is not None:
            wanted = self.options.max_readahead
            size = config.max_request if wanted is None else wanted
            mounting.set_readahead(end.minor, size >> 10)
        if self.on_ready is not None:
            self.on_ready()

    def _leave(self) -> None:
        """Ends the mount, politely first, and gives requests that are being answered the time to be."""
        if self._end is not None:
            self._drain(self._end.take_off(_log().warning))

    def _drain(self, seconds: float) -> None:
        """Waits, but not for ever, until all threads have left."""
        from time import monotonic

        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and readable((self._events,), left):
            if os.read(self._events, 1)[0] == _ENDED:
                return

    def _finish(self) -> None:
        """What remains to be done once, when nobody is served any more."""
        try:
            self.engine.destroy()
        except Exception:
            _log().exception("the filesystem could not end cleanly")
        if self._end is not None and (self._post is None or not self._post.supervised):
            self._end.clean_up(_log().warning)
        with self._lock:
            self._waiting = False
            if not self._threads:
                self._close()

    def _close(self) -> None:
        """By the last to leave: nobody reads the descriptor any more."""
        self._served.end()
        if self.mounted is not None:
            self.device.close()
        os.close(self._events)
        os.close(self._event_sink)

    # --- the threads that serve -------------------------------------------------------------

    def _start_threads(self, count: int, *, first: bool = False) -> None:
        for _ in range(count):
            with self._lock:
                self._threads += 1
            try:
                threading.Thread(target=self._thread, args=(first,), name="rofuse-serve", daemon=True).start()
            except RuntimeError as error:  # too many threads: serve with those there are
                _log().warning("%s", error)
                self._thread_left(error)
                return

    def _thread(self, first: bool) -> None:
        failure: Exception | None = None
        table = counters.new_table()
        self._tables.append(table)
        try:
            buffer = bytearray(self._buffer_size)
            requests = self._requests(buffer)
            if not first:
                self._answer_all(requests, table)
            elif self._introduce(requests, table):
                self._served.settle()
                self._start_threads((self.options.threads or _THREADS) - 1)
                if self.options.threads != 1 and isinstance(self.engine.filesystem, StoresAhead):
                    self.engine.filesystem.store_ahead(self._store)
                self._tell(_READY)
                self._answer_all(requests, table)
        except ServeError as error:
            failure = error
        except Exception as error:
            _log().exception("a serving thread ended")
            failure = error
        self._thread_left(failure)

    def _requests(self, buffer: bytearray) -> Iterator[memoryview]:
        """What one thread is to answer."""
        filesystem: object = self.engine.filesystem
        device, post = self.device, self._post
        note = post.noting(buffer) if post is not None else lambda: None
        requests = device.requests(buffer)
        if isinstance(filesystem, SaysWhatIsQuick):
            wait = [self._spinner.wait] if is_worth_it() else []
            is_quick = noted(filesystem.is_quick, note)
            requests = in_turn(device.requests(buffer, *wait), self._turn, is_quick, self._push)
        return requests if post is None else post.watch(requests, note, buffer, device.refuse)

    def _thread_left(self, failure: Exception | None) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads:
                is_leaving = self._post is not None and self._post.leaving  # which is no end
                if failure is None and not is_leaving and not self._over and self._waiting:
                    self._over = True
                    self._tell(_OVER)
                return
            self._failure = failure
            if self._waiting:
                self._tell(_ENDED)
            else:
                self._close()

    def _tell(self, event: int) -> None:
        os.write(self._event_sink, bytes((event,)))

    def _introduce(self, requests: Iterator[memoryview], table: counters.Table) -> bool:
        """Answers alone until INIT has succeeded; False when the mount ends before."""
        while self.engine.config is None:
            request = next(requests, None)
            if request is None:
                return False
            self._answer_all((request,), table)
            if self.engine.failure is not None:
                raise ServeError(self.engine.failure)
        return True

    def _answer_all(self, requests: Iterable[memoryview], table: counters.Table) -> None:
        handle, reply, clock = self._handle, self.device.reply, perf_counter_ns
        for request in requests:
            began = clock()
            try:
                answer = handle(request)
                if answer is not None:
                    refusal = reply(request, answer)
                    if refusal:
                        self._note_refusal(request, refusal)
            except BaseException as error:
                if lacks_memory(error) and self._post is not None:
                    self._post.out_of_memory()
                self.device.refuse(request)
                _log().exception("a request was answered EIO")
            slot = (request[_OPCODE_AT] & OPCODE_MASK) << WIDTH_BITS
            table[slot + (clock() - began >> SCALE_BITS).bit_length()] += 1

    def _push(self, request: memoryview) -> None:
        """See StoresAhead. Not behind a request that was sent before: a server died, so there is other work."""
        filesystem: object = self.engine.filesystem
        if isinstance(filesystem, StoresAhead) and not was_sent_before(request):
            filesystem.push()

    def _store(self, ino: int, data: Sequence[Buffer]) -> bool:
        """See StoresAhead."""
        return self._threads > 1 and self.device.store(ino, 0, *data)

    def _note_refusal(self, request: memoryview, errno: int) -> None:
        """Logs the first refusal of each kind: a truncated archive has as many as it has readers."""
        if errno not in self._refusals:
            self._refusals.add(errno)
            _log().warning(
                "the kernel refused a reply to opcode %d (%s); it was answered EIO, and further ones are not logged",
                request[_OPCODE_AT],
                os.strerror(errno),
            )


def mount(
    path: mounting.Path,
    filesystem: Filesystem,
    options: MountOptions | None = None,
    *,
    nonempty: bool = False,
    auto_unmount: bool = False,
    make_mountpoint: bool = False,
    on_ready: Callable[[], None] | None = None,
) -> Server:
    """Mounts a filesystem; nobody can use it until ``serve`` is called on the Server that is returned.

    ``nonempty`` and ``auto_unmount`` as in ``mounting.mount``; ``make_mountpoint``: a directory that is missing is
    made, and removed again at the end; ``on_ready`` as in Server. Raises MountError.
    """
    options = options or MountOptions()
    engine = Engine(filesystem, options)
    mounted, made = attach(
        path, options, nonempty=nonempty, auto_unmount=auto_unmount, make_mountpoint=make_mountpoint
    )
    device = Device(mounted.fd)
    engine.backing = Backings(device)
    return Server(device, engine, options, mounted, on_ready=on_ready, made_mountpoint=made)


def _log(name: str = "rofuse_mount") -> Logger:
    import logging

    return logging.getLogger(name)
