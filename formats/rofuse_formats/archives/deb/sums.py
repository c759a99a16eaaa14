"""The MD5 sums of a package's files, as its control archive may have them (deb-md5sums(5)).

Layout: a line for each file, 32 hexadecimal digits, two characters, the path from the root of the data archive. Where
there is a backslash before the digits, ``\\\\`` and ``\\n`` in the path stand for a backslash and a line's end.

Rules
- A line that is none says nothing of any file.
"""

from __future__ import annotations

import re

from rofuse_formats.seals import Digest

LIST = b"control/md5sums"
_BELOW = b"data/"
_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{32}) [ *](.+)")
_ESCAPE = re.compile(rb"\\([\\n])")
_ESCAPED = {b"\\": b"\\", b"n": b"\n"}


def of_files(text: bytes) -> dict[bytes, Digest]:
    """By the paths of the tree."""
    found = {}
    for line in text.split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        path = match[3]
        if match[1]:
            path = _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], path)
        path = path.removeprefix(b"./").lstrip(b"/")
        found[_BELOW + path] = Digest("md5", bytes.fromhex(match[2].decode("ascii")))
    return found
