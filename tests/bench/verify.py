"""Compares a mount with the tree that it must be: attributes of every entry, SHA-256 of every file.

    python -m tests.bench.verify EXPECTED MOUNTPOINT [QUARTER]

EXPECTED is text as in ``tests/trees.py``. Files are read in the order of their paths, from that quarter (0 to 3) of
them on and around. Prints what differs, a line each, and ends with status 1 if anything does. A program of its own, for
it touches a mount.
"""

from __future__ import annotations

import hashlib
import os
import sys

from tests.trees import DIGEST_LIMIT, Tree, difference, read_expected, snapshot

SHOWN = 20


def main(expected: str, mountpoint: str, quarter: str = "0") -> int:
    found = snapshot(mountpoint, content=False)
    read_files(found, os.fsencode(mountpoint), int(quarter))
    lines = difference(read_expected(expected), found)
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more")
    return 1 if lines else 0


def read_files(tree: Tree, root: bytes, quarter: int) -> None:
    """Puts in the digests, each inode's once."""
    files = [path for path, record in tree.items() if record.kind == "file" and record.first == path]
    start = len(files) * quarter // 4
    for path in files[start:] + files[:start]:
        if (tree[path].size or 0) <= DIGEST_LIMIT:
            with open(os.path.join(root, path), "rb", buffering=0) as file:
                tree[path] = tree[path]._replace(digest=hashlib.file_digest(file, "sha256").hexdigest())
    for path, record in tree.items():
        if record.kind == "file":
            tree[path] = record._replace(digest=tree[record.first].digest)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
