"""The records of a zip file: their signatures, their fields, and what the numbers in them mean.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 (records) and 4.4 (fields).
"""

from __future__ import annotations

from struct import Struct

LOCAL = b"PK\3\4"
CENTRAL = b"PK\1\2"
SIGNATURE = b"PK\5\5"  # the digital signature behind the central directory
END = b"PK\5\6"
END64 = b"PK\6\6"
LOCATOR64 = b"PK\6\7"
DESCRIPTOR = b"PK\7\10"
SPANNED = (DESCRIPTOR + LOCAL, b"PK00" + LOCAL)  # how the first part of a split archive begins

# signature; version needed, flags, method; time and date; crc, packed, size; lengths of name and extra fields
LOCAL_HEADER = Struct("<4sHHHIIIIHH")
# signature; made by, version needed, flags, method; time and date; crc, packed, size; lengths of name, extra fields and
# comment; disk, internal attributes; external attributes, offset of the local header
CENTRAL_HEADER = Struct("<IHHHHIIIIHHHHHII")
# signature; this disk, disk of the directory; entries on this disk, entries; size, offset; length of the comment
END_RECORD = Struct("<4sHHHHIIH")
# signature; size of what follows; made by, version needed; this disk, disk of the directory; entries on this disk,
# entries; size, offset
END64_RECORD = Struct("<4sQHHIIQQQQ")
# signature; disk, offset of the zip64 end record; number of disks
LOCATOR64_RECORD = Struct("<4sIQI")

MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF  # in a field: zip64 says it
LONGEST_COMMENT = 0xFFFF

# flags
ENCRYPTED = 1 << 0
DESCRIBED = 1 << 3  # crc and sizes stand behind the data
STRONG = 1 << 6
UTF8 = 1 << 11

# made by: the upper byte
FAT, UNIX, OS2, NTFS, INFOZIP_NTFS, VFAT, BEOS, DARWIN, ATHEOS = 0, 3, 6, 10, 11, 14, 16, 19, 30
UNIX_LIKE = frozenset((UNIX, BEOS, DARWIN, ATHEOS))
WINDOWS_LIKE = frozenset((FAT, OS2, NTFS, INFOZIP_NTFS, VFAT))

# methods
STORED, DEFLATE, DEFLATE64, BZIP2, LZMA, OLD_ZSTD, ZSTD, XZ, PPMD, AES = 0, 8, 9, 12, 14, 20, 93, 95, 98, 99
KNOWN_METHODS = frozenset((STORED, DEFLATE, DEFLATE64, BZIP2, LZMA, OLD_ZSTD, ZSTD, XZ, PPMD, AES))
_NAMES = {
    1: "shrink",
    2: "reduce",
    3: "reduce",
    4: "reduce",
    5: "reduce",
    6: "implode",
    10: "implode",
    16: "cmpsc",
} | {
    18: "terse",
    19: "lz77",
    94: "mp3",
    96: "jpeg",
    97: "wavpack",
    PPMD: "ppmd",
    AES: "encryption of an unknown kind",
}


def method_name(method: int) -> str:
    """A method as messages name it."""
    name = _NAMES.get(method)
    return f"method {method} ({name})" if name else f"method {method}"
