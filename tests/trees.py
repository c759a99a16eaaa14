"""A directory tree as data: taken from a mounted or extracted directory, kept as text, compared.

Strategy
A tree is a dict from path to Record, in the order of the path's bytes. ``snapshot`` takes one from any
directory with nothing but system calls, so that what it says of a mount and of an extraction by another tool
can be compared field by field. ``write_expected`` and ``read_expected`` keep one as text, a line an entry,
that a person can read and a diff can show.

Rules
- Paths are bytes, relative to the root, which is ``.`` itself.
- A field that is None is not stated: it equals anything. What a tool cannot know (the size of a directory,
  the time of a directory that the archive does not have) is left unstated rather than guessed.
- Directories are opened by descriptor, level by level: a path may be longer than PATH_MAX.

The text
Lines that start with ``#`` are comments. Every other line is an entry::

    PATH TYPE MODE UID GID SIZE MTIME NLINK [KEY=VALUE]...

TYPE is file, dir, symlink, char, block, fifo or socket; MODE the permission bits in octal; SIZE in bytes, of
files and symlinks only; MTIME in seconds since 1970, with nine places where it is no whole number; ``-`` is
unstated. KEY is link (the first of the names, in byte order, that share the inode, where that is another
name), rdev (MAJOR:MINOR), target, sha256 or xattr:NAME. In paths, targets and extended attributes a byte
that is no printable ASCII character, a space and a backslash are written ``\\xHH``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

ROOT = b"."

DIGEST_LIMIT = 1 << 28
"""Files larger than this many bytes are not read: their digest is unstated."""

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class Record(NamedTuple):
    """One entry of a tree."""

    kind: str
    """``file``, ``dir``, ``symlink``, ``char``, ``block``, ``fifo`` or ``socket``."""
    mode: int | None
    """Permission bits, with set-uid, set-gid and sticky: 0 to 0o7777."""
    uid: int | None
    gid: int | None
    size: int | None
    """Bytes of a file, length of a symlink's target; unstated for anything else."""
    mtime_ns: int | None
    nlink: int | None
    first: bytes
    """Path of the first name, in byte order, that shares this inode: equal for all names of one inode."""
    rdev: tuple[int, int] | None = None
    """Major and minor number of a device."""
    target: bytes | None = None
    """Where a symlink points to."""
    digest: str | None = None
    """SHA-256 of a file's bytes, in hex."""
    xattrs: tuple[tuple[bytes, bytes], ...] | None = ()
    """Names and values of extended attributes, sorted."""


Tree = dict[bytes, Record]


def snapshot(root: str | bytes | os.PathLike[str], *, content: bool = True, xattrs: bool = True) -> Tree:
    """The tree under ``root``. Without ``content`` no file is read, without ``xattrs`` none is asked for;
    what was not looked at is unstated. Raises OSError for whatever cannot be looked at."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        found = {ROOT: (status, _record(descriptor, b".", status, content, xattrs))}
        found.update(_walk(descriptor, b"", content, xattrs))
    finally:
        os.close(descriptor)
    first: dict[tuple[int, int], bytes] = {}
    tree: Tree = {}
    for path in sorted(found):
        status, record = found[path]
        name = path if record.kind == "dir" else first.setdefault((status.st_dev, status.st_ino), path)
        tree[path] = record._replace(first=name)
    return tree


def _walk(
    directory: int, prefix: bytes, content: bool, xattrs: bool
) -> Iterator[tuple[bytes, tuple[os.stat_result, Record]]]:
    for name in map(os.fsencode, os.listdir(directory)):
        status = os.lstat(name, dir_fd=directory)
        yield prefix + name, (status, _record(directory, name, status, content, xattrs))
        if stat.S_ISDIR(status.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(name, flags, dir_fd=directory)
            try:
                yield from _walk(below, prefix + name + b"/", content, xattrs)
            finally:
                os.close(below)


def _record(directory: int, name: bytes, status: os.stat_result, content: bool, xattrs: bool) -> Record:
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    device = kind in ("char", "block")
    readable = content and kind == "file" and status.st_size <= DIGEST_LIMIT
    return Record(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind in ("file", "symlink") else None,
        mtime_ns=status.st_mtime_ns,
        nlink=status.st_nlink,
        first=b"",
        rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else None,
        target=os.readlink(name, dir_fd=directory) if kind == "symlink" else None,
        digest=_digest(directory, name) if readable else None,
        xattrs=_xattrs(directory, name) if xattrs else None,
    )


def _digest(directory: int, name: bytes) -> str:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    with open(descriptor, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(directory: int, name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    path = b"/proc/self/fd/%d/%s" % (directory, name)  # these calls take no dir_fd
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    encoded = sorted(map(os.fsencode, names))
    return tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in encoded)


def with_directory_links(tree: Mapping[bytes, Record]) -> Tree:
    """The tree with each directory's link count set to 2 + its subdirectories, which is the archive's truth
    and not every file system's."""
    counts = {path: 2 for path, record in tree.items() if record.kind == "dir"}
    for path, record in tree.items():
        if record.kind == "dir" and path != ROOT:
            counts[os.path.dirname(path) or ROOT] += 1
    return {path: r._replace(nlink=counts[path]) if path in counts else r for path, r in tree.items()}


