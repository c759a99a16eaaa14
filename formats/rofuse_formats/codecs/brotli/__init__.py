"""Brotli (RFC 7932): one stream, which has neither magic, index nor check, and is read from its start.

It is looked for only in files that are called so, and then told by decoding their first bytes: hardly any that are no
Brotli can be decoded for long.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec


class Brotli(UnitCodec):
    """The codec contract's Codec."""

    name = "brotli"
    magic = False
    needs = ("brotli",)
    random_access = False
    suffixes: ClassVar = {b".br": b"", b".tbr": b".tar"}

    def recognise(self, head: bytes) -> bool:
        from rofuse_formats.codecs.brotli.decoding import decodes

        return decodes(head)

    def kind(self) -> Kind:
        from rofuse_formats.codecs.brotli.decoding import KIND

        return KIND


CODEC = Brotli()
