"""A descriptor of the device: reading, replying, refusing, notifying, without a kernel."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator

import pytest

from rofuse_mount import wire
from rofuse_mount.device import Device, buffer_size
from rofuse_mount.wire import NotifyCode, Opcode
from tests.protocol.socket_kernel import SocketKernel


@pytest.fixture
def kernel() -> Iterator[SocketKernel]:
    with SocketKernel() as kernel:
        yield kernel


@pytest.fixture
def device(kernel: SocketKernel) -> Device:
    return Device(kernel.fd)


def header(error: int, unique: int, body: bytes = b"") -> bytes:
    return wire.OUT_HEADER.pack(wire.OUT_HEADER.size + len(body), error, unique)


class Faulty:
    """Replaces readv and writev by a script of errors; then lets the real ones through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *errors: int) -> None:
        self.errors = list(errors)
        self.real = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments: object) -> object:
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        return self.real(*arguments)


# --- reading --------------------------------------------------------------------------------


def test_each_message_is_one_request_in_the_same_buffer(kernel: SocketKernel, device: Device) -> None:
    kernel.request(Opcode.GETATTR, bytes(16), nodeid=7)
    kernel.request(Opcode.LOOKUP, b"name\0", nodeid=8)
    buffer = bytearray(buffer_size(4096))
    requests = device.requests(buffer)
    assert wire.IN_HEADER.unpack_from(next(requests))[:4] == (56, Opcode.GETATTR, 2, 7)
    second = next(requests)
    assert bytes(second[wire.IN_HEADER.size :]) == b"name\0"
    assert second.obj is buffer


def test_end_of_file_ends_the_iteration(kernel: SocketKernel, device: Device) -> None:
    kernel.request(Opcode.STATFS)
    kernel.end()
    assert len(list(device.requests(bytearray(8192)))) == 1


def test_a_message_too_short_for_a_header_is_passed_over(kernel: SocketKernel, device: Device) -> None:
    kernel.socket.send(bytes(39))
    kernel.request(Opcode.STATFS)
    kernel.end()
    assert [request[4] for request in device.requests(bytearray(8192))] == [Opcode.STATFS]


