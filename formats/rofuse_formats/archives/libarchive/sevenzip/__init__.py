"""The folders of a 7z archive: which files are compressed together, and which lie in it as they are.

libarchive reads all that and tells none of it. Here the header is read once more, as far as that goes (7-Zip's
7zFormat.txt); a header that is compressed is decoded by the standard library.

The target of a symbolic link is compressed with the files, and libarchive decodes all up to it when it comes by the
link. Where there are links, it is therefore given another header, in which they are *masked*: called sockets, which
7z archives do not have, and whose bytes it leaves alone until they are asked for.

Rules
- What is not understood is no error: ``contents`` gives None, and the archive is taken as one piece.
- Every count is checked against the bytes that must stand for it before anything is made of it.
"""

from __future__ import annotations

import stat
import struct
from typing import NamedTuple

from rofuse_formats.archives.libarchive.sevenzip.header import HEADER, LARGEST, Pread, header_of
from rofuse_formats.archives.libarchive.sevenzip.reading import Bytes, MisunderstoodError
from rofuse_formats.archives.libarchive.sevenzip.streams import Folder, streams

_END, _STREAMS, _FILES, _ATTRIBUTES = 0, 4, 5, 21
_HAS_MODE = 0x8000


class Contents(NamedTuple):
    """What a header tells."""

    folders: list[Folder]
    """In the order of their files."""
    masked: bytes | None
    """The header, with masked links; None where there are no links."""


def contents(pread: Pread, size: int) -> Contents | None:
    """What the header of an archive of ``size`` bytes tells; None where it is not understood."""
    try:
        data = header_of(pread, size, LARGEST)
        header = Bytes(data)
        header.expect(HEADER)
        return _of_header(header, data)
    except MisunderstoodError:
        return None


def _of_header(header: Bytes, data: bytes) -> Contents | None:
    tag = header.byte()
    if tag == _FILES:
        return Contents([], None)
    if tag != _STREAMS:
        return None
    found = streams(header)
    try:
        return Contents(found, _masked(header, data))
    except MisunderstoodError:
        return Contents(found, None)


def _masked(header: Bytes, data: bytes) -> bytes | None:
    """``header`` is ``data``, behind the streams."""
    header.expect(_FILES)
    count = header.count()
    while (tag := header.byte()) != _END:
        size = header.count(1)
        if tag != _ATTRIBUTES:
            header.take(size)
            continue
        known = sum(header.bits(count))
        header.expect(0)  # not elsewhere
        place = len(data) - header.left
        words = header.take(4 * known)
        if all(highest >> 4 != stat.S_IFLNK >> 12 for highest in set(words[3::4])):
            return None
        changed = bytearray(data)
        for at, (word,) in enumerate(struct.iter_unpack("<I", words)):
            if word & _HAS_MODE and stat.S_ISLNK(word >> 16):
                mode = stat.S_IFSOCK | stat.S_IMODE(word >> 16)
                struct.pack_into("<H", changed, place + 4 * at + 2, mode)
        return bytes(changed) if changed != data else None
    return None
