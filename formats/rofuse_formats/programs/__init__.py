"""Compressions that only a program of the system decodes: the codecs of ``Program``.

Strategy
The program is started between two pipes when something is decoded, and is fed from the source (``decoding``). It is
not started by whoever decodes, but by a small process that bounds what it may take, and outlives nobody (``watching``).
Such a stream is one unit: read from its beginning, once, and then kept in the spool.

Rules
- The program and its arguments are fixed; no shell, and nothing from the archive among them. It is looked for in the
  absolute directories of PATH.
- ``Limits.programs`` (``--no-programs``) keeps it from being started: what needs it is refused.
- Its memory, its files, its silence are bounded; whatever becomes of it is an error to who reads, and nothing else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Kind
from rofuse_formats.units.codec import UnitCodec

if TYPE_CHECKING:
    from rofuse_formats.units.cursor import Stream


class Program(NamedTuple):
    """A program that decodes standard input to standard output."""

    name: str
    arguments: tuple[str, ...]
    package: str
    """Which it comes with."""
    writes: bool = False
    """Whether it needs a temporary file for what it decodes."""

    def find(self) -> str | None:
        """Where it is; None where it is not installed."""
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(folder, self.name)
            if os.path.isabs(folder) and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    @property
    def lack(self) -> str:
        """What is said where it is not installed."""
        return f"needs the program {self.name} (package {self.package})"


class ProgramCodec(UnitCodec):
    """A Codec but for its name and how its streams are told."""

    program: ClassVar[Program]
    random_access = False

    def kind(self) -> Kind:
        from rofuse_formats.programs.decoding import ProgramKind

        return ProgramKind(self.program)

    def open(self, source: Source, index: bytes | bytearray | memoryview, limits: Limits) -> Stream:
        from rofuse_formats.programs.decoding import MEMORY

        stream = super().open(source, index, limits)
        stream.cursor_bytes = MEMORY  # of the process behind it, which it holds as long as it rests
        return stream