def difference(expected: Mapping[bytes, Record], found: Mapping[bytes, Record]) -> list[str]:
    """What differs, a line each, in path order; empty when nothing does. Unstated fields differ from
    nothing."""
    lines: list[str] = []
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            lines.append(f"{escape(path)}: missing")
        elif path not in expected:
            lines.append(f"{escape(path)}: unexpected {found[path].kind}")
        else:
            lines.extend(
                f"{escape(path)}: {line}" for line in _record_difference(expected[path], found[path])
            )
    return lines


def _record_difference(expected: Record, found: Record) -> Iterator[str]:
    if expected.kind != found.kind:
        yield f"kind: expected {expected.kind}, found {found.kind}"
        return
    for field, a, b in zip(Record._fields, expected, found, strict=True):
        if a is not None and b is not None and a != b:
            show = "{}: expected {:04o}, found {:04o}" if field == "mode" else "{}: expected {!r}, found {!r}"
            yield show.format(field, a, b)


def escape(data: bytes) -> str:
    """Bytes as printable ASCII without spaces; ``unescape`` undoes it."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in data)


def unescape(text: str) -> bytes:
    if re.fullmatch(r"(?:[\x21-\x5b\x5d-\x7e]|\\x[0-9a-f]{2})*", text) is None:
        raise ValueError(f"not an escaped string: {text!r}")
    return re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), text).encode("latin-1")


def write_expected(
    path: str | os.PathLike[str], tree: Mapping[bytes, Record], comments: Iterable[str] = ()
) -> None:
    """Writes the tree as text, the comments first, a line each."""
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        file.writelines(_line(name, tree[name]) + "\n" for name in sorted(tree))


def read_expected(path: str | os.PathLike[str]) -> Tree:
    """The tree that ``write_expected`` wrote. Raises ValueError, with the line, for anything else."""
    tree: Tree = {}
    with open(path, encoding="ascii", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#"):
                continue
            try:
                name, record = _parse(line.rstrip("\n"))
            except (ValueError, KeyError) as error:
                raise ValueError(f"{os.fspath(path)}:{number}: {error}") from error
            if name in tree:
                raise ValueError(f"{os.fspath(path)}:{number}: {escape(name)} a second time")
            tree[name] = record
    return tree


def _line(path: bytes, record: Record) -> str:
    words = [
        escape(path).replace("#", _HASH, path.startswith(b"#")),
        record.kind,
        "-" if record.mode is None else f"{record.mode:04o}",
        *("-" if value is None else str(value) for value in (record.uid, record.gid, record.size)),
        "-" if record.mtime_ns is None else _seconds(record.mtime_ns),
        "-" if record.nlink is None else str(record.nlink),
    ]
    if record.first != path:
        words.append(f"link={escape(record.first)}")
    if record.rdev is not None:
        words.append("rdev={}:{}".format(*record.rdev))
    if record.target is not None:
        words.append(f"target={escape(record.target)}")
    if record.digest is not None:
        words.append(f"sha256={record.digest}")
    if record.xattrs is None:
        words.append("xattrs=-")
    else:
        for key, value in record.xattrs:
            words.append(f"xattr:{escape(key).replace('=', _EQUALS)}={escape(value)}")
    return " ".join(words)


_EQUALS, _HASH = "\\x3d", "\\x23"  # where these would say something else: in a name, at the start of a line


def _parse(line: str) -> tuple[bytes, Record]:
    words = line.split(" ")
    if len(words) < 8:
        raise ValueError("an entry has at least eight words")
    path, kind = unescape(words[0]), words[1]
    if kind not in KINDS.values():
        raise ValueError(f"no such type: {kind}")
    record = Record(
        kind,
        mode=_stated(words[2], lambda text: int(text, 8)),
        uid=_stated(words[3], int),
        gid=_stated(words[4], int),
        size=_stated(words[5], int),
        mtime_ns=_stated(words[6], _nanoseconds),
        nlink=_stated(words[7], int),
        first=path,
    )
    attributes: list[tuple[bytes, bytes]] = []
    extras: dict[str, Any] = {}
    for word in words[8:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"not KEY=VALUE: {word}")
        if key.startswith("xattr:"):
            attributes.append((unescape(key.removeprefix("xattr:")), unescape(value)))
        else:
            field, read = _EXTRAS[key]
            extras[field] = read(value)
    return path, record._replace(**{"xattrs": tuple(attributes), **extras})


def _stated(word: str, read: Callable[[str], int]) -> int | None:
    return None if word == "-" else read(word)


def _device(text: str) -> tuple[int, int]:
    major, minor = text.split(":")
    return int(major), int(minor)


_EXTRAS: dict[str, tuple[str, Callable[[str], object]]] = {
    "link": ("first", unescape),
    "rdev": ("rdev", _device),
    "target": ("target", unescape),
    "sha256": ("digest", str),
    "xattrs": ("xattrs", lambda text: None),
}


def _seconds(nanoseconds: int) -> str:
    whole, fraction = divmod(abs(nanoseconds), 10**9)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{whole}.{fraction:09d}" if fraction else f"{sign}{whole}"


def _nanoseconds(text: str) -> int:
    match = re.fullmatch(r"(-?)(\d+)(?:\.(\d{9}))?", text)
    if match is None:
        raise ValueError(f"not a time: {text}")
    value = int(match[2]) * 10**9 + int(match[3] or 0)
    return -value if match[1] else value
