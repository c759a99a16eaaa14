"""What servers tell of their work, as lines of JSON, and what those of one mount come to together.

A line holds the counters' tables, added up and without their zeros, and what the filesystem says of itself
(``Filesystem.figures``, where it has that: dicts of integers, and ``changed``, a list of paths). Everything in it can
be added up, so that several servers are one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rofuse_mount import counters

_NOTHING: dict[str, dict[str, int]] = {
    "cache": {"hits": 0, "misses": 0, "bytes": 0},
    "pushed": {"files": 0, "bytes": 0, "unread": 0},
    "spins": {"paid": 0, "vain": 0},
}


def line(tables: Iterable[counters.Table], filesystem: Any, spins: dict[str, int]) -> str:
    """One server's figures. ``spins``: how often it looked for a request before it slept (``spinning``)."""
    total = [sum(column) for column in zip(*tables, strict=True)]
    counts = {str(place): count for place, count in enumerate(total) if count}
    figures = getattr(filesystem, "figures", None)
    told = figures() if figures is not None else {}
    return json.dumps({"counts": counts, "spins": spins} | told)


def together(lines: Iterable[bytes]) -> dict[str, Any]:
    """``requests``, ``cache``, ``pushed``, ``spins``, ``changed`` of all servers. Raises ValueError for a line that is
    none of ``line``."""
    table, changed = counters.new_table(), set[str]()
    sums = {name: dict(values) for name, values in _NOTHING.items()}
    try:
        for text in lines:
            told = json.loads(text)
            for place, count in told["counts"].items():
                table[int(place)] += int(count)
            changed.update(map(str, told.get("changed", ())))
            for name, values in sums.items():
                for key in values:
                    values[key] += int(told.get(name, {}).get(key, 0))
        requests = {
            name: {
                "count": latency.count,
                "median_us": round(latency.median_us, 1),
                "p99_us": round(latency.p99_us, 1),
            }
            for name, latency in counters.summary([table]).items()
        }
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError("figures that cannot be understood") from error
    return {"requests": requests, **sums, "changed": sorted(changed)}
