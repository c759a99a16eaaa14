"""An archive that was split into several files, joined again.

Strategy
Which files belong together, their names say. ``X.001, X.002...`` are the bytes of X, cut. ``X.z01, X.z02... X.zip`` are
the disks of one zip archive; whether X.zip is the last of several, it says itself (``SplitFormat``). Whatever part is
given, the archive is known by one: the first of those that are cut, the last of the disks. RAR's volumes,
``X.part1.rar, X.part2.rar...`` or ``X.rar, X.r00, X.r01...``, are read one behind the other, too, and known by the
first; that it is a volume, it says itself.

Rules
- Parts lie beside each other under the name that was given. One that is missing is named.
- A part is a regular file, and a symbolic link only where the one that was given is a link, too: who can write into the
  directory shall not have another file read than its owner named.
- There are no more than ``MOST``: each costs a descriptor as long as the archive is open.
- Files whose number is no part's (``log.gz.1``, a rotated log) are left alone: what begins as the first one does, with
  the same format, stands for itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import FormatError, LimitError, SourceError
from rofuse_formats.source import FileSource, JoinedSource, StoredSource

MOST = 200
_HEAD = 1 << 16
_NUMBERED = rb"(.+)\.(\d{3,5})"
_DISK = rb"(.+)\.([zZ])(\d{2,5})"
_RAR_PART = rb"(?i)(.+\.part)(\d{1,5})(\.rar)"
_RAR_OLD = rb"(.+)\.([r-zR-Z])(\d\d)"


def opened(path: str | os.PathLike[str]) -> StoredSource:
    """The archive that the file at ``path`` is, or is a part of; the directory that it is. Raises SourceError,
    UnknownFormatError, LimitError."""
    if os.path.isdir(path):
        return DirectorySource(path)
    folder, name = os.path.split(os.fsencode(path))
    stem, _, ending = name.rpartition(b".")
    if not stem:
        return FileSource(path)
    if ending[-1:].isdigit():
        return _of_number(path, folder, name)
    if ending.lower() == b"rar":
        if found := _match(_RAR_PART, name):
            return _rar_parts(path, folder, found)
        return _rar_volumes(FileSource(path), os.path.islink(path))
    if ending.lower() == b"zip":
        return _disks(FileSource(path), stem, ending[:1], os.path.islink(path))
    return FileSource(path)


def _match(pattern: bytes, name: bytes) -> re.Match[bytes] | None:
    """Compiled where a name may match: hardly any does, and it takes a while."""
    return re.fullmatch(pattern, name, re.DOTALL)


def _of_number(path: str | os.PathLike[str], folder: bytes, name: bytes) -> StoredSource:
    """As ``opened``; the name ends in a digit."""
    if found := _match(_NUMBERED, name):
        return _numbered(path, folder, found[1], found[2])
    if (found := _match(_RAR_OLD, name)) and (first := _sibling(folder, found[1] + b".", (b"rar", b"RAR"))):
        return _rar_volumes(FileSource(os.fsdecode(first)), os.path.islink(path))
    if found := _match(_DISK, name):
        last = _sibling(folder, found[1] + b"." + found[2], (b"ip", b"IP"))
        if last is None:
            raise SourceError(
                f"is a part of a split archive whose last one, {_show(found[1])}.zip, is missing"
            )
        link = os.path.islink(path)
        return _disks(_part(last, link), found[1], found[2], link)
    return FileSource(path)


def _numbered(path: str | os.PathLike[str], folder: bytes, name: bytes, number: bytes) -> StoredSource:
    """The file at ``path`` is called ``name`` and has this number."""
    given = FileSource(path)
    first = b"%s.%0*d" % (name, len(number), 1)
    link = os.path.islink(path)
    if int(number) > 1:
        if not os.path.lexists(os.path.join(folder, first)):
            if _format_of(given):
                return given
            raise SourceError(f"is a part of a split archive whose first one, {_show(first)}, is missing")
        if _stands_for_itself(given, os.path.join(folder, first), link):
            return given
    elif int(number) == 0:
        return given
    names = list(_in_sequence(folder, name, len(number)))
    if int(number) > len(names):
        missing = b"%s.%0*d" % (name, len(number), len(names) + 1)
        raise SourceError(f"is a part of a split archive of which {_show(missing)} is missing")
    if int(number) == 1 and len(names) > 1 and _stands_for_itself(given, names[1], link):
        return given
    return _joined(names, names[0], name, link)


def _in_sequence(folder: bytes, name: bytes, width: int) -> Iterator[bytes]:
    """The paths of all parts up to the first that is not there."""
    number = 1
    while os.path.lexists(path := os.path.join(folder, b"%s.%0*d" % (name, width, number))):
        yield path
        number += 1
        if number > MOST + 1:
            raise _too_many()


def _rar_parts(path: str | os.PathLike[str], folder: bytes, name: re.Match[bytes]) -> StoredSource:
    """The archive of which the file at ``path`` is volume ``name[2]``."""
    stem, number, ending = name.groups()
    first = os.path.join(folder, b"%s%0*d%s" % (stem, len(number), 1, ending))
    if int(number) != 1 and not os.path.lexists(first):
        raise SourceError(
            f"is a volume of a RAR archive whose first one, {_show(os.path.basename(first))}, is missing"
        )
    link = os.path.islink(path)
    if not _is_rar_volume(_part(first, link)):
        return FileSource(path)
    names = [first]
    while os.path.lexists(
        following := os.path.join(folder, b"%s%0*d%s" % (stem, len(number), len(names) + 1, ending))
    ):
        names.append(following)
        if len(names) > MOST:
            raise _too_many()
    if int(number) > len(names):
        raise SourceError(
            f"is a volume of a RAR archive of which {_show(os.path.basename(following))} is missing"
        )
    return _joined(names, names[0], os.path.basename(names[0]), link) if len(names) > 1 else FileSource(path)


def _rar_volumes(first: FileSource, link: bool) -> StoredSource:
    """The archive whose first volume, X.rar, this is, with X.r00 and those that follow it."""
    if not _is_rar_volume(first):
        return first
    path = os.fsencode(first.path)
    folder, name = os.path.split(path)
    names = [path]
    while len(names) <= MOST:
        letter, number = divmod(len(names) - 1, 100)  # .r99 is followed by .s00
        endings = tuple(b"%c%02d" % (ord(first) + letter, number) for first in "rR")
        found = _sibling(folder, name[:-3], endings)
        if found is None:
            return _joined(names, path, name, link) if len(names) > 1 else first
        names.append(found)
    raise _too_many()


def _is_rar_volume(source: FileSource) -> bool:
    from rofuse_formats.archives import named
    from rofuse_formats.entry import VolumeFormat

    archive_format = named("libarchive")
    return isinstance(archive_format, VolumeFormat) and archive_format.is_volume(source)


def _disks(last: FileSource, name: bytes, letter: bytes, link: bool) -> StoredSource:
    """The archive whose last disk is ``last``; that itself, where it is the only one."""
    from rofuse_formats.archives import named
    from rofuse_formats.entry import SplitFormat

    archive_format = named("zip")
    before = archive_format.parts_before(last) if isinstance(archive_format, SplitFormat) else 0
    if not before:
        return last
    folder = os.path.dirname(os.fsencode(last.path))
    names = []
    for number in range(1, before + 1):
        if number >= MOST:
            raise _too_many()
        found = _sibling(
            folder, name + b".", (b"%s%02d" % (letter, number), b"%s%02d" % (letter.swapcase(), number))
        )
        if found is None:
            missing = b"%s.%s%02d" % (name, letter, number)
            raise SourceError(f"is split into {before + 1} parts, of which {_show(missing)} is missing")
        names.append(found)
    path = os.fsencode(last.path)
    return _joined([*names, path], path, os.path.basename(path), link)


def _joined(paths: list[bytes], path: bytes, name: bytes, link: bool) -> JoinedSource:
    return JoinedSource([_part(part, link) for part in paths], os.fsdecode(path), name)


def _part(path: bytes, link: bool) -> FileSource:
    """A part that was not given by its name. ``link``: whether it may be a symbolic link."""
    shown = _show(os.path.basename(path))
    if not link and os.path.islink(path):
        raise SourceError(f"its part {shown} is a symbolic link; give one as well, or the files themselves")
    try:
        part = FileSource(os.fsdecode(path), link=link)
    except FormatError as error:
        raise SourceError(f"its part {shown} {error}") from error
    if not stat.S_ISREG(part.status.st_mode):
        raise SourceError(f"its part {shown} is not a regular file")
    return part


def _sibling(folder: bytes, stem: bytes, endings: tuple[bytes, ...]) -> bytes | None:
    paths = (os.path.join(folder, stem + ending) for ending in endings)
    return next((path for path in paths if os.path.lexists(path)), None)


def _stands_for_itself(source: FileSource, other: bytes, link: bool) -> bool:
    """Whether both begin as archives of the same format."""
    known = _format_of(source)
    return known is not None and known == _format_of(_part(other, link))


def _format_of(source: FileSource) -> str | None:
    """The format that begins with what ``source`` begins with."""
    from rofuse_formats.archives import formats
    from rofuse_formats.codecs import codecs

    head = source.pread(_HEAD, 0)
    known = [*formats().values(), *(codec for codec in codecs().values() if codec.magic)]
    return next((kind.name for kind in known if kind.recognise(head)), None)


def _too_many() -> LimitError:
    return LimitError(f"is split into more than {MOST} parts; join them with cat first")


def _show(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
