"""Keeps the C allocator from keeping what a server gives back.

The decoded blocks in the cache come and go in threads. glibc would serve them from heaps of each thread, raise its own
threshold for giving memory back to the largest block ever freed, and so hold twice the cache. Told to map large blocks
one by one it holds what is in use. Source: mallopt(3).
"""

from __future__ import annotations

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE = 512 << 10


def bound_heaps() -> None:
    """Call once, before the threads start. Without glibc there is nothing to do."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 1)
