"""The protocol engine: a request's bytes in, the reply's buffers out. No I/O, no threads.

Strategy
``Engine.handle`` reads the header, finds the operation in a table, calls it and frames what it gives: one list of
buffers that is one ``writev``. The operations are in ``rofuse_mount.operations``, INIT's agreement in
``rofuse_mount.negotiation``; here is what is common to all requests.

Rules
- ``handle`` never raises, whatever the bytes: every request gets exactly one well-formed reply, or none where none
  is due (FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY, and what is shorter than a header).
- After INIT nothing here changes: any number of threads may call ``handle`` at once. INIT itself comes first, alone.
- Until INIT has succeeded everything else is answered EIO.
- A request is copied (it is short, and its buffer is used again); what the filesystem returns to READ is not.
- An OSError means its errno, in the range the kernel accepts. Anything else is a bug: EIO, and logged.
- What is not known is ENOSYS, what is too short EINVAL; where the length in the header is not the request's, EIO.
- The number of a request is echoed whole: its highest bit says that it was sent before (RESEND).

INTERRUPT is not answered: the reply to the request it means will do. (The kernel repeats it for EAGAIN only.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import (
    EACCES,
    EAGAIN,
    ECHILD,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EEXIST,
    EINTR,
    EINVAL,
    EIO,
    EISDIR,
    ENOENT,
    ENOMEM,
    ENOTDIR,
    EPIPE,
    EPROTO,
    ESRCH,
    ETIMEDOUT,
)
from typing import Protocol

from rofuse_mount import negotiation, wire
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.memory import lacks_memory
from rofuse_mount.operations import OPERATIONS, SILENT, Operation, too_early, unknown
from rofuse_mount.records import Buffer, Config, Context, MountOptions
from rofuse_mount.wire import Opcode

MAX_ERRNO = 511  # the kernel refuses a reply with a larger one

_HEADER = wire.IN_HEADER.size
_OUT = wire.OUT_HEADER.size
_unpack_header = wire.IN_HEADER.unpack_from
_pack_header = wire.OUT_HEADER.pack

_MEANING: dict[type[OSError], int] = {
    BlockingIOError: EAGAIN,
    ChildProcessError: ECHILD,
    BrokenPipeError: EPIPE,
    ConnectionAbortedError: ECONNABORTED,
    ConnectionRefusedError: ECONNREFUSED,
    ConnectionResetError: ECONNRESET,
    FileExistsError: EEXIST,
    FileNotFoundError: ENOENT,
    InterruptedError: EINTR,
    IsADirectoryError: EISDIR,
    NotADirectoryError: ENOTDIR,
    PermissionError: EACCES,
    ProcessLookupError: ESRCH,
    TimeoutError: ETIMEDOUT,
}


class Backing(Protocol):
    """Who has the kernel read files on disk in place of the filesystem's (``rofuse_mount.backings``)."""

    def acquire(self, ino: int, fd: int) -> int:
        """The backing id for one more opening of an inode, whose file is open as ``fd``. Raises OSError."""
        ...

    def release(self, ino: int) -> None:
        """Takes one opening back; nothing where it was none of these. Raises nothing."""
        ...


