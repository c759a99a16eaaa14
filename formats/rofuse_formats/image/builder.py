"""From a format's calls to an inode image.

Strategy
While an archive is scanned, each placement of a name (a member, a directory, a hard link) is one *record*: a row in
growing arrays, in archive order. A directory's record is made when it is first mentioned, by its own member or as
somebody's parent; its own member then fills it in. Nothing is looked up but parent directories, so a million
members cost a million appends. ``finish`` settles what only the whole archive can tell: what hard links mean
(``links``), who keeps a name that several claim and which inode gets which number (``tree``), and lays the columns
out (``columns``).

Rules
- Of two records with one name the later wins, except that a directory that has entries stays a directory, as in
  extraction (no extractor replaces a non-empty directory by a file).
- A path is cut at slashes; empty and ``.`` components are dropped, so absolute paths land below the root. A path
  with a ``..`` component is refused: it is an escape, or means another thing once a symlink is in its way.
- A component over 255 bytes cannot be shown by the kernel and is refused, as is a symlink target over 4095.
- Every refusal is counted in the report, none stops the scan. One that a limit is the reason for names its option.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Iterable, Sequence

from rofuse_formats import lanes
from rofuse_formats.entry import Extent, PackedColumns, Time
from rofuse_formats.errors import LimitError
from rofuse_formats.image import batch, layout
from rofuse_formats.image.columns import Piece, columns
from rofuse_formats.image.tree import Tree
from rofuse_formats.limits import MOST_XATTR_NAMES, NAME_MAX, TARGET_MAX, Limits
from rofuse_formats.report import Report

TIMES = ("atime", "ctime", "btime")
_EPOCH = Time(0)
_PAST, _FUTURE = -(1 << 61), (1 << 61) - 1  # seconds are kept within these
ROOT_DIRECTORY = 0
_NO_NAMES = (b"//", b"/./", b"/../", b"\0")  # among names between slashes
_TOPS_OF_SIZES = bytes(range(1 << 6))  # the upper bytes of sizes below 1 << 62
_TOPS_OF_TIMES = bytes((*range(1 << 5), *range(0xE0, 0x100)))  # and of seconds from _PAST to _FUTURE
HARDLINK_MODE = 0  # no type bits: a record whose inode is another record's
_TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}


class ImageBuilder:
    """The Builder of ``rofuse_formats.entry``. ``mtime``, ``uid`` and ``gid`` are for directories that the archive
    implies but does not hold: the archive file's own."""

    def __init__(
        self, *, mtime: tuple[int, int] = (0, 0), uid: int = 0, gid: int = 0, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.report = Report()
        # records, by number
        self.directory = array("I")  # number of the directory it lies in
        self.name_at = array("Q", [0])  # bounds in all names together
        self.names = bytearray()  # with a slash behind each, which no name has: many are told apart in one go
        self.mode, self.owners = array("H"), array("I")
        self.size, self.mtime, self.mtime_ns = array("Q"), array("q"), array("I")
        self.data = array("Q")
        # directories, by number
        self.directory_record = array("I")
        self.directory_told = array("I")  # number of records when its own member last came
        self.directory_depth = array("I")  # directories that it lies in
        self.directories: dict[tuple[int, bytes], int] = {}
        self._last_head, self._last_directory = b"", ROOT_DIRECTORY
        self.head_directories: dict[bytes, int] = {}
        # side tables
        self.owner_numbers: dict[tuple[int, int, int, int], int] = {}
        self._small_strings: dict[bytes, int] = {}
        self.string_at, self.texts = array("Q", [0]), bytearray()
        self.pieces, self._xattr_names = list[Sequence[Extent]](), set[int]()
        self.member_rows = {
            "member_at": array("Q"),
            "packed": array("Q"),
            "member_crc": array("I"),
            "method": array("H"),
            "member_flags": array("H"),
        }
        self._member_columns = tuple(self.member_rows.values())
        self.record_xattrs: dict[int, list[tuple[int, int]]] = {}
        self.time_rows = {"record": array("I"), "has": array("H")}  # by call, so the last of a record counts
        for name in TIMES:
            self.time_rows |= {name: array("q"), name + "_ns": array("I")}
        self.hardlinks: list[tuple[int, bytes]] = []
        self.implied_owner = self.owner(uid, gid)
        self._implied = (stat.S_IFDIR | 0o755, self.implied_owner, *mtime)
        self._longest_name = self.limits.max_name
        self._new_directory(ROOT_DIRECTORY, b"")

    # -- what a format calls ---------------------------------------------------------------------------------

    def owner(self, uid: int, gid: int, uname: bytes = b"", gname: bytes = b"", /) -> int:
        key = (uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, self._small_string(uname), self._small_string(gname))
        return self.owner_numbers.setdefault(key, len(self.owner_numbers))

    def text(self, data: bytes, /) -> int:
        self.texts += data
        self.string_at.append(len(self.texts))
        return len(self.string_at) - 2

    def extents(self, extents: Sequence[Extent], /) -> int:
        self.pieces.append(extents)
        return layout.DATA_PIECES << layout.DATA_SHIFT | len(self.pieces) - 1

    def packed(self, at: int, packed: int, crc: int, method: int, flags: int, /) -> int:
        ats, sizes, crcs, methods, flag_words = self._member_columns
        ats.append(at)
        sizes.append(packed)
        crcs.append(crc)
        methods.append(method)
        flag_words.append(flags)
        return layout.DATA_MEMBER << layout.DATA_SHIFT | len(ats) - 1

    def add(
        self, path: bytes, mode: int, owner: int, size: int, mtime: int, mtime_ns: int, data: int, /
    ) -> int:
        head, _slash, name = path.rpartition(b"/")
        if head == self._last_head:
            directory = self._last_directory
        else:
            directory = self._enter(head, path)
            if directory < 0:
                return -1
        kind = mode & 0o170000
        if (
            kind == stat.S_IFDIR
            or name in (b"", b".", b"..")
            or len(name) > self._longest_name
            or b"\0" in name
            or kind == stat.S_IFLNK
            or size >> 62
            or mtime >> 61 not in (0, -1)
            or kind not in _TYPES
        ):
            return self._add_checked(path, directory, name, (mode, owner, size, mtime, mtime_ns, data))
        return self._record(directory, name, mode, owner, size, mtime, mtime_ns, data)

    def add_packed(self, members: PackedColumns, /) -> None:
        batch.add(self, members)

    def hardlink(self, path: bytes, target: bytes, /) -> None:
        record = self.add(path, stat.S_IFREG, 0, 0, 0, 0, 0)
        if record >= 0:
            self.mode[record] = HARDLINK_MODE
            self.hardlinks.append((record, target))

    def xattrs(self, member: int, attributes: Iterable[tuple[bytes, bytes]], /) -> None:
        kept, known = dict(attributes), self._xattr_names
        if member < 0:
            return
        if any(not 0 < len(name) <= NAME_MAX or b"\0" in name for name in kept):
            self.report.skip(self.record_name(member), "extended attributes whose names cannot be shown")
        elif sum(len(name) + len(value) for name, value in kept.items()) > self.limits.max_xattrs:
            reason = f"extended attributes of over {self.limits.max_xattrs} bytes, which --max-xattrs raises"
            self.report.skip(self.record_name(member), reason)
        elif len(new := {*map(self._small_string, kept)} - known) + len(known) > MOST_XATTR_NAMES:
            self.report.skip(self.record_name(member), "extended attributes of too many different names")
        else:
            known |= new
            strings = [(self._small_string(name), self._small_string(kept[name])) for name in sorted(kept)]
            self.record_xattrs[member] = strings

    def times(
        self, member: int, /, atime: Time | None = None, ctime: Time | None = None, btime: Time | None = None
    ) -> None:
        if member >= 0 and (atime or ctime or btime):
            self._add_times(member, atime, ctime, btime)

    def skipped(self, path: bytes, reason: str, /) -> None:
        self.report.skip(path, reason)

    def warn(self, message: str, /) -> None:
        self.report.warn(message)

    def encrypted(self, files: int, /) -> None:
        self.report.encrypted += files

    def together(self, size: int, /) -> None:
        self.report.together += size

    def secret(self, told: bool, /) -> None:
        self.report.holds_secrets |= told
        self.report.lacks_secrets |= not told

    def damaged(self, message: str, offset: int, /) -> None:
        self.report.damaged(message, offset)

    def string(self, row: int) -> bytes:
        """What ``text`` kept."""
        return bytes(self.texts[self.string_at[row] : self.string_at[row + 1]])

    # -- what can be shown as it is ----------------------------------------------------------------------------

    def have_room(self, rows: int, directories: Iterable[bytes]) -> bool:
        """Whether so many records can be added, and directories of these paths."""
        return len(self.mode) + rows <= self.limits.max_entries and all(
            len(path) <= self.limits.max_path and path.count(b"/") < self.limits.max_depth
            for path in directories
        )

    def demand_room(self, rows: int) -> None:
        """Raises LimitError where so many records cannot be added."""
        if len(self.mode) + rows > self.limits.max_entries:
            raise LimitError(f"more than {self.limits.max_entries} entries (raise it with --max-entries)")

    def is_target(self, row: int) -> bool:
        """Whether what ``text`` kept can be a symlink's target."""
        target = self.string(row)
        return 0 < len(target) <= self.limits.max_target and b"\0" not in target

    def are_plain(self, names: bytes, longest: int, sizes: array[int], mtimes: array[int]) -> bool:
        """Whether names, a slash behind each, need nothing done to them, and the numbers are in their bounds."""
        framed = b"/" + names
        return (
            longest <= self._longest_name
            and not any(name in framed for name in _NO_NAMES)
            and not lanes.top_bytes(sizes).translate(None, _TOPS_OF_SIZES)
            and not lanes.top_bytes(mtimes).translate(None, _TOPS_OF_TIMES)
        )

    # -- records and directories -----------------------------------------------------------------------------

    def _record(
        self,
        directory: int,
        name: bytes,
        mode: int,
        owner: int,
        size: int,
        mtime: int,
        mtime_ns: int,
        data: int,
    ) -> int:
        if len(self.mode) >= self.limits.max_entries:
            self.demand_room(1)
        self.directory.append(directory)
        self.names += name
        self.names += b"/"
        self.name_at.append(self.name_at[-1] + len(name))
        self.mode.append(mode)
        self.owners.append(owner)
        self.size.append(size)
        self.mtime.append(mtime)
        self.mtime_ns.append(mtime_ns)
        self.data.append(data)
        return len(self.mode) - 1

    def _add_checked(
        self, path: bytes, directory: int, name: bytes, fields: tuple[int, int, int, int, int, int]
    ) -> int:
        """``add`` for what is no plain file with a plain name: refuses, or makes the record."""
        mode, owner, size, mtime, mtime_ns, data = fields
        kind = stat.S_IFMT(mode)
        mtime = max(_PAST, min(mtime, _FUTURE))
        if size >> 62:
            self.report.skip(path, "a size beyond what a file can have")
            return -1
        if kind not in _TYPES:
            self.report.skip(path, "of no type that can be shown")
            return -1
        is_packed = data >> layout.DATA_SHIFT == layout.DATA_MEMBER
        longest = self.limits.max_target
        if kind == stat.S_IFLNK and not (0 < size <= longest if is_packed else self.is_target(data)):
            reason = f"a symbolic link whose target is empty, over {TARGET_MAX} bytes or no text"
            if longest < size <= TARGET_MAX:
                reason = f"a symbolic link whose target is over {longest} bytes, which --max-target raises"
            self.report.skip(path, reason)
            return -1
        if kind == stat.S_IFDIR:
            number = self._enter(path.rstrip(b"/"), path)  # as what lies in it will say it
            if number < 0:
                return -1
            return self._tell_directory(number, mode, owner, mtime, mtime_ns)
        if name in (b"", b"."):  # a file called "x/" or "x/.": the slashes mean nothing
            stripped = b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))
            if not stripped:
                self.report.skip(path, "a name with nothing in it")
                return -1
            return self.add(stripped, mode, owner, size, mtime, mtime_ns, data)
        if not self._name_is_good(name, path):
            return -1
        return self._record(directory, name, mode, owner, size, mtime, mtime_ns, data)

    def _tell_directory(self, number: int, mode: int, owner: int, mtime: int, mtime_ns: int) -> int:
        record = self.directory_record[number]
        self.mode[record], self.owners[record] = mode, owner
        self.mtime[record], self.mtime_ns[record] = mtime, mtime_ns
        self.record_xattrs.pop(record, None)
        if self.directory_told[number] > record and self.time_rows["record"]:
            self._add_times(record, None, None, None)  # those of its earlier member no longer count
        self.directory_told[number] = len(self.mode)
        return record

    def _new_directory(self, parent: int, name: bytes) -> int:
        number = len(self.directory_record)
        mode, owner, mtime, mtime_ns = self._implied
        record = self._record(parent, name, mode, owner, 0, mtime, mtime_ns, number)
        self.directory_record.append(record)
        self.directory_told.append(record)
        self.directory_depth.append(self.directory_depth[parent] + 1 if number else 0)
        return number

    def _enter(self, head: bytes, path: bytes) -> int:
        """Number of the directory ``head``, made where it is new; -1 when ``path`` is refused for it."""
        number = self.head_directories.get(head)
        if number is None:
            if len(path) > self.limits.max_path:
                reason = f"a path of more than {self.limits.max_path} bytes, which --max-path raises"
                self.report.skip(path[:NAME_MAX], reason)
                return -1
            number = self._make_directories(head, path)
            if number < 0:
                return -1
            self.head_directories[head] = number
        self._last_head, self._last_directory = head, number
        return number

    def _make_directories(self, head: bytes, path: bytes) -> int:
        upper, _slash, last = head.rpartition(b"/")
        number = self.head_directories.get(upper, ROOT_DIRECTORY)
        parts = [last] if upper in self.head_directories else head.split(b"/")
        parts = [part for part in parts if part not in (b"", b".")]
        if not all(self._name_is_good(part, path) for part in parts):
            return -1
        if self.directory_depth[number] + len(parts) > self.limits.max_depth:
            reason = f"in more than {self.limits.max_depth} directories, which --max-depth raises"
            self.report.skip(path[:NAME_MAX], reason)
            return -1
        for part in parts:
            key = (number, part)
            found = self.directories.get(key)
            if found is None:
                found = self.directories[key] = self._new_directory(number, part)
            number = found
        return number

    def _name_is_good(self, name: bytes, path: bytes) -> bool:
        if name == b"..":
            self.report.skip(path, "a path that climbs with '..'")
            return False
        if len(name) > self._longest_name:
            option = ", which --max-name raises" if len(name) <= NAME_MAX else ""
            longest = self._longest_name if option else NAME_MAX
            self.report.skip(path, f"a name of more than {longest} bytes{option}")
            return False
        if b"\0" in name:
            self.report.skip(path, "a name with a zero byte in it")
            return False
        return True

    def _add_times(self, record: int, atime: Time | None, ctime: Time | None, btime: Time | None) -> None:
        rows = self.time_rows
        rows["record"].append(record)
        rows["has"].append((atime is not None) + 2 * (ctime is not None) + 4 * (btime is not None))
        # Unrolled: a posix archive has two of them for every member.
        seconds, nanoseconds = atime or _EPOCH
        rows["atime"].append(max(_PAST, min(seconds, _FUTURE)))
        rows["atime_ns"].append(nanoseconds)
        seconds, nanoseconds = ctime or _EPOCH
        rows["ctime"].append(max(_PAST, min(seconds, _FUTURE)))
        rows["ctime_ns"].append(nanoseconds)
        seconds, nanoseconds = btime or _EPOCH
        rows["btime"].append(max(_PAST, min(seconds, _FUTURE)))
        rows["btime_ns"].append(nanoseconds)

    def _small_string(self, data: bytes) -> int:
        """A string that is likely to come again."""
        row = self._small_strings.get(data)
        if row is None:
            row = self._small_strings[data] = self.text(data)
        return row

    def record_name(self, record: int) -> bytes:
        start, stop = self.name_at[record], self.name_at[record + 1]
        return bytes(self.names[record + start : record + stop])

    def find_directory(self, head: bytes) -> int:
        """Number of a directory by path, -1 where there is none. For link targets, which make no directories."""
        number = self.head_directories.get(head)
        if number is not None:
            return number
        number = ROOT_DIRECTORY
        for part in head.split(b"/"):
            if part in (b"", b"."):
                continue
            found = self.directories.get((number, part))
            if found is None:
                return -1
            number = found
        return number

    # -- the image -------------------------------------------------------------------------------------------

    def finish(self) -> list[Piece]:
        """The image, in pieces to be written one after the other. The builder is spent."""
        if self.name_at[-1] > layout.HEAP_MAX:
            raise LimitError("more than 4 GiB of names: too many to index")
        return columns(self, Tree(self))
