"""``rofuse-mount verify SOURCE [PATH...]``"""

from __future__ import annotations

import json
from typing import Any

import click

from rofuse_formats.names import raw, text
from rofuse_formats.verify import Finding, is_below, verify
from rofuse_mount.cli.declaring import Command, option
from rofuse_mount.cli.members import Members, paths_argument, source_argument
from rofuse_mount.cli.opening import Opened, open_to_read
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.progress import Progress
from rofuse_mount.cli.screen import Screen
from rofuse_mount.cli.sizes import readable

_DAMAGED, _LOCKED = 13, 14


@click.command("verify", cls=Command, short_help="Read all of an archive and check what can be checked.")
@source_argument
@paths_argument()
@option("--json", "as_json", is_flag=True, help="One object a line: path, ok, error, offset; a summary.")
@source_options
def COMMAND(source: str, paths: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Read all of the archive SOURCE, and check its structure and every checksum in it.

    Lists what is damaged (with PATH: among those files and below those directories), and exits with 13 where
    anything is, or with 14 where only passwords are missing. PATH may be a pattern. An index or spool that is kept is
    not believed.

    Of a directory with --saved: lists what was added, removed or changed since 'index' saved it, and reads nothing.
    """
    options |= {"no_index": True, "no_spool": True, "salvage": False, "strict": False}
    opened = open_to_read(source, options)
    progress = Progress("verifying", source, not options["quiet"])
    with Screen() as screen:
        told = _Told(screen, progress, source, as_json)
        try:
            if options["saved"] and opened.archive.files is not None:
                return _compare(opened, source, paths, options, told)
            return _verify(opened, source, paths, options, told)
        finally:
            progress.close()


def _verify(opened: Opened, source: str, paths: tuple[str, ...], options: dict[str, Any], told: _Told) -> int:
    members = Members(opened.archive, source)
    named = tuple(path.rstrip("/") or "/" for path in paths)  # a slash behind a file's name means nothing
    among = {path for path, _node in members.all_or(named)}
    if not paths:
        for message, offset in opened.archive.report.damage:
            told.damage(Finding(b"", 0, message, offset))
    for finding in verify(opened.archive, among, told.progress) if among else ():
        if finding.path:
            told.entry(finding)
        else:
            told.damage(finding)
    if among:
        told.end(options, "damaged", "no damage")
    return told.status or members.status


def _compare(saved: Opened, source: str, paths: tuple[str, ...], options: dict[str, Any], told: _Told) -> int:
    """Tells what has become of a directory since it was saved; it is scanned as it was scanned then."""
    from rofuse_formats.directory.comparing import compare

    now = open_to_read(source, options | {"saved": False} | saved.archive.scanned)
    now.tell(source, options)
    among = [raw(path).strip(b"/") for path in paths] or [b""]
    for finding in compare(saved.archive, now.archive):
        if any(is_below(finding.path, folder) for folder in among):
            told.entry(finding)
    told.end(options, "changed", "none changed")
    return told.status


class _Told:
    """What is said of each entry, and at the end. ``status``: 13 from the first damage on, 14 as long as only passwords
    are missing."""

    def __init__(self, screen: Screen, progress: Progress, source: str, as_json: bool) -> None:
        self.screen, self.progress, self.source, self.as_json = screen, progress, source, as_json
        self.checked = self.damaged = self.locked = self.size = self.status = 0

    def entry(self, finding: Finding) -> None:
        self.checked, self.size = self.checked + 1, self.size + finding.size
        if finding.error:
            self.damage(finding)
        elif self.as_json:
            self._object(finding)

    def damage(self, finding: Finding) -> None:
        if finding.is_locked:
            self.locked, self.status = self.locked + 1, self.status or _LOCKED
        else:
            self.damaged, self.status = self.damaged + 1, _DAMAGED
        if self.as_json:
            self._object(finding)
            return
        self.progress.hide()
        where = f"from byte {finding.offset}: " if finding.offset is not None and finding.path else ""
        name = self.screen.name(finding.path or raw(self.source))
        self.screen.line(f"{name}: {self.screen.styled(where + finding.error, 'red')}")

    def _object(self, finding: Finding) -> None:
        if self.screen.is_terminal:
            self.progress.hide()
        values = {"ok": not finding.error, "error": finding.error or None, "offset": finding.offset}
        self.screen.line(json.dumps({"path": text(finding.path), **values}))

    def end(self, options: dict[str, Any], bad: str, good: str) -> None:
        self.progress.close()
        if self.as_json:
            summary = {"checked": self.checked, "damaged": self.damaged + self.locked, "bytes": self.size}
            self.screen.line(json.dumps({"summary": summary}))
        elif not options["quiet"]:
            counts = ((self.damaged, bad), (self.locked, "encrypted"))
            found = ", ".join(f"{count} {what}" for count, what in counts if count)
            result = self.screen.styled(found, "red") if found else good
            self.screen.line(f"{self.checked} entries checked, {readable(self.size)}: {result}")
