"""Where a file on disk has data, and where holes: lseek(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import ENXIO


def data_runs(fd: int, position: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, ascending: [begin, end), within [position, stop)."""
    while position < stop:
        try:
            begin = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:
                return
            yield position, stop  # a file system that does not know
            return
        if begin >= stop:
            return
        position = min(os.lseek(fd, begin, os.SEEK_HOLE), stop)
        if position <= begin:  # it changes meanwhile
            return
        yield begin, position
