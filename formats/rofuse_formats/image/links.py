"""What each hard link of an archive means.

Rules
- A link means what its target's name meant when the link came: the latest record of that name before it. Where there
  is none, the first after it (some archivers write links before their file).
- A link to a link means what that one means. A link to a directory, to nothing, or in a circle is dropped.
- Whoever takes a name later does not change what an earlier link to it means.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rofuse_formats.image.builder import ImageBuilder

NOTHING = "a hard link to what the archive does not hold"
DIRECTORY = "a hard link to a directory"

Place = tuple[int, bytes]
"""Number of a directory, name in it."""


class HardLinks:
    """``target_of``: for each good link's record the record whose inode it names. ``dropped``: the other links'
    records, each with the reason. ``records_of``: the records of a directory, ascending."""

    def __init__(self, builder: ImageBuilder, records_of: Callable[[int], Iterable[int]]) -> None:
        self._builder = builder
        self.target_of: dict[int, int] = {}
        self.dropped: dict[int, str] = {}
        if not builder.hardlinks:
            return
        place_of = {
            target: self._place(target) for target in {target for _record, target in builder.hardlinks}
        }
        places = {record: place_of[target] for record, target in builder.hardlinks}
        claims = self._claims({place for place in places.values() if place is not None}, records_of)
        for record in places:
            self._settle(record, places, claims)

    def _place(self, target: bytes) -> Place | None:
        parts = [part for part in target.split(b"/") if part not in (b"", b".")]
        if not parts or b".." in parts:
            return None
        directory = self._builder.find_directory(b"/".join(parts[:-1]))
        return None if directory < 0 else (directory, parts[-1])

    def _claims(
        self, wanted: set[Place], records_of: Callable[[int], Iterable[int]]
    ) -> dict[Place, list[int]]:
        """The records that claim each of the wanted places, ascending."""
        claims: dict[Place, list[int]] = {place: [] for place in wanted}
        for directory in {directory for directory, _name in wanted}:
            for record in records_of(directory):
                found = claims.get((directory, self._builder.record_name(record)))
                if found is not None:
                    found.append(record)
        return claims

    def _settle(self, link: int, places: dict[int, Place | None], claims: dict[Place, list[int]]) -> None:
        """Follows ``link``, and the links it leads over, to a record that is none."""
        modes, on_the_way = self._builder.mode, {link: None}  # in a set's time: a chain may have all links
        record, reason = link, NOTHING
        while True:
            found = self._meant(record, places[record], claims)
            if found is None or found in on_the_way or self.dropped.get(found):
                break
            found = self.target_of.get(found, found)
            if stat.S_ISDIR(modes[found]):
                reason = DIRECTORY
                break
            if modes[found]:
                self.target_of.update(dict.fromkeys(on_the_way, found))
                return
            on_the_way[found] = None
            record = found
        self.dropped.update(dict.fromkeys(on_the_way, reason))

    @staticmethod
    def _meant(link: int, place: Place | None, claims: dict[Place, list[int]]) -> int | None:
        if place is None:
            return None
        records = claims[place]
        at = bisect_left(records, link)
        if at:
            return records[at - 1]
        after = at + 1 if at < len(records) and records[at] == link else at
        return records[after] if after < len(records) else None
