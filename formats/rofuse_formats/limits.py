"""What an archive may cost at most, whatever it claims."""

from __future__ import annotations

import os

from rofuse_formats.errors import DamagedError, RatioError

MIB = 1 << 20
NAME_MAX = 255  # linux/limits.h: no name can be longer
TARGET_MAX = 4095  # PATH_MAX less its NUL: what readlink(2) can give
UNQUESTIONED = 1 << 30
"""Bytes that anything may become, however little it is compressed: they take a second or two to decode."""
MOST_XATTR_NAMES = 1 << 20
"""Different names of extended attributes, in all: any real archive has some dozens, and whoever serves it asks for all
of them at once."""
MOST_DAMAGES = 1000
"""After so many the rest of a compressed source is not read: nobody wants it, and each takes memory, and a little of
every read."""


def check_damages(count: int, offset: int) -> None:
    """Raises DamagedError, the last one, where a source that was read up to ``offset`` has so many already."""
    if count >= MOST_DAMAGES:
        raise DamagedError(f"{MOST_DAMAGES} damages are enough: read up to offset {offset}", offset)


def three_quarters_of_memory() -> int:
    """Bytes: of the machine's. What takes more will not be done by swapping either."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 * 3


class Limits:
    """Bounds on memory and work; each is an option of the command of the same name (``--max-window``).

    All sizes are bytes. They guard, they do not tune: an ordinary archive never meets one.
    """

    __slots__ = (
        "max_depth",
        "max_entries",
        "max_index",
        "max_memory",
        "max_name",
        "max_path",
        "max_ratio",
        "max_target",
        "max_window",
        "max_xattrs",
        "may_fork",
        "programs",
    )

    def __init__(
        self,
        *,
        max_window: int = 128 * MIB,
        max_entries: int = 1 << 25,
        max_path: int = 1 << 16,
        max_name: int = NAME_MAX,
        max_depth: int = 1 << 11,
        max_target: int = TARGET_MAX,
        max_xattrs: int = 1 << 16,
        max_index: int = 4096 * MIB,
        max_ratio: int = 2_000_000,
        max_memory: int | None = None,
        may_fork: bool = False,
        programs: bool = True,
    ) -> None:
        self.max_window = max_window  # the window a decoder must keep (zstd --long=27 needs 128 MiB)
        self.max_entries = max_entries
        self.max_path = max_path  # length of one member's path or link target
        self.max_name = min(max_name, NAME_MAX)  # of one component of a path
        self.max_depth = max_depth  # directories within each other; deeper leads no path (PATH_MAX)
        self.max_target = min(max_target, TARGET_MAX)  # of a symbolic link
        self.max_index = max_index  # of the index: the image, the seek points, and what is said of them
        self.max_ratio = max_ratio  # bytes that one compressed byte may become, on average; see most_of
        self.max_memory = max_memory  # what a process may take that indexes; None: most of the machine's
        self.max_xattrs = max_xattrs  # names and values of one member's extended attributes together
        # Whether indexing may use further processes; asked of who has no threads then.
        self.may_fork = may_fork
        self.programs = programs  # whether programs of the system may be started that decode (``programs``)

    def most_of(self, stored: int) -> int:
        """Bytes that ``stored`` compressed ones may become: an honest file of zeros is no bomb before it is large."""
        return max(UNQUESTIONED, stored * self.max_ratio)

    def too_much(self, stored: int) -> RatioError:
        """What is told of that which becomes more."""
        return RatioError(
            f"becomes more than {self.max_ratio:,} times the {stored:,} bytes that it is compressed to; "
            "--max-ratio raises the limit"
        )
