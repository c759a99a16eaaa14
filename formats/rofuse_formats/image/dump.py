r"""The image as text, one line a name, and back (rofuse-dump(5)).

Strategy
Lines come in the image's own order, breadth first, so that adding them to a builder one after the other makes the
same image, byte for byte. Fields are separated by one space:

    PATH MODE UID GID UNAME GNAME SIZE MTIME DATA [KEY=VALUE]...
    PATH =FIRST

The second form is a further name of the inode whose first name is FIRST.

- PATH begins with ``/``; the root is ``/`` alone. In every text field, bytes other than printable ASCII, and space,
  backslash and ``=``, are written ``\xNN``; an empty text is ``-``, a text ``-`` is ``\x2d``.
- MODE is octal with the type bits; SIZE is bytes; MTIME is ``seconds.nanoseconds``, nine digits, where the seconds
  are rounded down (half a second before 1970 is ``-1.500000000``).
- DATA: ``-`` nothing, ``@OFFSET`` a contiguous file, ``LOGICAL+LENGTH@OFFSET/STREAM,...`` a file in pieces (``,`` alone
  when it is all hole), ``%AT+PACKED/METHOD/CRC/FLAGS`` a file compressed by itself, ``>TARGET`` a symlink,
  ``MAJOR:MINOR`` a device.
- KEY is ``atime``, ``ctime``, ``btime``, or ``xattr.`` and an attribute's name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

from rofuse_formats.entry import Extent, Time
from rofuse_formats.errors import DamagedError, IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image

FIRST_LINE = "# rofuse-dump 1\n"

_ESCAPED = re.compile(rb"[^!-<>-\[\]-~]")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def dump(image: Image) -> Iterator[str]:
    """The image's lines, each with its newline."""
    yield FIRST_LINE
    yield f"/ {_fields(image, layout.ROOT)}\n"
    first_path: dict[int, str] = {}
    prefixes: dict[int, str] = {layout.ROOT: "/"}
    for directory in _directories(image):
        if directory not in prefixes:
            raise IndexDamagedError(f"directory {directory} has two names, or lies within itself")
        prefix = prefixes.pop(directory)
        for row in image.dirents(directory):
            node, path = image.child[row], prefix + _escape(image.name(row))
            mode = image.mode[node - 1]
            if stat.S_ISDIR(mode):
                prefixes[node] = path + "/"
            elif image.nlink[node - 1] > 1:
                if node in first_path:
                    yield f"{path} ={first_path[node]}\n"
                    continue
                first_path[node] = path
            yield f"{path} {_fields(image, node)}\n"


def load(lines: Iterable[str]) -> ImageBuilder:
    """A builder filled from a dump; its ``finish`` gives the image. Raises DamagedError naming the line."""
    builder = ImageBuilder()
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            _add(builder, line.rstrip("\n").split(" "))
        except (ValueError, IndexError, OverflowError) as error:
            raise DamagedError(f"line {number} of the dump is none: {error}") from error
    return builder


def _directories(image: Image) -> Iterator[int]:
    """Directories breadth first. In an image they are numbered so."""
    yield layout.ROOT
    for row in range(image.dirent_count):
        if image.is_directory(image.child[row]):
            yield image.child[row]


def _fields(image: Image, node: int) -> str:
    row = node - 1
    owner = image.owner[row]
    uname, gname = image.owner_names(owner)
    mode = image.mode[row]
    size = 0 if stat.S_ISDIR(mode) else image.size[row]
    mtime = _time(Time(image.mtime[row], image.mtime_ns[row]))
    fields = [
        f"{mode:o}",
        str(image.uid[owner]),
        str(image.gid[owner]),
        _text(uname),
        _text(gname),
        str(size),
        mtime,
    ]
    fields.append(_data(image, node, mode))
    for key, time in zip(("atime", "ctime", "btime"), image.times(node), strict=True):
        if time is not None:
            fields.append(f"{key}={_time(time)}")
    fields += (f"xattr.{_escape(name)}={_escape(value)}" for name, value in image.xattrs(node))
    return " ".join(fields)


