"""What an archive may cost at most, whatever it claims."""

from __future__ import annotations

import os

MIB = 1 << 20


def three_quarters_of_memory() -> int:
    """Bytes: of the machine's. What takes more will not be done by swapping either."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 * 3


class Limits:
    """Bounds on memory and work; each is an option of the command of the same name (``--max-window``).

    All sizes are bytes. They guard, they do not tune: an ordinary archive never meets one.
    """

    __slots__ = ("max_entries", "max_memory", "max_path", "max_window", "max_xattrs", "may_fork", "programs")

    def __init__(
        self,
        *,
        max_window: int = 128 * MIB,
        max_entries: int = 1 << 25,
        max_path: int = 1 << 16,
        max_xattrs: int = 1 << 16,
        max_memory: int | None = None,
        may_fork: bool = False,
        programs: bool = True,
    ) -> None:
        self.max_window = max_window  # the window a decoder must keep (zstd --long=27 needs 128 MiB)
        self.max_entries = max_entries
        self.max_path = max_path  # length of one member's path or link target
        self.max_memory = max_memory  # what a process may take that indexes; None: most of the machine's
        self.max_xattrs = max_xattrs  # names and values of one member's extended attributes together
        self.may_fork = (
            may_fork  # whether indexing may use further processes; asked of who has no threads then
        )
        self.programs = programs  # whether programs of the system may be started that decode (``programs``)
