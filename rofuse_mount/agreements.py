"""What was agreed at INIT on the connections that this process serves, by descriptor: for who has nothing but that.

Rules
- A descriptor is known here from when its Server is made to when the last of that one's threads has left.
- No lock is shared between servers: a process that is forked makes its own, whatever other threads held.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rofuse_mount.engine import Engine


class Served:
    """One descriptor that is served, or will be."""

    __slots__ = ("_engine", "_fd", "_settled")

    def __init__(self, fd: int, engine: Engine) -> None:
        self._fd, self._engine = fd, engine
        self._settled = threading.Event()  # INIT was answered, or never will be
        _SERVED[fd] = self

    def settle(self) -> None:
        """INIT was answered."""
        self._settled.set()

    def end(self) -> None:
        if _SERVED.get(self._fd) is self:
            del _SERVED[self._fd]
        self._settled.set()

    def negotiated(self, timeout: float | None) -> bytes:
        if self._engine.config is None and not self._settled.wait(timeout):
            raise TimeoutError("INIT was not answered yet")
        return self._engine.negotiated


_SERVED: dict[int, Served] = {}


def negotiated(fd: int, timeout: float | None = None) -> bytes:
    """``Engine.negotiated`` of who serves ``fd`` here, when INIT is answered. Raises TimeoutError, and ValueError where
    nobody does."""
    served = _SERVED.get(fd)
    if served is None:
        raise ValueError(f"no server of this process has descriptor {fd}: say what was negotiated")
    return served.negotiated(timeout)
