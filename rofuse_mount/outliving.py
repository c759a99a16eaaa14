"""Who ends when the process ends that started it, however that ends. Source: PR_SET_PDEATHSIG, prctl(2)."""

from __future__ import annotations

import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Has the kernel kill this process when the thread that forked it ends. ``parent``: its process, where that can be
    seen from here; ends at once if it has ended already."""
    import ctypes  # which hardly anybody else wants

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
