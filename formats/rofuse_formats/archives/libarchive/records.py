"""What the image keeps of a member that libarchive decodes: ``at`` is where its bytes begin in the linear stream
(``groups``), ``method`` the number of the format, ``flags`` as below."""

from __future__ import annotations

from rofuse_formats.archives.libarchive.magic import KINDS

NUMBERS = {kind: number for number, kind in enumerate(sorted(KINDS))}
NAMES = {number: kind for kind, number in NUMBERS.items()}
ENCRYPTED, NOT_HELD, STORED = 1, 2, 4
"""``NOT_HELD``: the archive describes the file and has no bytes of it. ``STORED``: ``at`` is where its bytes lie in the
archive as they are, ``packed`` their number, ``crc`` their CRC-32."""
