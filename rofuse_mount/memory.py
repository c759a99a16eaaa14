"""Tells the C allocator how this process uses memory, and the kernel how much of it there may be.

What is decoded comes in blocks of 128 KiB and chunks of a MiB, between windows of several, and goes again, in threads.
Left to itself glibc serves each thread from heaps of its own, which together hold twice what is in use; and it maps
what is large, or trims it off the heap, so that the kernel zeroes it anew each time, page by page: that takes longer
than decoding it. So there is one heap for all, and it keeps what it has.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOMEM

_SHARED, _DATA = 2, 5  # fields of statm
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST = 32 << 20  # bytes; what glibc takes for a threshold of mapping, at most
_KEPT = 64 << 20


def keep_one_heap() -> None:
    """To be called once, before the threads start. Without glibc there is nothing to do. Source: mallopt(3)."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def bound_memory(most: int) -> None:
    """Lets this process, and what it starts, have ``most`` bytes beyond what it has, and no more than before. Of mapped
    files nothing counts: RLIMIT_DATA (getrlimit(2)). Raises OSError."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [_used(_DATA) + most, *(bound for bound in before if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), before[1]))


def mapped_memory() -> int:
    """Bytes of files that count as this process's memory. Raises OSError."""
    return _used(_SHARED)


def _used(field: int) -> int:
    """Bytes. Source: proc_pid_statm(5)."""
    fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 256).split()[field]) * mmap.PAGESIZE
    finally:
        os.close(fd)


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """``bound_memory`` for a while. Raises MemoryError where there was no room, however that was said."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound_memory(most)
    try:
        yield
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def lacks_memory(error: BaseException) -> bool:
    """Whether there was no room for an object, for a process, for a module that is imported when it is first needed, or
    for the stack of a thread. Some C code that finds none returns without a word: the interpreter complains."""
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    words = {
        ImportError: ("failed to map segment", "annot allocate memory"),
        RuntimeError: ("new thread",),
        SystemError: ("without exception set", "without setting an exception"),  # of C code that found none
    }
    told = str(error)
    return isinstance(error, MemoryError) or any(
        isinstance(error, kind) and any(word in told for word in known) for kind, known in words.items()
    )
