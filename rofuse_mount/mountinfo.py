"""The mount table of this process's mount namespace, as ``/proc/self/mountinfo`` tells it (proc(5)).

Rules
- Paths and sources are bytes: the kernel knows no encoding, and it escapes blanks, newlines and backslashes as
  three octal digits, which are undone here. Other control characters arrive as they are: escape them to print.
- Only the table is read, never a mounted file system: a mount whose server hangs would hang the reader too.
- Paths given here are absolute and canonical (``os.path.realpath``), as those in the table are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

FUSE_TYPE = b"fuse.rofuse"  # "fuse" and the subtype that our mounts carry
_OCTAL = frozenset(b"01234567")


class MountEntry:
    """One line of the table."""

    __slots__ = (
        "fstype",
        "major",
        "minor",
        "mount_id",
        "mountpoint",
        "options",
        "parent_id",
        "source",
        "super_options",
    )

    def __init__(self, line: bytes) -> None:
        """Raises ValueError for a line that is none of the table's."""
        fields = line.split(b" ")
        separator = fields.index(b"-", 6)  # after any number of optional fields
        self.mount_id = int(fields[0])
        self.parent_id = int(fields[1])
        major, _, minor = fields[2].partition(b":")
        self.major, self.minor = int(major), int(minor)
        self.mountpoint = unescape(fields[4])
        self.options = frozenset(fields[5].split(b","))
        if len(fields) < separator + 4:
            raise ValueError("a mountinfo line ends too early")
        self.fstype, source, super_options = fields[separator + 1 : separator + 4]
        self.source = unescape(source)
        self.super_options = frozenset(super_options.split(b","))

    @property
    def ours(self) -> bool:
        """Whether it is a mount of this program."""
        return self.fstype == FUSE_TYPE


def unescape(field: bytes) -> bytes:
    r"""Undoes the kernel's ``\ooo``; a backslash that three octal digits do not follow means itself."""
    if b"\\" not in field:
        return field
    head, *rest = field.split(b"\\")
    parts = [head]
    for part in rest:
        digits = part[:3]
        if len(digits) == 3 and _OCTAL.issuperset(digits) and digits < b"400":
            parts.append(bytes((int(digits, 8),)) + part[3:])
        else:
            parts.append(b"\\" + part)
    return b"".join(parts)


def parse(table: bytes) -> Iterator[MountEntry]:
    for line in table.split(b"\n"):
        if line:
            yield MountEntry(line)


def read() -> list[MountEntry]:
    """The table as it is now."""
    with open("/proc/self/mountinfo", "rb") as table:
        return list(parse(table.read()))


def find(mountpoint: bytes, entries: Iterable[MountEntry] | None = None) -> MountEntry | None:
    """The mount seen at exactly this path: of several stacked there, the one on top."""
    stacked = [e for e in (read() if entries is None else entries) if e.mountpoint == mountpoint]
    covered = {entry.parent_id for entry in stacked}
    visible = [entry for entry in stacked if entry.mount_id not in covered]
    return visible[-1] if visible else None
