"""The entries of an archive as rows of the protocol, in the helper process.

Strategy
Headers alone are read. The targets of symbolic links in a 7z archive are compressed with the files: they are left to
who reads them, as files are (``sevenzip``). Where the bytes of a file lie in the source as they are, is said: of
formats that compress nothing it is where libarchive stands behind the header; of those that may, where the archive's
own lists confirm it (``iso``, ``sevenzip``, ``rar``).
"""

from __future__ import annotations

import ctypes
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rofuse_formats import libarchive_ffi
from rofuse_formats.archives.libarchive import groups, iso, rar
from rofuse_formats.archives.libarchive.protocol import Row
from rofuse_formats.limits import MIB

if TYPE_CHECKING:
    from rofuse_formats.archives.libarchive.opened import Archive

AT_ONCE = 500  # entries in a message
_BYTES_AT_ONCE = 1 << 19
_SIMPLE = ("7zip", "cab")  # have neither owners nor hard links nor extended attributes
_NOBODY = (0, 0, "", "")
_PLAIN = ("cpio", "ar", "warc")  # compress nothing
_MOST_FAILURES = 16  # headers one behind the other that cannot be read
_TEXT_LIMIT = 1 << 16
_XATTRS_LIMIT = 1 << 20


def mode_of(archive: Archive) -> int:
    """Type and permissions of the current entry. Those of ar are files, whatever libarchive says; a masked link without
    bytes is one, as libarchive has it."""
    mode = int(archive.functions.entry_mode(archive.entry))
    if archive.has_masked_links and stat.S_ISSOCK(mode):
        has_bytes = archive.functions.entry_size(archive.entry) > 0
        return stat.S_IMODE(mode) | (stat.S_IFLNK if has_bytes else stat.S_IFREG)
    return mode | stat.S_IFREG if archive.order["kind"] == "ar" and not stat.S_IFMT(mode) else mode


def linear_size(archive: Archive) -> int:
    """Bytes of the current entry in the linear stream."""
    functions, entry = archive.functions, archive.entry
    if not entry:
        return 0
    kind = stat.S_IFMT(mode_of(archive))
    if kind == stat.S_IFREG or (kind == stat.S_IFLNK and archive.has_masked_links):
        return max(0, int(functions.entry_size(entry)))
    if kind == stat.S_IFLNK and archive.order["kind"] == "7zip":  # its target is compressed with the rest
        return len(functions.entry_symlink(entry) or b"")
    return 0


