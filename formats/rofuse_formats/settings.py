"""What the user says about how an archive is read."""

from __future__ import annotations

from typing import Any

from rofuse_formats.entry import ScanOptions
from rofuse_formats.limits import Limits


class Settings:
    """``scan``: how formats read it; ``limits``: what it may cost; ``strict``: whether damage is refused."""

    __slots__ = ("limits", "scan", "strict")

    def __init__(
        self, scan: ScanOptions | None = None, limits: Limits | None = None, strict: bool = False
    ) -> None:
        self.scan, self.limits, self.strict = scan or ScanOptions(), limits or Limits(), strict

    def lasting(self) -> dict[str, Any]:
        """What of it an index depends on."""
        return {"ignore_zeros": self.scan.ignore_zeros, "encoding": self.scan.encoding}
