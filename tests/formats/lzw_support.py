"""Data as .Z."""

from __future__ import annotations

import libarchive


def lzw(data: bytes) -> bytes:
    """``data`` as .Z, by libarchive, which makes a byte of nothing."""
    if not data:
        return b"\x1f\x9d\x90"
    parts: list[bytes] = []

    def write(part: memoryview) -> int:
        parts.append(bytes(part))
        return len(parts[-1])

    with libarchive.custom_writer(write, "raw", "compress") as archive:
        archive.add_file_from_memory("data", len(data), data)
    return b"".join(parts)
