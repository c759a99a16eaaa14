"""What a filesystem gave as bytes: an answer to a READ, as the buffers of one writev(2), and shorter values.

Rules
- Whatever has the buffer protocol is bytes (an array, a mapping, ...), and nothing else: not a number, of which
  ``bytes`` would make zeros, nor a list of some.
- Nothing of a READ's buffer is looked at: it may be a mapping whose file was truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rofuse_mount.records import Buffer

MAX_BUFFERS = 1024  # of one writev (IOV_MAX), the reply's header among them


def octets(value: Any) -> bytes:
    """A copy of the bytes. Raises TypeError where it is no buffer."""
    return value if type(value) is bytes else memoryview(value).tobytes()


def _flat(part: Any) -> Buffer:
    """The same bytes as something that counts and cuts by the byte."""
    view = memoryview(part)
    if view.c_contiguous:
        return view.cast("B") if view.nbytes else b""
    return view.tobytes()


def within(data: Buffer | Sequence[Buffer], size: int) -> list[Buffer]:
    """What a read gave, as few enough buffers, and cut to what was asked for. Nothing of it is looked at."""
    parts: list[Buffer] = []
    for part in data if isinstance(data, list | tuple) else (data,):
        flat = _flat(part)
        length = len(flat)
        if length > size:
            flat, length = memoryview(flat)[:size], size
        if length:
            parts.append(flat)
            size -= length
    return parts if len(parts) < MAX_BUFFERS else [b"".join(parts)]
