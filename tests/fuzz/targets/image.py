"""The inode image's reader: bytes that are no image, or a damaged one, raise IndexDamagedError or IndexError, nothing
else, and a walk ends. What can be walked is asked for everything, as the filesystem over an archive and the dump do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image.dump import dump
from rofuse_formats.image.reader import Image
from tests.fuzz.targets._archives import opened

MAX_LEN = 1 << 14
MOST = 1000  # names of one image that are asked about

_DAMAGE = (IndexDamagedError, IndexError)


def seeds() -> Iterator[bytes]:
    for archive in opened(".tar", 1 << 17):
        image = bytes(archive.image.buffer)
        if len(image) <= MAX_LEN:
            yield image


def fuzz(data: bytes) -> None:
    try:
        image = Image(data)
    except _DAMAGE:
        return
    try:
        for _line in islice(dump(image), MOST):
            pass
    except _DAMAGE:
        pass
    try:
        assert sum(1 for _ in image.walk()) <= image.dirent_count  # each name at most once, whatever it says
    except _DAMAGE:
        pass
    try:
        for path, node in islice(image.walk(), MOST):
            ask_everything(image, path, node)
    except _DAMAGE:
        pass


def ask_everything(image: Image, path: bytes, node: int) -> None:
    for ask in (image.extents, image.xattrs, image.times, image.path, image.dirents, image.target):
        try:
            ask(node)
        except _DAMAGE:
            continue
    for question in (path, path + b"/..", path + b"x"):
        try:
            image.resolve(question)
        except _DAMAGE:
            continue
