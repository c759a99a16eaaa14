"""Reads 4 KiB at each [path, offset] of a JSON list on standard input, below the directory given, until SECONDS are
over; prints the median of the seconds that pread(2) took. A program of its own, for it touches a mount.

    preads.py DIRECTORY SECONDS
"""

import json
import os
import statistics
import sys
import time


def main() -> None:
    root, end = sys.argv[1], time.perf_counter() + float(sys.argv[2])
    times: list[float] = []
    for path, offset in json.load(sys.stdin):
        fd = os.open(os.path.join(root, path), os.O_RDONLY)
        try:
            started = time.perf_counter()
            os.pread(fd, 4096, offset)
            times.append(time.perf_counter() - started)
        finally:
            os.close(fd)
        if time.perf_counter() > end:
            break
    print(statistics.median(times))


if __name__ == "__main__":
    main()
