"""A descriptor of /dev/fuse: requests come out of it, replies, notifications and ioctls go into it.

Strategy
One ``readv`` into a reused buffer is one request, one ``writev`` is one reply; nothing is copied here and nothing is
looked at but the unique number of a request. Every request is answered: a reply that the kernel refuses is followed
by a bare EIO for the same request, so that nobody waits for an answer that was lost.

Rules
- Any number of threads may use one Device, each with a ``requests()`` iterator (and so a buffer) of its own. The
  memory of a request is good until that iterator is advanced.
- A reply goes to the descriptor that its request was read from, clones included: anywhere else the kernel does not
  know the request (ENOENT).
- ENOENT from a write means that the request is gone (it was interrupted, the connection ended): no error.
- Buffers of a reply reach ``writev`` untouched. A page of a mapped file that was truncated raises SIGBUS when Python
  looks at it, and only EFAULT when the kernel does. At most 1,024 buffers a reply (IOV_MAX).
- All descriptors made here are close-on-exec.
- A SEQPACKET socket serves as well as the device, for tests: a message is a request, end of file is the end.

Source of the numbers: include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from errno import EAGAIN, ECONNABORTED, EINTR, EIO, ENODEV, ENOENT

from rofuse_mount import wire
from rofuse_mount.answering import Requests
from rofuse_mount.records import Buffer
from rofuse_mount.wire import NotifyCode, Opcode

PATH = "/dev/fuse"

_PAGE = 4096
_UNIQUE_END = 16
_ENDED = frozenset((ENODEV, ECONNABORTED))  # unmounted; aborted, where ABORT_ERROR was negotiated
_NO_REPLY = frozenset((Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT))


def open_device() -> int:
    """A new descriptor of /dev/fuse, not yet connected to a mount. Raises OSError."""
    return os.open(PATH, os.O_RDWR | os.O_CLOEXEC)


def buffer_size(max_write: int) -> int:
    """Bytes a request can have where ``max_write`` was negotiated: the kernel refuses to read into fewer."""
    return max(wire.MIN_READ_BUFFER, max_write + _PAGE)


def was_sent_before(request: memoryview) -> bool:
    """Whether a request, a header at least, was delivered to somebody before (RESEND)."""
    return bool(request[_UNIQUE_END - 1] & 0x80)  # the highest bit of ``unique``


def readable(descriptors: Iterable[int], seconds: float | None = None) -> list[int]:
    """Sleeps until some of them have something to read, or their end: those; none when that lasts too long. Unlike
    ``select`` it takes any descriptor, however many there are."""
    from select import POLLIN, poll

    poller = poll()
    for fd in descriptors:
        poller.register(fd, POLLIN)
    return [fd for fd, _events in poller.poll(None if seconds is None else seconds * 1000)]


class Device:
    """One descriptor. It does not own it until ``close`` is called."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd

    def close(self) -> None:
        """Gives the descriptor back. The last one of a connection that is closed ends the connection."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def requests(self, buffer: bytearray, wait: Callable[[int], None] = lambda fd: None) -> Requests:
        """Each request as a slice of ``buffer``, a header at least, until the file system is unmounted. ``wait`` is
        called with the descriptor before each read. Raises OSError where the descriptor is not of a mount (EPERM) or
        the buffer is too small (EINVAL)."""
        fd, readv, into, view, least = self.fd, os.readv, [buffer], memoryview(buffer), wire.IN_HEADER.size
        while True:
            wait(fd)
            try:
                size = readv(fd, into)
            except OSError as error:
                if error.errno in _ENDED:
                    return
                if error.errno == EAGAIN:
                    readable((fd,))
                elif error.errno not in (EINTR, ENOENT):  # ENOENT: interrupted before it was read
                    raise
                continue
            if size >= least:
                yield view[:size]
            elif not size:
                return

    def reply(self, request: memoryview, reply: Sequence[Buffer]) -> int:
        """Answers a request with a header and its payload. Returns 0, or the errno for which the kernel refused
        the reply; then the request was answered EIO."""
        try:
            os.writev(self.fd, reply)
        except OSError as error:
            if error.errno == ENOENT:
                return 0
            self.refuse(request)
            return error.errno or EIO
        return 0

    def refuse(self, request: memoryview, errno: int = EIO) -> None:
        """Answers a request with nothing but an error. Never raises: there is nobody left to tell."""
        _, opcode, unique, *_ = wire.IN_HEADER.unpack_from(request)
        if not unique or opcode in _NO_REPLY:  # unique 0 would be taken for a notification
            return
        try:
            os.write(self.fd, wire.OUT_HEADER.pack(wire.OUT_HEADER.size, -errno, unique))
        except OSError:
            return  # answered after all, or the connection has ended

    # More descriptors, and files behind them

    def clone(self) -> Device:
        """A second descriptor of the same connection, with a queue of its own for what was read from it."""
        fd = open_device()
        try:
            # Only a mutable buffer makes ioctl return the call's result and not the buffer.
            fcntl.ioctl(fd, wire.DEV_IOC_CLONE, bytearray(self.fd.to_bytes(4, "little")))
        except BaseException:
            os.close(fd)
            raise
        return Device(fd)

    def backing_open(self, fd: int) -> int:
        """Registers an open file for passthrough; the id goes into replies to OPEN. Needs CAP_SYS_ADMIN (EPERM) and
        PASSTHROUGH negotiated. Raises OSError."""
        backing_map = bytearray(wire.BACKING_MAP.pack(fd, 0, 0))
        backing_id: int = fcntl.ioctl(self.fd, wire.DEV_IOC_BACKING_OPEN, backing_map)
        return backing_id

    def backing_close(self, backing_id: int) -> None:
        """Ends a registration; files opened through it stay usable. Raises OSError (ENOENT: no such id)."""
        fcntl.ioctl(self.fd, wire.DEV_IOC_BACKING_CLOSE, bytearray(backing_id.to_bytes(4, "little")))

    # Notifications: True when the kernel took it, False when it does not know the inode or entry (nothing to do
    # then). OSError: EINVAL where the kernel does not know the notification.

    def notify(self, code: int, *body: Buffer) -> bool:
        size = wire.OUT_HEADER.size + sum(map(len, body))
        try:
            os.writev(self.fd, [wire.OUT_HEADER.pack(size, code, 0), *body])
        except OSError as error:
            if error.errno == ENOENT:
                return False
            raise
        return True

    def invalidate_inode(self, ino: int, offset: int = 0, length: int = 0) -> bool:
        """Drops cached attributes, and cached bytes [offset, offset+length); length 0 is to the end, offset -1 is
        attributes only."""
        return self.notify(NotifyCode.INVAL_INODE, wire.NOTIFY_INVAL_INODE_OUT.pack(ino, offset, length))

    def invalidate_entry(self, parent: int, name: bytes, *, expire_only: bool = False) -> bool:
        """Drops a cached name (a negative one too). With ``expire_only`` (HAS_EXPIRE_ONLY) it is only asked again."""
        return self.notify(
            NotifyCode.INVAL_ENTRY,
            wire.NOTIFY_INVAL_ENTRY_OUT.pack(parent, len(name), int(expire_only)),
            name,
            b"\0",
        )

    def deleted(self, parent: int, child: int, name: bytes) -> bool:
        """Says that a name is gone: it is dropped even where it is in use."""
        return self.notify(
            NotifyCode.DELETE, wire.NOTIFY_DELETE_OUT.pack(parent, child, len(name), 0), name, b"\0"
        )

    def store(self, ino: int, offset: int, *data: Buffer) -> bool:
        """Puts bytes into the page cache of an inode that the kernel knows. It can wait for a page that an
        outstanding READ holds: never from the only thread that could answer that READ."""
        size = sum(map(len, data))
        return self.notify(NotifyCode.STORE, wire.NOTIFY_STORE_OUT.pack(ino, offset, size, 0), *data)

    def resend(self) -> bool:
        """Makes the kernel deliver again every request that was read and not answered, with bit 63 of its unique
        number set. Needs HAS_RESEND (EINVAL without)."""
        return self.notify(NotifyCode.RESEND)

    def new_epoch(self) -> bool:
        """Makes every cached name be asked again (INC_EPOCH, protocol 7.44)."""
        return self.notify(NotifyCode.INC_EPOCH)
