"""POSIX access control lists: from the text in an extended header to the kernel's extended attribute.

Binary form: ``include/uapi/linux/posix_acl_xattr.h``: a version word, then 8 bytes an entry (tag, permissions, id),
sorted by tag and id. A list that names a user or group without a number is not translated: which number is meant
depends on the machine that wrote it.
"""

from __future__ import annotations

import struct
from functools import lru_cache

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_KEPT, _LONGEST = 16, 1 << 17  # lists that are remembered, and the bytes of one
_NOBODY = 0xFFFFFFFF  # the id of entries that have none
# By kind: the tag of the entry without a name, and of the one with it.
_TAGS = {
    b"user": (0x01, 0x02),
    b"u": (0x01, 0x02),
    b"group": (0x04, 0x08),
    b"g": (0x04, 0x08),
    b"mask": (0x10, 0),
    b"m": (0x10, 0),
    b"other": (0x20, 0),
    b"o": (0x20, 0),
}
_BASE_TAGS = [0x01, 0x04, 0x20]
_PERMISSIONS = {b"r": 4, b"w": 2, b"x": 1}


def binary(text: bytes) -> bytes | None:
    """The kernel's form of a textual list, entries separated by newlines or commas. None when the text is not
    understood without doubt. That of a global header comes again with every member, with thousands of entries."""
    return _remembered(text) if len(text) <= _LONGEST else _binary(text)


@lru_cache(_KEPT)
def _remembered(text: bytes) -> bytes | None:
    return _binary(text)


def _binary(text: bytes) -> bytes | None:
    try:
        entries = [_entry(line) for line in text.replace(b",", b"\n").split(b"\n") if line.strip()]
    except ValueError:
        return None
    keys = [(tag, identifier) for tag, _, identifier in entries]
    tags = [tag for tag, _ in keys]
    if len(set(keys)) < len(keys) or not set(_BASE_TAGS) <= set(tags):
        return None
    if 0x10 not in tags and (0x02 in tags or 0x08 in tags):
        return None
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def says_more_than_mode(acl: bytes) -> bool:
    """Whether an access list holds more than the permission bits do; if not, the kernel keeps none."""
    return len(acl) > len(_VERSION) + len(_BASE_TAGS) * _ENTRY.size


def _entry(line: bytes) -> tuple[int, int, int]:
    """(tag, permissions, id) of ``kind:name:rwx`` or ``kind:name:rwx:id``. Raises ValueError."""
    line = line.partition(b"#")[0].strip()
    fields = line.removeprefix(b"default:").split(b":")
    if fields[0] in (b"mask", b"other", b"m", b"o") and len(fields) == 2:
        fields.insert(1, b"")
    if len(fields) not in (3, 4) or fields[0] not in _TAGS:
        raise ValueError("not an entry")
    kind, name, letters = fields[:3]
    unnamed, named = _TAGS[kind]
    permissions = 0
    for place, letter in enumerate((b"r", b"w", b"x")):
        given = letters[place : place + 1]
        if given == letter:
            permissions |= _PERMISSIONS[letter]
        elif given != b"-":
            raise ValueError("not permissions")
    if len(letters) != 3:
        raise ValueError("not permissions")
    if not name:
        return unnamed, permissions, _NOBODY
    number = fields[3] if len(fields) == 4 else name
    if not named or not number.isdigit() or len(number) > 10 or int(number) >= _NOBODY:
        raise ValueError("a name without a number")
    return named, permissions, int(number)
