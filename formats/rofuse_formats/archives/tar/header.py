"""A single block of 512 bytes: is it a header, and what do its number fields say.

The layout is that of POSIX.1-1988 (ustar), which v7 lacks the second half of and GNU fills differently:

      0 name[100]      100 mode[8]      108 uid[8]       116 gid[8]       124 size[12]     136 mtime[12]
    148 chksum[8]      156 typeflag     157 linkname[100]                 257 magic[6]     263 version[2]
    265 uname[32]      297 gname[32]    329 devmajor[8]  337 devminor[8]  345 prefix[155]
    GNU, from 345:     atime[12] ctime[12] offset[12] longnames[4] unused[1] 386 sparse[4][24] 482 isextended
                       483 realsize[12]
    star, from 345:    prefix[131] 476 atime[12] 488 ctime[12] ... 508 "tar\\0"
"""

from __future__ import annotations

BLOCK = 512
ZEROS = bytes(BLOCK)

MAGIC = b"ustar"
MAGIC_AT = 257
POSIX = b"ustar\0"
GNU = b"ustar "
STAR = b"tar\0"

SIZE_LIMIT = 1 << 62

# Types that an archive without a magic may begin with: v7 knew files and links; writers of that format today (GNU tar,
# bsdtar) put all types of POSIX there, and GNU tar labels and continuations of volumes.
_TYPES_WITHOUT_MAGIC = frozenset(b"\x0001234567VM")
_TYPES = frozenset(b"\x00 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NOT_ASCII = bytes(range(128, 256))


def number(field: bytes) -> int:
    """A number field's value: octal digits ended by a space, a NUL or the field; or, with the highest bit set,
    what remains as a big-endian two's complement (GNU, star). Blank is 0, as all readers have it.

    Raises ValueError for anything else.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") - (1 << bits)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.lstrip(b" \0").replace(b" ", b"\0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():  # int() would take signs and underscores
        raise ValueError(f"not a number: {field!r}")
    return int(digits, 8)


def stored_size(block: bytes) -> int:
    """The size field. Raises ValueError when it is no size."""
    size = number(block[124:136])
    if not 0 <= size < SIZE_LIMIT:
        raise ValueError(f"not a size: {size}")
    return size


def padded(size: int) -> int:
    """Bytes that a body of ``size`` bytes occupies."""
    return size + 511 & -512


class Checksums(dict[bytes, int]):
    """From a checksum field's bytes to what ``adler32(block) & 0xffff`` must then be, or -1.

    The low half of Adler-32 is one more than the sum of all bytes, modulo 65521, and costs a tenth of ``sum``. A
    header whose sum is off by just 65521 would pass; random damage does that as rarely as it keeps the sum.
    """

    _MANY = 1 << 16

    def __missing__(self, field: bytes) -> int:
        try:
            stated = number(field)
        except ValueError:
            stated = -1
        # The sum is taken with the field itself as eight spaces.
        expected = (stated - 8 * 0x20 + sum(field) + 1) % 65521 if 256 <= stated <= 255 * BLOCK else -1
        if len(self) >= self._MANY:
            self.clear()
        self[field] = expected
        return expected


def checksum_right(block: bytes) -> bool:
    """Whether the checksum is that of the block, its bytes taken as unsigned or, as some old writers did, signed."""
    try:
        stated = number(block[148:156])
    except ValueError:
        return False
    rest = block[:148] + block[156:]
    total = sum(rest) + 8 * 0x20
    if stated == total:
        return True
    return stated == total - 256 * (len(rest) - len(rest.translate(None, _NOT_ASCII)))


def plausible(block: bytes) -> bool:
    """Whether a block is a header in every respect: the test where nothing else says that one is to be expected."""
    if len(block) < BLOCK:
        return False
    if block.startswith(MAGIC, MAGIC_AT):
        if block[156] not in _TYPES:
            return False
    elif block[156] not in _TYPES_WITHOUT_MAGIC or not block[0]:
        return False
    try:
        stored_size(block)
        for start, end in ((100, 108), (108, 116), (116, 124), (136, 148)):
            number(block[start:end])
    except ValueError:
        return False
    return checksum_right(block)


def text(field: bytes) -> bytes:
    """A text field: up to its first NUL, or all of it."""
    return field.partition(b"\0")[0]


def path(block: bytes) -> bytes:
    """The member's name, the prefix of ustar joined to it."""
    name = text(block[:100])
    if block[345] and block.startswith(POSIX, MAGIC_AT):
        end = 476 if block.endswith(STAR) else 500
        return text(block[345:end]) + b"/" + name
    return name
