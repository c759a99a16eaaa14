"""Tells the C allocator how this process uses memory.

What is decoded comes in blocks of 128 KiB and chunks of a MiB, between windows of several, and goes again, in threads.
Left to itself glibc serves each thread from heaps of its own, which together hold twice what is in use; and it maps
what is large, or trims it off the heap, so that the kernel zeroes it anew each time, page by page: that takes longer
than decoding it. So there is one heap for all, and it keeps what it has.
"""

from __future__ import annotations

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
