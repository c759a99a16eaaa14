"""Patterns of paths, as ``--exclude`` takes them.

Rules
- ``*`` and ``?`` stand for anything but a slash, ``**`` for anything at all, ``[abc]``, ``[a-z]`` and ``[!abc]`` for
  one byte; a backslash takes the meaning from what follows it.
- A pattern without a slash means a name, wherever it lies; one with a slash a path from the root of the tree (a leading
  slash says just that). A trailing slash makes it mean directories only.
- Bytes, for names are bytes: ``?`` is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 4096


class Globs:
    """Several patterns. Raises ValueError for one that is empty, or longer than 4,096 bytes."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        of_all: list[bytes] = []
        of_directories: list[bytes] = []
        for pattern in patterns:
            stripped = pattern.rstrip(b"/")
            if not stripped or len(pattern) > _LONGEST:
                raise ValueError("a pattern is empty, or too long")
            anywhere = b"" if b"/" in stripped else b"(?:.*/)?"
            kind = of_directories if pattern.endswith(b"/") else of_all
            kind.append(anywhere + _translated(stripped.lstrip(b"/")))
        self._of_all, self._of_directories = _any_of(of_all), _any_of(of_directories)

    def match(self, path: bytes, directory: bool) -> bool:
        """Whether one of them means this path (relative, no slash at its ends)."""
        if self._of_all is not None and self._of_all.fullmatch(path):
            return True
        return directory and self._of_directories is not None and bool(self._of_directories.fullmatch(path))


def _any_of(translated: list[bytes]) -> re.Pattern[bytes] | None:
    return re.compile(b"|".join(translated), re.DOTALL) if translated else None


def _translated(pattern: bytes) -> bytes:
    """A pattern as a regular expression."""
    found, position = [], 0
    while position < len(pattern):
        piece, position = _piece(pattern, position)
        found.append(piece)
    return b"".join(found)


def _piece(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression for what begins at ``at``, and where the next begins."""
    byte = pattern[at : at + 1]
    if byte == b"*":
        end = at
        while pattern[end : end + 1] == b"*":
            end += 1
        if end - at == 1:
            return b"[^/]*", end
        if pattern[end : end + 1] == b"/" and pattern[at - 1 : at] in (b"", b"/"):
            return b"(?:.*/)?", end + 1  # **/x is x as well
        return b".*", end
    if byte == b"?":
        return b"[^/]", at + 1
    if byte == b"[":
        end = pattern.find(b"]", at + 2 + (pattern[at + 1 : at + 2] in (b"!", b"^")))
        if end > 0:
            return _set(pattern[at + 1 : end]), end + 1
    if byte == b"\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1 : at + 2]), at + 2
    return re.escape(byte), at + 1


def _set(inside: bytes) -> bytes:
    """``[...]``: bytes and ranges of them, never a slash."""
    negated = inside[:1] in (b"!", b"^")
    inside = inside[negated:]
    meant: set[int] = set()
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == b"-" and at + 2 < len(inside):
            meant.update(range(inside[at], inside[at + 2] + 1))
            at += 3
        else:
            meant.add(inside[at])
            at += 1
    if negated:
        meant = set(range(256)) - meant
    meant.discard(ord("/"))
    if not meant:
        return b"(?!)"
    return b"[" + b"".join(re.escape(bytes((byte,))) for byte in sorted(meant)) + b"]"