def _data(image: Image, node: int, mode: int) -> str:
    word = image.data[node - 1]
    if image.is_packed(node):
        member = image.member(word & layout.DATA_MASK)
        return f"%{member.at}+{member.packed}/{member.method}/{member.crc:08x}/{member.flags}"
    if stat.S_ISLNK(mode):
        return ">" + _escape(image.target(node))
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return f"{os.major(word)}:{os.minor(word)}"
    if not stat.S_ISREG(mode) or not image.size[node - 1]:
        return "-"
    if word >> layout.DATA_SHIFT == layout.DATA_OFFSET:
        return f"@{word}"
    pieces = [f"{e.logical}+{e.length}@{e.offset}/{e.stream}" for e in image.extents(node)]
    return ",".join(pieces) or ","


def _add(builder: ImageBuilder, fields: list[str]) -> None:
    path = _unescape(fields[0])
    if not path.startswith(b"/"):
        raise ValueError("the path does not begin with a slash")
    if fields[1].startswith("="):
        builder.hardlink(path, _unescape(fields[1][1:]))
        if builder.report.skipped:
            raise ValueError(builder.report.skipped[-1][1])
        return
    mode, uid, gid = int(fields[1], 8), int(fields[2]), int(fields[3])
    owner = builder.owner(uid, gid, _untext(fields[4]), _untext(fields[5]))
    mtime = _untime(fields[7])
    size = int(fields[6])
    member = builder.add(path, mode, owner, size, *mtime, _word(builder, fields[8], size))
    if member < 0:
        raise ValueError(builder.report.skipped[-1][1])
    times: dict[str, Time] = {}
    xattrs: list[tuple[bytes, bytes]] = []
    for field in fields[9:]:
        key, _equals, value = field.partition("=")
        if key.startswith("xattr."):
            xattrs.append((_unescape(key[6:]), _unescape(value)))
        else:
            times[key] = _untime(value)
    builder.times(member, times.pop("atime", None), times.pop("ctime", None), times.pop("btime", None))
    if times:
        raise ValueError(f"unknown key {next(iter(times))!r}")
    if xattrs:
        builder.xattrs(member, xattrs)


def _word(builder: ImageBuilder, field: str, size: int) -> int:
    if field == "-":
        return 0
    if field[0] == ">":
        return builder.text(_unescape(field[1:]))
    if field[0] == "@":
        return _offset(field[1:])
    if field[0] == "%":
        return _packed(builder, field[1:])
    if ":" in field:
        major, minor = field.split(":")
        return os.makedev(int(major), int(minor))
    extents = [_extent(piece) for piece in field.split(",") if piece]
    reached = 0
    for extent in extents:
        if extent.logical < reached or extent.stream:
            raise ValueError("extents that cannot be")
        reached = extent.logical + extent.length
    if reached > size:
        raise ValueError("extents beyond the end of the file")
    return builder.extents(extents)


def _packed(builder: ImageBuilder, field: str) -> int:
    place, method, crc, flags = field.split("/")
    at, packed = place.split("+")
    return builder.packed(_offset(at), _offset(packed), int(crc, 16), int(method), int(flags))


def _extent(piece: str) -> Extent:
    logical, rest = piece.split("+")
    length, rest = rest.split("@")
    offset, stream = rest.split("/")
    extent = Extent(_offset(logical), _offset(length), _offset(offset), _offset(stream))
    if not extent.length:
        raise ValueError("an extent that cannot be")
    return extent


def _offset(field: str) -> int:
    number = int(field)
    if number < 0 or number >> layout.DATA_SHIFT:
        raise ValueError("a number of bytes that cannot be")
    return number


def _time(time: Time) -> str:
    return f"{time.seconds}.{time.nanoseconds:09}"


def _untime(field: str) -> Time:
    seconds, nanoseconds = field.split(".")
    if len(nanoseconds) != 9:
        raise ValueError("a time without nine digits of nanoseconds")
    return Time(int(seconds), int(nanoseconds))


def _escape(data: bytes) -> str:
    return _ESCAPED.sub(lambda found: b"\\x%02x" % found[0][0], data).decode("ascii")


def _unescape(field: str) -> bytes:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), field.encode("ascii"))


def _text(data: bytes) -> str:
    return "\\x2d" if data == b"-" else _escape(data) or "-"


def _untext(field: str) -> bytes:
    return b"" if field == "-" else _unescape(field)