class Engine:
    """Speaks the protocol with one kernel connection on behalf of one filesystem.

    ``log`` takes a message of one or more lines (default: the ``rofuse_mount`` logger, as an error). ``backing``
    is asked where passthrough is served. ``page_size`` is the machine's.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        options: MountOptions | None = None,
        *,
        log: Callable[[str], None] | None = None,
        backing: Backing | None = None,
        page_size: int = 4096,
    ) -> None:
        if not isinstance(filesystem, Filesystem):  # its class, perhaps
            raise TypeError(f"{filesystem!r} is no instance of Filesystem")
        self.filesystem = filesystem
        self.options = options or MountOptions()
        self.backing = backing
        self.config: Config | None = None
        self.failure: str | None = None
        """Why INIT was refused: one line fit for a user."""
        self.exhausted: Callable[[], None] | None = None
        """Called when memory has run out, before that is answered; it may not return."""
        self._log = log or _log_error
        self._page_size = page_size
        self._table: dict[int, tuple[Operation, int]] = {Opcode.INIT: OPERATIONS[Opcode.INIT]}
        self._otherwise: tuple[Operation, int] = (too_early, 0)
        self.flags = 0
        self.largest = 0
        self._destroyed = False
        self.forgets = _is_written(filesystem, "forget") or _is_written(filesystem, "batch_forget")
        self.lists = _is_written(filesystem, "readdir")
        self.lists_plus = _is_written(filesystem, "readdirplus")
        self.entries_last = (self.lists or self.lists_plus) and not _is_written(filesystem, "getattr")
        """Whether what is said with a name is all there is to know of an inode."""

    # --- in and out -------------------------------------------------------------------------

    def handle(self, request: Buffer) -> Sequence[Buffer] | None:
        """The reply to one request: buffers for one ``writev``, or None where none is to be sent."""
        request = bytes(request)
        size = len(request)
        if size < _HEADER:
            return None
        length, opcode, unique, nodeid, uid, gid, pid, _, _ = _unpack_header(request)
        answer, least = self._table.get(opcode, self._otherwise)
        try:
            if length != size:
                raise OSError(EIO, "the header tells another length")
            if size < least:
                raise OSError(EINVAL, "too short")
            payload = answer(self, Context(unique, uid, gid, pid), nodeid, request)
            if type(payload) is bytes:
                return [_pack_header(_OUT + len(payload), 0, unique), payload]
            if payload is None:
                return None
            if isinstance(payload, list):
                return [_pack_header(_OUT + sum(map(len, payload)), 0, unique), *payload]
            return [_pack_header(_OUT + memoryview(payload).nbytes, 0, unique), payload]
        except OSError as error:
            code = error.errno
            if not isinstance(code, int) or not 0 < code <= MAX_ERRNO:
                code = self._errno_of(error, opcode, nodeid)
            elif code == ENOMEM and self.exhausted is not None:
                self.exhausted()
        except Exception as error:
            if lacks_memory(error) and self.exhausted is not None:
                self.exhausted()
            self.report(f"{_name_of(opcode)} of inode {nodeid}")
            code = EIO
        return None if opcode in SILENT else [_pack_header(_OUT, -code, unique)]

    def describe(self, request: Buffer, reply: Sequence[Buffer] | None) -> str:
        """One request and its reply as one line for a wire log."""
        from rofuse_mount import wirelog

        return wirelog.line(bytes(request), reply)

    def describe_json(self, request: Buffer, reply: Sequence[Buffer] | None) -> str:
        """One request and its reply as one JSON object in one line."""
        from rofuse_mount import wirelog

        return wirelog.json_line(bytes(request), reply)

    # --- the connection's life --------------------------------------------------------------

    @property
    def negotiated(self) -> bytes:
        """What INIT came to, for ``resume`` in another process. Raises ValueError before INIT."""
        if self.config is None:
            raise ValueError("nothing was negotiated yet")
        return negotiation.freeze(self.config)

    def resume(self, negotiated: bytes) -> None:
        """Serves a connection that another engine has negotiated, without INIT. Raises ValueError when that is not
        what ``negotiated`` says, and what ``Filesystem.init`` raises."""
        self._begin(Context(), negotiation.thaw(negotiated))

    def destroy(self) -> None:
        """Tells the filesystem that the mount has ended: once, however often this is called, and only if it began."""
        if self.config is not None and not self._destroyed:
            self._destroyed = True
            self.filesystem.destroy(Context())

    def _begin(self, ctx: Context, config: Config) -> None:
        self.filesystem.init(ctx, config)
        self.flags = config.flags
        # In pages of any machine: the size of a read is checked against absurdity, not against the agreement.
        self.largest = config.max_request * 16
        self.config = config
        self._otherwise = (unknown, 0)
        self._table = OPERATIONS

    def negotiate(self, ctx: Context, request: bytes) -> bytes:
        """INIT's reply. Raises OSError where the kernel is refused; ``failure`` says why."""
        if self.config is not None:
            raise OSError(EINVAL, "INIT again")
        try:
            major, minor, max_readahead, flags = negotiation.offer(request)
            if major > wire.KERNEL_VERSION:
                return negotiation.ask_again()
            want = negotiation.wanted(self.filesystem)
            config = negotiation.agree(minor, max_readahead, flags, want, self.options, self._page_size)
            reply = negotiation.reply(config, self.options, self._page_size)
            self._begin(ctx, config)
        except negotiation.ProtocolError as error:
            self.failure = str(error)
            raise OSError(EPROTO, self.failure) from error
        except Exception as error:
            self.failure = f"the filesystem could not begin: {error}"
            raise
        return reply

    # --- errors -----------------------------------------------------------------------------

    def _errno_of(self, error: OSError, opcode: int, nodeid: int) -> int:
        """The reply to an OSError without an errno that can be sent."""
        if error.errno is None:
            for kind in type(error).__mro__:
                if kind in _MEANING:
                    return _MEANING[kind]
        self.report(f"{_name_of(opcode)} of inode {nodeid}")
        return EIO

    def report(self, what: str) -> None:
        """Logs the exception that is being handled."""
        import traceback

        try:
            self._log(f"{what} failed:\n{traceback.format_exc().rstrip()}")
        except Exception:  # a log that cannot be written must not cost the answer
            pass


def _is_written(filesystem: Filesystem, method: str) -> bool:
    """Whether it is another than the default: its class's, or one that was put on the instance."""
    return getattr(getattr(filesystem, method), "__func__", None) is not getattr(Filesystem, method)


def _name_of(opcode: int) -> str:
    return wire.names(Opcode).get(opcode, f"opcode {opcode}")


def _log_error(message: str) -> None:
    import logging

    logging.getLogger("rofuse_mount").error("%s", message)
