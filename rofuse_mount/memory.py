"""Tells the C allocator what a process is for. Source: mallopt(3); without glibc there is nothing to do.

A server lives long: the decoded blocks in its cache come and go in threads. glibc would serve them from heaps of each
thread, raise its own threshold for giving memory back to the largest block ever freed, and so hold twice the cache.
Told to map large blocks one by one it holds what is in use.

A process that indexes lives for seconds and passes chunks of a MiB or more from thread to thread. Each of them mapped,
or trimmed off the heap when it is freed, would be zeroed by the kernel once more, page by page: a tenth of the time.
"""

from __future__ import annotations

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 512 << 10
_LARGEST = 32 << 20  # what glibc takes for the threshold, at most
_KEPT = 64 << 20


def bound_heaps() -> None:
    """For a process that serves. Call once, before the threads start."""
    _mallopt((_M_MMAP_THRESHOLD, _LARGE), (_M_ARENA_MAX, 1))


def keep_heaps() -> None:
    """For a process that indexes. Call once, before the threads start."""
    _mallopt((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _KEPT))


def _mallopt(*options: tuple[int, int]) -> None:
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in options:
            mallopt(*option)
