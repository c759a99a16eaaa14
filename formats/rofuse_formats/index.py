"""The index file: everything that is known of an archive once it was read, in one file that is mapped.

Layout (little-endian): magic, version, number of sections; a table of (tag, offset, bytes, CRC-32) for each section;
CRC-32 of all that; then the sections, each aligned to 64 bytes. Sections: ``META`` (JSON: the source's fingerprint, the
options, the format, the codecs, the report), ``IMAGE`` (``image.layout``), ``SEEK0``, ``SEEK1``... (each codec's seek
index, outermost first, then those of the archives within the archive), ``FILES`` (``directory.table``, of a
directory), ``BLOCKS`` (of a format that brings its image: what it reads its stream by).

Rules
- Written whole, to a descriptor that nobody else reads yet; never changed afterwards.
- Every byte is under a checksum, checked when it is opened. What does not hold raises IndexDamagedError.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rofuse_formats.checksum import crc32, sha256
from rofuse_formats.errors import IndexDamagedError, LimitError
from rofuse_formats.limits import MIB

if TYPE_CHECKING:
    from rofuse_formats.image.columns import Piece

MAGIC = b"ROFUSE\r\n"
VERSION = 3
_HEADER = struct.Struct("<8sII")
_SECTION = struct.Struct("<8sQQI4x")
_CHECKSUM = struct.Struct("<I4x")
_MOST_SECTIONS = 64
LARGEST_META = 16 * MIB
"""Bytes of a description, several times what any that is written here can have: as objects it takes thirty times
that."""
_ALIGNMENT = 64


def write(
    fd: int,
    meta: dict[str, Any],
    image: Iterable[Piece],
    seeks: Iterable[bytes],
    *,
    files: bytes | None = None,
    blocks: bytes | None = None,
    most: int | None = None,
) -> int:
    """Writes an index to ``fd`` from its beginning; returns its size. Raises OSError, and LimitError before anything is
    written where that is more than ``most`` bytes."""
    parts: list[tuple[bytes, Iterable[Piece]]] = [
        (b"META", [json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()]),
        (b"IMAGE", image),
    ]
    parts += ((b"SEEK%d" % number, [seek]) for number, seek in enumerate(seeks))
    optional = {b"FILES": files, b"BLOCKS": blocks}
    parts += ((tag, [section]) for tag, section in optional.items() if section is not None)
    sections = [(tag, [memoryview(piece).cast("B") for piece in pieces]) for tag, pieces in parts]
    position = _HEADER.size + _SECTION.size * len(sections) + _CHECKSUM.size
    size = sum((position, *(len(view) for _tag, views in sections for view in views)))
    if most is not None and size > most:
        raise LimitError(
            f"takes an index of {size / MIB:,.1f} MiB; --max-index raises the limit of {most / MIB:,.1f}"
        )
    table = [_HEADER.pack(MAGIC, VERSION, len(sections))]
    for tag, views in sections:
        position += -position % _ALIGNMENT
        start, checksum = position, 0
        for view in views:
            checksum = crc32(view, checksum)
            _write_at(fd, view, position)
            position += len(view)
        table.append(_SECTION.pack(tag, start, position - start, checksum))
    head = b"".join(table)
    _write_at(fd, memoryview(head + _CHECKSUM.pack(crc32(head))), 0)
    return position


def undecoded(name: str) -> dict[str, Any]:
    """What ``META`` says of the format called ``name`` where nothing is decoded to find the tree."""
    nothing = {key: list[Any]() for key in ("codecs", "frames", "suspect", "parts")}
    return {"format": name, "outer": 0, "spool": None, "unspooled": 0, **nothing}


def _write_at(fd: int, view: memoryview, position: int) -> None:
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written


_SMALL = 8 << 20  # bytes of an index that is mapped at once
_MADV_POPULATE_READ = 22  # asm-generic/mman-common.h; Python has no name for it


class Index:
    """An index file, mapped. ``fd`` stays the caller's. ``check``: whether all of it is checked, or just what says what
    it is (for lists)."""

    def __init__(self, fd: int, *, check: bool = True) -> None:
        self.size = os.fstat(fd).st_size
        if self.size < _HEADER.size + _CHECKSUM.size:
            raise IndexDamagedError("the index is shorter than its header")
        self._map = mmap.mmap(fd, self.size, prot=mmap.PROT_READ)
        view = memoryview(self._map)
        sections = _sections(view, check)
        if len(sections.get(b"META", b"")) > LARGEST_META:
            raise IndexDamagedError("the index's description is larger than any")
        try:
            self.meta: dict[str, Any] = json.loads(bytes(sections[b"META"]))
            self.image = sections[b"IMAGE"]
        except (KeyError, ValueError, RecursionError) as error:
            raise IndexDamagedError(f"the index lacks its description: {error}") from error
        if not isinstance(self.meta, dict) or not isinstance(self.meta.get("report", {}), dict):
            raise IndexDamagedError("the index's description is none")
        self.digest = sha256(view[: _head_size(view)]).digest()
        """Tells it from any other: of the checksums of all its sections."""
        self.files = sections.get(b"FILES")
        self.blocks = sections.get(b"BLOCKS")
        self.seeks = [section for tag, section in sections.items() if tag.startswith(b"SEEK")]  # as written

    def bring_in(self) -> None:
        """Maps all of a small one at once, in the process that serves: a page at a time takes longer, as whoever looks
        for names anywhere would notice."""
        if self.size > _SMALL:
            return
        try:
            self._map.madvise(_MADV_POPULATE_READ)
        except OSError:
            pass  # not known to Linux before 5.14, and nothing but a hint

    def let_go(self) -> None:
        """Gives its memory back for now: it stays in the page cache, and is mapped again where it is looked at."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def secrecy(self, word: str) -> bool:
        """Whether its report says that it ``holds_secrets``, or ``lacks_secrets``."""
        return bool(self.meta.get("report", {}).get(word))


def _head_size(view: memoryview) -> int:
    _magic, _version, count = _HEADER.unpack_from(view)
    return int(_HEADER.size + count * _SECTION.size)


def _sections(view: memoryview, check: bool) -> dict[bytes, memoryview]:
    magic, version, count = _HEADER.unpack(view[: _HEADER.size])
    if magic != MAGIC or version != VERSION or count > _MOST_SECTIONS:
        raise IndexDamagedError("the index is of another version")
    end = _HEADER.size + count * _SECTION.size
    if len(view) < end + _CHECKSUM.size or _CHECKSUM.unpack_from(view, end) != (crc32(view[:end]),):
        raise IndexDamagedError("the index's table of sections is damaged")
    found = {}
    for tag, offset, size, checksum in _SECTION.iter_unpack(view[_HEADER.size : end]):
        section = view[offset : offset + size]
        wanted = check or tag.startswith(b"META")
        if len(section) != size or (wanted and crc32(section) != checksum):
            raise IndexDamagedError(f"section {tag.decode('ascii', 'replace')} of the index is damaged")
        found[tag.rstrip(b"\0")] = section
    return found
