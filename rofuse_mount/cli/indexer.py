"""Indexes in a process of its own, which leaves nothing behind but the finished index, or an error.

It may need much memory for a while, and reads what a stranger wrote with C libraries.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from rofuse_formats import Settings, errors
from rofuse_formats.limits import MIB, three_quarters_of_memory
from rofuse_formats.source import StoredSource
from rofuse_mount.cli import outcome
from rofuse_mount.outliving import die_with_parent

if TYPE_CHECKING:
    import socket

_REPORT_MAX = 1 << 16
_DONE = b"done"
_GARBAGE = 200_000  # objects; a scan makes one for each member and hardly ever a circle of them


def write_index(source: StoredSource, fd: int, settings: Settings, *, draw: bool) -> int:
    """Has a child process write the index to ``fd``. Returns the descriptor of the spool that goes with it, -1 for
    none. Raises what the child would have raised."""
    import socket

    sys.stdout.flush()
    sys.stderr.flush()
    report, sink = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent(parent)  # nobody would want the index any more, and it may take minutes
        report.close()
        _index_and_exit(source, fd, settings, sink, draw)
    sink.close()
    spool, text, received = -1, b"", [-1]
    try:
        text, received, _flags, _address = socket.recv_fds(report, _REPORT_MAX, 1)
    finally:
        report.close()
        _pid, status = os.waitpid(pid, 0)
    if received and received[0] >= 0:
        spool = received[0]
        os.set_inheritable(spool, False)
    if text and text != _DONE:
        _raise_reported(text)
    if status or not text:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise errors.FormatError(f"indexing ended with {how}")
    return spool


def _index_and_exit(
    source: StoredSource, fd: int, settings: Settings, sink: socket.socket, draw: bool
) -> NoReturn:
    import gc
    import json
    import socket

    gc.freeze()  # what is there already stays: it need not be looked through, nor its pages copied
    gc.set_threshold(_GARBAGE)
    from rofuse_formats.indexing import write_index
    from rofuse_formats.spool_file import SpoolFile
    from rofuse_mount.cli.progress import Progress
    from rofuse_mount.memory import bound_memory, keep_one_heap, lacks_memory

    status = 0
    progress = Progress("indexing", os.fsdecode(source.name), draw)
    try:
        # a decoding thread that wants to go on should not wait for the scanner's 5 ms
        sys.setswitchinterval(0.0005)
        keep_one_heap()
        settings.limits.may_fork = True
        spool = SpoolFile(settings.spool_limit)
        bound_memory(settings.limits.max_memory or three_quarters_of_memory())
        write_index(source, fd, settings, progress, spool if settings.spool else None)
        socket.send_fds(sink, [_DONE], [spool.fd] if spool.fd >= 0 else [])
    except KeyboardInterrupt:
        status = outcome.INTERRUPTED
    except BaseException as error:
        status = 1
        if lacks_memory(error):
            error = errors.LimitError(of_memory(settings.limits.max_memory))
        if isinstance(error, errors.FormatError | OSError):
            os_error = [error.errno, error.strerror] if isinstance(error, OSError) else None
            sink.send(json.dumps([_public_name(error), str(error)[:4096], os_error]).encode())
        else:
            import traceback

            traceback.print_exc()
    finally:
        progress.close()
        os._exit(status)


def _public_name(error: BaseException) -> str:
    """Of its class, or of the one that it is a kind of: a module has kinds of its own."""
    return next(
        (kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__)), "FormatError"
    )


def of_memory(most: int | None) -> str:
    if most is None:
        return "indexing takes more memory than there is, or than this process may have (see ulimit -a)"
    return f"indexing takes more than {most / MIB:,.0f} MiB of memory; --max-memory raises the limit"


def _raise_reported(text: bytes) -> NoReturn:
    import json

    name, message, os_error = json.loads(text)
    if os_error:
        raise OSError(*os_error)
    kind = getattr(errors, name)
    raise kind(message)