def test_passing_errors_of_a_read_are_retried(
    kernel: SocketKernel, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Faulty(monkeypatch, "readv", errno.EINTR, errno.ENOENT, errno.EAGAIN)
    kernel.request(Opcode.STATFS)
    assert next(device.requests(bytearray(8192)))[4] == Opcode.STATFS
    assert script.errors == []


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ECONNABORTED])
def test_an_unmounted_or_aborted_connection_is_the_end(
    device: Device, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    Faulty(monkeypatch, "readv", code)
    assert list(device.requests(bytearray(8192))) == []


def test_other_errors_of_a_read_are_raised(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    Faulty(monkeypatch, "readv", errno.EINVAL)
    with pytest.raises(OSError) as caught:
        next(device.requests(bytearray(8192)))
    assert caught.value.errno == errno.EINVAL


def test_a_non_blocking_descriptor_waits_for_its_next_request(kernel: SocketKernel, device: Device) -> None:
    os.set_blocking(kernel.fd, False)
    requests = device.requests(bytearray(8192))
    timer = threading.Timer(0.05, kernel.request, (Opcode.STATFS,))
    timer.start()
    assert next(requests)[4] == Opcode.STATFS
    timer.join()


@pytest.mark.parametrize("max_write", [0, 4096, 1 << 17])
def test_a_buffer_holds_the_largest_request(max_write: int) -> None:
    size = buffer_size(max_write)
    assert size >= wire.MIN_READ_BUFFER
    assert size >= max_write + wire.IN_HEADER.size + wire.WRITE_IN.size


def test_descriptors_do_not_reach_programs_that_are_started(kernel: SocketKernel) -> None:
    os.set_inheritable(kernel.fd, True)
    assert not os.get_inheritable(Device(kernel.fd).fd)


# --- replying -------------------------------------------------------------------------------


def read_one(kernel: SocketKernel, device: Device, opcode: int = Opcode.READ, unique: int = 42) -> memoryview:
    kernel.request(opcode, bytes(40), unique=unique)
    return next(device.requests(bytearray(8192)))


def test_a_reply_is_one_message_of_its_buffers(kernel: SocketKernel, device: Device) -> None:
    request = read_one(kernel, device)
    assert device.reply(request, [header(0, 42, b"abcdef"), b"abc", memoryview(b"def")]) == 0
    reply = kernel.reply()
    assert (reply.error, reply.unique, reply.body) == (0, 42, b"abcdef")


def test_a_reply_to_a_request_that_is_gone_is_no_error(
    kernel: SocketKernel, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = read_one(kernel, device)
    Faulty(monkeypatch, "writev", errno.ENOENT)
    assert device.reply(request, [header(0, 42)]) == 0
    kernel.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        kernel.reply()


@pytest.mark.parametrize("code", [errno.EFAULT, errno.EINVAL, errno.ENOMEM])
def test_a_refused_reply_is_followed_by_eio(
    kernel: SocketKernel, device: Device, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    request = read_one(kernel, device)
    Faulty(monkeypatch, "writev", code)
    assert device.reply(request, [header(0, 42)]) == code
    reply = kernel.reply()
    assert (reply.error, reply.unique, reply.body) == (-errno.EIO, 42, b"")


def test_a_page_that_was_truncated_away_is_eio_and_no_death(kernel: SocketKernel, device: Device) -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 16)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        file.truncate(0)
        page = memoryview(mapped)[4096:8192]
        request = read_one(kernel, device)
        assert device.reply(request, [header(0, 42, bytes(4096)), page]) == errno.EFAULT
        assert kernel.reply().error == -errno.EIO
        page.release()
        mapped.close()


@pytest.mark.parametrize("opcode", [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT])
def test_what_is_never_answered_is_not_refused(kernel: SocketKernel, device: Device, opcode: int) -> None:
    device.refuse(read_one(kernel, device, opcode))
    device.refuse(read_one(kernel, device, Opcode.READ, unique=0))
    kernel.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        kernel.reply()


def test_refusing_when_the_connection_has_ended_is_quiet(kernel: SocketKernel, device: Device) -> None:
    request = read_one(kernel, device)
    kernel.end()
    device.refuse(request)


# --- notifications --------------------------------------------------------------------------


def test_notifications_are_what_the_header_says(kernel: SocketKernel, device: Device) -> None:
    cases = [
        (device.invalidate_inode(5, 10, 20), NotifyCode.INVAL_INODE, struct.pack("<Qqq", 5, 10, 20)),
        (
            device.invalidate_entry(1, b"name", expire_only=True),
            NotifyCode.INVAL_ENTRY,
            struct.pack("<QII", 1, 4, 1) + b"name\0",
        ),
        (device.deleted(1, 9, b"x"), NotifyCode.DELETE, struct.pack("<QQII", 1, 9, 1, 0) + b"x\0"),
        (
            device.store(6, 4096, b"abc", b"de"),
            NotifyCode.STORE,
            struct.pack("<QQII", 6, 4096, 5, 0) + b"abcde",
        ),
        (device.resend(), NotifyCode.RESEND, b""),
        (device.new_epoch(), NotifyCode.INC_EPOCH, b""),
    ]
    for taken, code, body in cases:
        assert taken
        message = kernel.reply()
        assert (message.unique, message.error, message.body) == (0, code, body)


def test_an_inode_that_the_kernel_does_not_know_needs_no_notification(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    Faulty(monkeypatch, "writev", errno.ENOENT, errno.EINVAL)
    assert not device.invalidate_inode(5)
    with pytest.raises(OSError):
        device.resend()


def test_ioctls_on_what_is_no_device_raise(device: Device) -> None:
    with socket.socket() as other:
        for call in (
            device.clone,
            lambda: device.backing_open(other.fileno()),
            lambda: device.backing_close(1),
        ):
            with pytest.raises(OSError):
                call()
