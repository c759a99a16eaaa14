"""What was noticed while an archive was indexed: kept with its index, told to its user at every mount."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rofuse_formats.limits import MIB

NAMED = 100  # skipped members and damages that are kept by name; beyond that they are only counted


class Report:
    """Skipped members, warnings and damage. JSON in, JSON out."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.skipped: list[tuple[bytes, str]] = []
        self.skipped_counts: Counter[str] = Counter()
        self.damage: list[tuple[str, int]] = []
        self.damage_count = 0
        self.encrypted = 0
        """Files that take a password."""
        self.together = 0
        """Bytes of members that are decoded together, and spooled when they are read."""
        self.holds_secrets = self.lacks_secrets = False
        """Whether the image has what was decrypted, which must not be written where it can be read without the
        password; and whether it lacks something because there was none."""

    def warn(self, message: str) -> None:
        if len(self.warnings) < NAMED:
            self.warnings.append(message)

    def skip(self, path: bytes, reason: str) -> None:
        if len(self.skipped) < NAMED:
            self.skipped.append((path[:4096], reason))
        if reason in self.skipped_counts or len(self.skipped_counts) < NAMED:
            self.skipped_counts[reason] += 1

    def damaged(self, message: str, offset: int) -> None:
        self.damage_count += 1
        if len(self.damage) < NAMED:
            self.damage.append((message, offset))

    @property
    def takes_password(self) -> bool:
        """Whether more could be read, or shown, with a password."""
        return bool(self.encrypted or self.lacks_secrets)

    def tell_of_encryption(self) -> None:
        """That there is no password."""
        if self.encrypted:
            files = "1 file is" if self.encrypted == 1 else f"{self.encrypted} files are"
            self.warn(f"{files} encrypted: read with --password-file or --password")

    def tell_of_slowness(self) -> None:
        """That nothing is spooled."""
        if self.together:
            self.warn(f"{self.together / MIB:,.0f} MiB are read slowly at random: they are not spooled")

    def lines(self) -> list[str]:
        """What a user should know, one line each, the worst first."""
        lines = [f"damaged: {message}" for message, _offset in self.damage[:3]]
        if self.damage_count > 3:
            lines.append(f"damaged: {self.damage_count - 3} more places")
        for reason, count in self.skipped_counts.items():
            first = next((path for path, why in self.skipped if why == reason), b"")
            name = first.decode("utf-8", "backslashreplace")[:200]
            lines.append(f"{count} not shown: {reason} (first: {name!r})")
        return lines + self.warnings

    def to_json(self) -> dict[str, Any]:
        return {
            "warnings": self.warnings,
            "skipped": [[path.decode("latin-1"), reason] for path, reason in self.skipped],
            "skipped_counts": dict(self.skipped_counts),
            "damage": self.damage,
            "damage_count": self.damage_count,
            "encrypted": self.encrypted,
            "together": self.together,
            "holds_secrets": self.holds_secrets,
            "lacks_secrets": self.lacks_secrets,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        report = cls()
        report.warnings = [str(line) for line in data["warnings"]]
        report.skipped = [(path.encode("latin-1"), str(reason)) for path, reason in data["skipped"]]
        report.skipped_counts.update({str(reason): int(n) for reason, n in data["skipped_counts"].items()})
        report.damage = [(str(message), int(offset)) for message, offset in data["damage"]]
        report.damage_count, report.encrypted = int(data["damage_count"]), int(data["encrypted"])
        report.holds_secrets, report.lacks_secrets = bool(data["holds_secrets"]), bool(data["lacks_secrets"])
        report.together = int(data.get("together", 0))  # which indexes of the first days lack
        return report
