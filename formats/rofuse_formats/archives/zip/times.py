"""Times of members: what a second is in DOS, in Unix and in Windows."""

from __future__ import annotations

import time

_MANY = 1 << 16
_EPOCH_1601 = 11_644_473_600  # seconds from 1601 to 1970
_LATE_YEAR = 2038 - 1980  # from here on a signed Unix time of 32 bits has wrapped around


class DosTimes(dict[int, int]):
    """From a DOS date and time (the date in the upper 16 bits), which is local to nobody knows where and taken for the
    machine's zone, to seconds since 1970."""

    def __missing__(self, stamp: int) -> int:
        if len(self) >= _MANY:
            self.clear()
        seconds = self[stamp] = dos_seconds(stamp)
        return seconds


def dos_seconds(stamp: int) -> int:
    """APPNOTE 4.4.6. A date that cannot be becomes the next that can."""
    year, month, day = 1980 + (stamp >> 25), stamp >> 21 & 15, stamp >> 16 & 31
    hour, minute, second = stamp >> 11 & 31, stamp >> 5 & 63, (stamp & 31) * 2
    try:
        return int(time.mktime((year, month or 1, day or 1, hour, minute, second, 0, 0, -1)))
    except (OverflowError, ValueError):
        return 0


def unix_seconds(value: int, stamp: int) -> int:
    """A signed 32-bit time, beside which the DOS time ``stamp`` stands."""
    return value + (1 << 32) if value < 0 and stamp >> 25 >= _LATE_YEAR else value


def windows_time(value: int) -> tuple[int, int]:
    """Seconds and nanoseconds of a count of 100 ns since 1601."""
    seconds, rest = divmod(value, 10_000_000)
    return seconds - _EPOCH_1601, rest * 100
