"""A package's parts, and how it is described by them."""

from __future__ import annotations

import stat

from rofuse_formats.archives.rpm.files import Files
from rofuse_formats.archives.rpm.header import Header
from rofuse_formats.archives.rpm.payload import Payload
from rofuse_formats.entry import Builder, Insides, Part
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

_LEAD_SIZE = 96
_ALIGNMENT = 8  # of the header behind the signatures
_BUILDTIME, _PAYLOADFORMAT, _PAYLOADCOMPRESSOR = 1006, 1124, 1125
_ENDINGS = {b"gzip": b".gz", b"bzip2": b".bz2", b"xz": b".xz", b"lzma": b".lzma", b"zstd": b".zst"}
_FORMATS = (b"cpio", b"drpm")


def headers(source: Source) -> tuple[Header, Header]:
    """That of the signatures, and the header. Raises DamagedError."""
    signature = Header(source, _LEAD_SIZE, "signature header")
    return signature, Header(source, signature.end + -signature.end % _ALIGNMENT, "header")


class Package:
    """Raises DamagedError where its headers do not say where the payload is."""

    def __init__(self, source: Source, builder: Builder) -> None:
        self._source, self._builder = source, builder
        self._signature, self._header = headers(source)
        end = self._header.end
        self._payload = Part(b"payload" + self._ending(), end, source.size - end)

    def describe_parts(self) -> None:
        """The parts as they are, each a file."""
        signature, header = self._signature, self._header
        self._add(Part(b"lead", 0, _LEAD_SIZE))
        self._add(Part(b"signature", signature.start, signature.end - signature.start))
        self._add(Part(b"header", header.start, header.end - header.start))
        self._add(self._payload)

    def describe_payload(self, insides: Insides) -> None:
        """What the payload holds; itself, where it holds nothing that is known here."""
        files = Files(self._header)
        if files.damage is not None:
            self._builder.damaged(str(files.damage), self._header.start)
        if not insides.describe(self._payload, b"", Payload(files)):
            self._builder.damaged("the payload is no cpio archive", self._payload.start)
            self._add(self._payload)

    def _add(self, part: Part) -> None:
        mode, owner = stat.S_IFREG | 0o644, self._builder.implied_owner
        self._builder.add(part.name, mode, owner, part.size, self._built(), 0, part.start)

    def _built(self) -> int:
        try:
            return next(iter(self._header.numbers(_BUILDTIME)), 0)
        except DamagedError:  # nobody's time is nothing to fail for
            return 0

    def _ending(self) -> bytes:
        try:
            kind = self._header.text(_PAYLOADFORMAT)
            compressor = self._header.text(_PAYLOADCOMPRESSOR)
        except DamagedError:
            return b""
        if not compressor and self._source.pread(2, self._header.end) == b"\x1f\x8b":
            compressor = b"gzip"  # as all were, before it was told
        return b"." + (kind if kind in _FORMATS else _FORMATS[0]) + _ENDINGS.get(compressor, b"")
