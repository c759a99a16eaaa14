"""A directory with every odd thing that this user may make."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

ALL_BYTES = [bytes((byte,)) for byte in range(1, 256) if byte != ord("/")]


def odd_tree(folder: Path) -> Path:
    """Makes the tree, and returns its root."""
    root = folder / "tree"
    (root / "d" / "e").mkdir(parents=True)
    (root / "empty").mkdir()
    top = os.fsencode(root) + b"/"
    for byte in ALL_BYTES:
        _write(top + b"d/n" + byte, byte * byte[0])
    _write(top + b"d/" + b"x" * 255, b"long")
    _write(top + b"a", b"hello")
    os.utime(top + b"a", ns=(5, -1_500_000_001))
    (root / "a").chmod(0o4751)
    os.link(root / "a", root / "d" / "a2")
    os.setxattr(root / "a", "user.odd", b"1\0\xff")
    os.setxattr(root / "d", "user.directory", b"")
    os.symlink("a", root / "s")
    os.symlink("/" + "y" * 900, root / "astray")
    os.link(root / "s", root / "s2", follow_symlinks=False)
    os.mkfifo(root / "fifo")
    _write(top + b"big", bytes(range(256)) * 4096 + b"end")
    _write(top + b"zero", b"")
    _sparse(root / "sparse", 1 << 32, {1 << 20: b"x" * 10_000, (1 << 32) - 3: b"end"})
    _sparse(root / "hole", 1 << 20, {})
    with socket.socket(socket.AF_UNIX) as listener:
        fd = os.open(root, os.O_PATH)
        listener.bind(f"/proc/self/fd/{fd}/sock")
        os.close(fd)
    if os.geteuid() == 0:
        os.mknod(root / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
        os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
        os.chown(root / "zero", 12_345, 2_000_000_000)
    return root


def _write(path: bytes, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, data)
    os.close(fd)


def _sparse(path: Path, size: int, data: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, piece in data.items():
            file.seek(offset)
            file.write(piece)
