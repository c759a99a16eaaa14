"""Tars to be packed, and packs of them."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import rofuse_formats
from rofuse_formats import Archive
from rofuse_formats.archives.pack.superblock import Superblock
from rofuse_formats.packing import Options, write_pack

BLOCK = 4096


def files() -> dict[str, bytes]:
    """Of every kind that the writer tells apart."""
    chance = random.Random(7)
    noise = chance.randbytes(5 * BLOCK + 100)
    prose = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(900))
    found = {f"many/{number:03}": b"# number %d\nimport this\n" % number * 9 for number in range(60)}
    return found | {
        "copies/one": prose,
        "copies/two": prose,
        "copies/part": noise[: 2 * BLOCK] + prose,
        "empty": b"",
        "noise": noise,
        "holes": b"begin" + bytes(6 * BLOCK) + prose[:3000] + bytes(9 * BLOCK + 5),
        "zeros": bytes(3 * BLOCK),
        "exact": noise[BLOCK : 2 * BLOCK],
    }


def tar_of(content: dict[str, bytes], path: Path, *, mtime: int = 1_700_000_000) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), mtime, 0o640
            tar.addfile(member, io.BytesIO(data))
    os.utime(path, (mtime, mtime))  # which is that of the root
    return path


def packed(source: Path, out: Path, **options: Any) -> tuple[Path, Superblock]:
    """``options``: of ``Options``; blocks are small unless it is said otherwise."""
    how = Options(**({"block_size": BLOCK} | options))
    fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        with rofuse_formats.open(source, keep=False) as archive:
            return out, write_pack(archive, fd, how)
    finally:
        os.close(fd)


def opened(path: Path) -> Archive:
    return rofuse_formats.open(path, keep=False)


def content(archive: Archive) -> dict[str, bytes]:
    """The bytes of all files."""
    found = {}
    for path, node in archive.image.walk():
        if not archive.image.is_directory(node):
            pieces = archive.read(node, 0, archive.image.size[node - 1])
            found[path.decode()] = b"".join(pieces)
    return found
