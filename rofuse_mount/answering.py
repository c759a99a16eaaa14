"""How a serving thread has a request answered: by the engine, or by the engine with a line for each in the log."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from rofuse_mount.records import Buffer

Requests: TypeAlias = Generator[memoryview, None, None]
"""What one thread is to answer; closed when it leaves earlier than at their end."""
Handle: TypeAlias = Callable[[memoryview], Sequence[Buffer] | None]
"""A request to its reply; None where none is due."""


def logged(
    handle: Handle,
    describe: Callable[[memoryview, Sequence[Buffer] | None], str],
    log: Callable[[str, str], None],
) -> Handle:
    """``handle``, and what ``describe`` says of each request and its reply goes to ``log``."""

    def both(request: memoryview) -> Sequence[Buffer] | None:
        reply = handle(request)
        log("%s", describe(request, reply))
        return reply

    return both