class Lister:
    def __init__(self, archive: Archive, kind: str) -> None:
        self.archive, self._kind = archive, kind
        self._functions = archive.functions
        self._linear = 0
        self._is_simple = kind in _SIMPLE
        self._listed = archive.listed
        self._number = 0  # of entries with bytes
        self._iso = iso.files(archive.source.pread) if kind == "iso9660" else set()
        self._damage: list[tuple[str, str]] = []
        self._count = 0
        self._large: list[
            int
        ] = []  # sizes of files that are not small, and do not lie in the source as they are

    def batches(self) -> Iterator[list[Row]]:
        rows: list[Row] = []
        failures = size = 0
        while failures < _MOST_FAILURES:
            code = self.archive.next_header()
            if code == libarchive_ffi.EOF:
                break
            if code < libarchive_ffi.WARN:
                error = self.archive.trouble()
                if not self._count:
                    raise error
                self._damage.append((type(error).__name__, str(error)))
                if code == libarchive_ffi.FATAL:
                    break
                failures += 1
                continue
            failures = 0
            self._count += 1
            warning = self.archive.message if code == libarchive_ffi.WARN else ""
            row = self._row(warning)
            rows.append(row)
            size += len(row.path) + len(row.target) + sum(len(value) for _name, value in row.xattrs)
            if len(rows) >= AT_ONCE or size >= _BYTES_AT_ONCE:
                yield rows
                rows, size = [], 0
        yield rows

    def summary(self, least: int) -> dict[str, Any]:
        version = libarchive_ffi.version(self.archive.ffi.version_number())
        return {
            "damage": self._damage[:100],
            "together": self._together(least),
            "format": self.archive.format_name,
            "version": version,
        }

    def _together(self, least: int) -> int:
        """Bytes that are to be spooled: of all groups with ``least`` of them."""
        sizes: Iterable[int] = self._large
        listed = self._listed
        if listed is not None:
            totals: Counter[int] = Counter()
            for size, group, place in zip(listed.sizes, listed.groups, listed.places, strict=True):
                totals[group] += size if place < 0 else 0
            sizes = totals.values()
        elif groups.is_solid(self._kind, self.archive.source.pread):
            sizes = [self._linear]
        return sum(size for size in sizes if size >= least)

    def _row(self, warning: str) -> Row:
        functions, entry = self._functions, self.archive.entry
        mode = mode_of(self.archive)
        kind = stat.S_IFMT(mode)
        size, place, linear = 0, 0, self._linear
        checksum: int | None = None
        hardlink = None if self._is_simple else functions.entry_hardlink(entry)
        target: bytes | None = hardlink
        if kind == stat.S_IFREG or (kind == stat.S_IFLNK and self.archive.has_masked_links):
            size = self._size()
            place, checksum = self._place(size, hardlink is not None)
            if size > 0:
                self._take(size)
                if place < 0 and size >= MIB:
                    self._large.append(size)
        elif kind == stat.S_IFLNK and hardlink is None:
            target = functions.entry_symlink(entry)
            if self._kind == "7zip" and target:
                self._take(len(target))  # it is compressed with the rest
        owner: tuple[int, int, str, str] = _NOBODY
        if not self._is_simple:
            owner = (
                int(functions.entry_uid(entry)) & 0xFFFFFFFF,
                int(functions.entry_gid(entry)) & 0xFFFFFFFF,
                _text(functions.entry_uname(entry)),
                _text(functions.entry_gname(entry)),
            )
        rdev = (0, 0)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = int(functions.entry_rdevmajor(entry)), int(functions.entry_rdevminor(entry))
        return Row(
            _text(self._path(entry)),
            mode,
            *owner,
            size,
            place,
            checksum,
            linear,
            [(get(entry), nsec(entry)) if is_set(entry) else None for is_set, get, nsec in functions.times],
            _text(target) if target is not None else "",
            hardlink is not None,
            rdev,
            bool(functions.entry_is_encrypted(entry)),
            [] if self._is_simple else self._xattrs(entry),
            warning,
        )

    def _path(self, entry: Any) -> bytes | None:
        functions = self._functions
        path: bytes | None = functions.entry_pathname(entry) or functions.entry_pathname_utf8(entry)
        if path is None:
            wide = functions.entry_pathname_w(entry)
            path = wide.encode("utf-8", "surrogatepass") if wide is not None else None
        return path

    def _size(self) -> int:
        functions, entry = self._functions, self.archive.entry
        return max(0, int(functions.entry_size(entry))) if functions.entry_size_is_set(entry) else -1

    def _place(self, size: int, is_link: bool) -> tuple[int, int | None]:
        """Where the bytes of the entry lie in the source, -1 where they do not; their CRC-32, where there is one."""
        archive = self.archive
        if size <= 0:
            return 0, None
        if self._kind in _PLAIN:
            return archive.place, None  # also where it is cut off: then reading says so
        place, checksum = -1, None
        if self._kind == "iso9660":
            if (archive.place, size) in self._iso and not is_link:
                is_compressed = archive.source.pread(len(iso.ZISOFS), archive.place) == iso.ZISOFS
                place = -1 if is_compressed else archive.place
        elif self._kind in ("rar", "rar5"):
            place, checksum = rar.stored_at(archive.source.pread, archive.header_place, size)
        elif self._listed is not None and self._listed.sizes[self._number : self._number + 1] == [size]:
            place, checksum = self._listed.places[self._number], self._listed.checksums[self._number]
        return (place, checksum) if 0 <= place <= archive.source.size - size else (-1, None)

    def _take(self, size: int) -> None:
        """An entry has so many bytes in the linear stream."""
        listed = self._listed
        if listed is not None and listed.sizes[self._number : self._number + 1] != [size]:
            self._listed = None  # what is listed is not what libarchive gives
        self._number += 1
        self._linear += size

    def _xattrs(self, entry: Any) -> list[tuple[str, str]]:
        functions = self._functions
        found: list[tuple[str, str]] = []
        count, total = int(functions.entry_xattr_reset(entry)), 0
        for _ in range(count):
            name, value, size = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t()
            code = functions.entry_xattr_next(
                entry, ctypes.byref(name), ctypes.byref(value), ctypes.byref(size)
            )
            total += size.value
            if code != libarchive_ffi.OK or total > _XATTRS_LIMIT:
                break
            found.append((_text(name.value), _text(ctypes.string_at(value, size.value) if value else b"")))
        return found


def _text(data: bytes | None) -> str:
    return (data or b"")[:_TEXT_LIMIT].decode("latin-1")
