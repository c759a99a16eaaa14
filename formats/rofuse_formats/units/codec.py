"""What the codecs of streams of units have in common of the codec contract's Codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Kind

if TYPE_CHECKING:
    from rofuse_formats.units.cursor import Stream
    from rofuse_formats.units.first_pass import FirstPass


class UnitCodec(ABC):
    """A Codec but for its name and how its streams are told."""

    @abstractmethod
    def kind(self) -> Kind:
        """Imports what decodes: not before it is wanted."""

    def first_pass(self, source: Source, limits: Limits) -> FirstPass:
        from rofuse_formats.units.first_pass import FirstPass

        return FirstPass(self.kind(), source, limits)

    def open(self, source: Source, index: bytes | bytearray | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.units.cursor import Stream

        return Stream(self.kind(), source, index, limits)
