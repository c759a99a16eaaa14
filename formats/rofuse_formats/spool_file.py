"""The file a spool is written to, and the room it finds there.

Strategy
The file is made when the first byte is to be kept, without a name: whoever is killed leaves nothing behind. While it
grows, the spools of the cache directory that nobody uses make room for it, the least recently used first.

Rules
- All spools together stay within the limit; without one, within half of what they and the free space are.
- ``RESERVE`` of the file system always stays free.
"""

from __future__ import annotations

import os

from rofuse_formats import cache
from rofuse_formats.errors import LimitError
from rofuse_formats.limits import MIB

RESERVE = 256 * MIB
STEP = 64 * MIB
"""Room that must be left when it is asked for: more than is written until it is asked for again."""


class SpoolFile:
    """Where a spool goes. ``fd`` is -1 until something is kept; then it is the caller's to close."""

    def __init__(self, limit: int | None = None, fd: int = -1, path: str = "") -> None:
        """``fd``: of the file, where it is open already; ``path``: where that lies."""
        self.fd, self._path = fd, path
        self._limit = limit

    def open(self) -> int:
        """The descriptor of the file. Raises LimitError where there can be none."""
        if self.fd < 0:
            try:
                self.fd = cache.anonymous_file()
            except OSError as error:
                raise LimitError(
                    f"needs a spool to be read at random, and {cache.directory()} cannot be written "
                    f"({error.strerror}); set XDG_CACHE_HOME, or --no-spool reads without one, slowly"
                ) from error
        return self.fd

    def ask(self, written: int) -> None:
        """The spool's Room."""
        others = [file for file in cache.kept() if file.kind == "spool" and file.path != self._path]
        free, allowed = self._figures(written, others)
        while written + STEP > allowed or free < RESERVE + STEP:
            if not _drop_oldest(others):
                raise LimitError(
                    f"its decoded data needs more than the {_mib(allowed)} that spools may take in "
                    f"{cache.directory()} ({_mib(written)} written, {_mib(free)} free there); --spool-limit "
                    f"raises it, --no-spool reads without, slowly"
                )
            free, allowed = self._figures(written, others)

    def expect(self, size: int) -> None:
        """Raises LimitError where a spool of ``size`` bytes has no room, whatever made some for it. Nothing is made or
        dropped for that."""
        try:
            place = os.statvfs(cache.directory())
        except OSError:
            return  # there is none yet; who writes there will see
        taken = sum(file.size for file in cache.kept() if file.kind == "spool")
        room = place.f_bavail * place.f_frsize + taken
        allowed = min(self._limit if self._limit is not None else room // 2, room - RESERVE)
        if size > allowed:
            raise LimitError(
                f"needs a spool of {_mib(size)} or more to be read at random, and spools may take {_mib(allowed)} in "
                f"{cache.directory()} ({_mib(room - taken)} free there); --spool-limit raises it, --no-spool reads "
                f"without one, slowly"
            )

    def _figures(self, written: int, others: list[cache.Kept]) -> tuple[int, int]:
        """Bytes free on the file system, and bytes that this spool may take."""
        room = os.fstatvfs(self.open())
        free = room.f_bavail * room.f_frsize
        taken = sum(file.size for file in others)
        limit = self._limit if self._limit is not None else (free + written + taken) // 2
        return free, limit - taken


def _drop_oldest(spools: list[cache.Kept]) -> bool:
    """Drops the least recently used spool that is not in use, and takes it off the list."""
    for number, spool in enumerate(spools):
        try:
            dropped = cache.drop(spool.path)
        except OSError:
            continue  # another user's directory
        if dropped:
            del spools[number]
            return True
    return False


def _mib(size: int) -> str:
    return f"{max(size, 0) / MIB:,.0f} MiB"
