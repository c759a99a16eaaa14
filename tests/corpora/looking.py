"""What lies in a directory, by system calls alone, errors included: run as a process of its own, so that a mount that
hangs can be given up. Prints one JSON object, from path (surrogate escapes) to what is there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from typing import Any

_LARGEST = 1 << 28  # bytes of a file that are read


def look(root: str) -> dict[str, dict[str, Any]]:
    """Everything below ``root``."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            names = os.listdir(os.path.join(root, below))
        except OSError as error:
            found[below]["error"] = _name(error)
            continue
        for name in names:
            path = os.path.join(below, name)
            try:
                found[path] = _described(os.path.join(root, path))
            except OSError as error:
                found[path] = {"type": "?", "error": _name(error)}
            if found[path]["type"] == "dir":
                waiting.append(path)
    return found


def _described(path: str) -> dict[str, Any]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    fact: dict[str, Any] = {
        "type": "other",
        "mode": stat.S_IMODE(status.st_mode),
        "mtime": int(status.st_mtime),
    }
    if kind == stat.S_IFDIR:
        fact["type"] = "dir"
    elif kind == stat.S_IFLNK:
        fact |= {"type": "symlink", "target": os.readlink(path)}
    elif kind == stat.S_IFREG:
        fact |= {"type": "file", "size": status.st_size}
        try:
            fact["digest"] = _digest(path, status.st_size)
        except OSError as error:
            fact["error"] = _name(error)
    return fact


def _digest(path: str, size: int) -> str:
    """Of all bytes; of a large file's ends."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for start in [0] if size <= _LARGEST else [0, size - (1 << 20)]:
            file.seek(start)
            left = size if size <= _LARGEST else 1 << 20
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
    return digest.hexdigest()


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
