"""What the user says about how an archive is read."""

from __future__ import annotations

from typing import Any

from rofuse_formats.entry import ScanOptions
from rofuse_formats.limits import Limits


class Settings:
    """``scan``: how formats read it; ``limits``: what it may cost; ``strict``: whether damage is refused.

    ``spool``: whether what cannot be sought in is kept decoded on disk; ``spool_limit``: bytes that all spools together
    may take there (None: half of what is free). ``salvage``: bytes that failed their check are given out all the same.
    """

    __slots__ = ("limits", "salvage", "scan", "spool", "spool_limit", "strict")

    def __init__(
        self,
        scan: ScanOptions | None = None,
        limits: Limits | None = None,
        strict: bool = False,
        spool: bool = True,
        spool_limit: int | None = None,
        salvage: bool = False,
    ) -> None:
        self.scan, self.limits, self.strict = scan or ScanOptions(), limits or Limits(), strict
        self.spool, self.spool_limit, self.salvage = spool, spool_limit, salvage

    def lasting(self) -> dict[str, Any]:
        """What of it an index depends on."""
        scan = self.scan
        return {"ignore_zeros": scan.ignore_zeros, "encoding": scan.encoding, "raw": scan.raw}
