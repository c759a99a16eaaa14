"""Decoding the lines of a unit.

Rules
- Blanks at the end of a line, which mailers take away, are zeros. What a line has behind its data is passed over where
  it is little: some encoders write a checksum there.
- Where a line is none, what came before it in the unit is given out, and then it is said.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, a2b_uu
from collections.abc import Iterator

from rofuse_formats.codecs.uu import lines
from rofuse_formats.errors import DamagedError
from rofuse_formats.limits import Limits
from rofuse_formats.source import Source
from rofuse_formats.units import Findings, Place, Unit

_MOST_BEHIND = 4  # characters
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_AS_BASE64 = bytes(
    _BASE64[character - 32 & 63] if character in range(32, 97) else ord("!") for character in range(256)
)
"""From the characters of uuencode; what is none of them is none of base64's."""


class _Decoder:
    """``units.Decoder``"""

    window = lines.PIECE

    def __init__(self, source: Source, place: Place) -> None:
        self.position = place.offset
        self.findings = Findings()
        self._source, self._place = source, place
        self._data, self._given = b"", 0
        self._damage: DamagedError | None = None

    def read(self, most: int, /) -> bytes:
        if self.position == self._place.offset:
            self._decode()
        data = self._data[self._given : self._given + most]
        self._given += len(data)
        if not data and self._damage is not None:
            raise self._damage
        return data

    def _decode(self) -> None:
        text = self._source.pread(self._place.length, self._place.offset)
        self.position = self._place.end
        own = text.splitlines()
        try:
            if self._place.detail & lines.BASE64:
                self._data = a2b_base64(b"".join(own), strict_mode=True)
            elif length := lines.full_line(text):
                self._data = _full(text, length)
            else:
                self._data = b"".join(map(a2b_uu, filter(None, own)))
        except Error:
            self._decode_each(own)

    def _decode_each(self, own: list[bytes]) -> None:
        """Decodes as many lines as are some."""
        is_base64, parts = self._place.detail & lines.BASE64, []
        for number, line in enumerate(filter(None, own)):
            try:
                parts.append(a2b_base64(line, strict_mode=True) if is_base64 else _line(line))
            except Error:
                at = self._place.offset
                self._damage = DamagedError(
                    f"line {number + 1} of the uuencoded data from offset {at} on is none", at
                )
                break
        self._data = b"".join(parts)


def _full(text: bytes, length: int) -> bytes:
    """Full lines, of so many characters: as base64, of which the library decodes many at a time."""
    characters = b"".join([text[at + 1 : at + lines.FULL] for at in range(0, len(text), length)])
    return a2b_base64(characters.translate(_AS_BASE64), strict_mode=True)


def _line(line: bytes) -> bytes:
    """One of uuencode, perhaps with something behind it."""
    size = line[0] - 32 & 63
    if len(line) > 1 + (size + 2) // 3 * 4 + _MOST_BEHIND:
        raise Error("a line that is longer than it says")
    return a2b_uu(line[: 1 + (8 * size + 5) // 6])


class _Lines:
    """``units.Kind``"""

    magic = b"ROuu\0\0\0\1"

    def units(self, source: Source, findings: Findings, /) -> Iterator[Unit]:
        return lines.units(source, findings)

    def decoder(self, source: Source, place: Place, size: int | None, limits: Limits, /) -> _Decoder:
        return _Decoder(source, place)


KIND = _Lines()
