"""What the user says about how an archive is read."""

from __future__ import annotations

from typing import Any

from rofuse_formats.entry import ScanOptions
from rofuse_formats.limits import Limits


class Settings:
    """``scan``: how formats read it; ``limits``: what it may cost; ``strict``: whether damage is refused.

    ``spool``: whether what cannot be sought in is kept decoded on disk; ``spool_limit``: bytes that all spools together
    may take there (None: half of what is free). ``salvage``: bytes that failed their check are given out all the same.

    Of a directory: ``saved``: it is as its kept index says, and not as it is now; ``freeze``: its files' bytes are
    cloned first; ``follow``: files that have changed are read as they are now.
    """

    __slots__ = ("follow", "freeze", "limits", "salvage", "saved", "scan", "spool", "spool_limit", "strict")

    def __init__(
        self,
        scan: ScanOptions | None = None,
        limits: Limits | None = None,
        strict: bool = False,
        spool: bool = True,
        spool_limit: int | None = None,
        salvage: bool = False,
        saved: bool = False,
        freeze: bool = False,
        follow: bool = False,
    ) -> None:
        self.scan, self.limits, self.strict = scan or ScanOptions(), limits or Limits(), strict
        self.spool, self.spool_limit, self.salvage = spool, spool_limit, salvage
        self.saved, self.freeze, self.follow = saved, freeze, follow

    def lasting(self) -> dict[str, Any]:
        """What of it an index depends on."""
        scan = self.scan
        lasting: dict[str, Any] = {
            "ignore_zeros": scan.ignore_zeros,
            "encoding": scan.encoding,
            "raw": scan.raw,
        }
        usual = Limits()
        for name in (
            "max_path",
            "max_name",
            "max_depth",
            "max_target",
            "max_xattrs",
        ):  # what goes beyond is left out
            if getattr(self.limits, name) != getattr(usual, name):
                lasting[name] = getattr(self.limits, name)
        return lasting
