"""Figures of several servers as those of one."""

from __future__ import annotations

import pytest

from rofuse_mount import counters, figures
from rofuse_mount.wire import Opcode

SPINS = {"paid": 2, "vain": 1}


class WithCache:
    def __init__(self, *changed: str) -> None:
        self.changed = list(changed)

    def figures(self) -> dict[str, object]:
        return {"cache": {"hits": 3, "misses": 1, "bytes": 100}, "changed": self.changed}


def table(opcode: int, bucket: int, count: int) -> counters.Table:
    made = counters.new_table()
    made[(opcode << counters.WIDTH_BITS) + bucket] = count
    return made


def test_servers_are_added_up() -> None:
    lines = [
        figures.line(
            [table(Opcode.READ, 4, 2), table(Opcode.LOOKUP, 1, 1)], WithCache("b", "c"), SPINS
        ).encode(),
        figures.line([table(Opcode.READ, 4, 5)], WithCache("a", "b"), SPINS).encode(),
        figures.line([], object(), SPINS).encode(),
    ]
    together = figures.together(lines)
    assert {name: found["count"] for name, found in together["requests"].items()} == {"LOOKUP": 1, "READ": 7}
    assert together["cache"] == {"hits": 6, "misses": 2, "bytes": 200}
    assert together["spins"] == {"paid": 6, "vain": 3}
    assert together["pushed"] == {"files": 0, "bytes": 0, "unread": 0}
    assert together["changed"] == ["a", "b", "c"]
    assert figures.together([])["requests"] == {}


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"counts": {"x": 1}}', b'{"counts": {"99999": 1}}'])
def test_what_is_no_figures_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        figures.together([line])
