"""Patterns of paths: any bytes are a pattern or are refused, and one that was escaped means itself and nothing else.

Before the first newline lies the pattern, behind it the path.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.globs import Globs

MAX_LEN = 200


def seeds() -> Iterator[bytes]:
    yield b"*.o\nd/a.o"
    yield b"**/d/[!a-c]?\nx/y/d/ef"
    yield b"/a\\*[]\na*"


def fuzz(data: bytes) -> None:
    pattern, _newline, path = data.partition(b"\n")
    path = path.strip(b"/")
    try:
        Globs([pattern[:20]]).match(path[:40], True)  # short: stars in a row take their time
    except ValueError:
        assert not pattern[:20].strip(b"/")
    if path:
        itself = Globs([b"/" + b"".join(b"\\%c" % byte if byte != ord("/") else b"/" for byte in path)])
        assert itself.match(path, False)
        assert not itself.match(path + b"x", False)
        assert not itself.match(b"x" + path, False)
