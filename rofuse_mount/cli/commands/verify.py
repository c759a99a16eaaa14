"""``rofuse-mount verify SOURCE [PATH...]``"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import click

from rofuse_formats.verify import Finding, verify
from rofuse_mount.cli import outcome
from rofuse_mount.cli.members import paths_argument, source_argument
from rofuse_mount.cli.opening import Opened, open_to_read
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.cli.sizes import readable

_DAMAGED = 13


@click.command("verify", short_help="Read all of an archive and check what can be checked.")
@source_argument
@paths_argument()
@click.option(
    "--json", "as_json", is_flag=True, help="One object a line: path, ok, error, offset; a summary."
)
@source_options
def COMMAND(source: str, paths: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Read all of the archive SOURCE, and check its structure and every checksum in it.

    Lists what is damaged (with PATH: among those files and below those directories), and exits with 13 where
    anything is. An index or spool that is kept is not believed.

    Of a directory with --saved: lists what was added, removed or changed since 'index' saved it, and reads nothing.
    """
    options |= {"no_index": True, "no_spool": True, "salvage": False, "strict": False}
    opened = open_to_read(source, options)
    wanted = [os.fsencode(path).strip(b"/") for path in paths]
    checked = damaged = size = 0
    for message, offset in opened.archive.report.damage:
        damaged += not wanted
        if not wanted:
            _tell(Finding(b"", 0, message, offset), as_json, source)
    against = options["saved"] and opened.archive.files is not None
    for finding in _changes(source, opened, options) if against else verify(opened.archive):
        if wanted and not any(_below(finding.path, path) for path in wanted):
            continue
        checked, size = checked + 1, size + finding.size
        damaged += bool(finding.error)
        _tell(finding, as_json, source)
    if as_json:
        click.echo(json.dumps({"summary": {"checked": checked, "damaged": damaged, "bytes": size}}))
    elif not options["quiet"]:
        what = "changed" if against else "damaged"
        result = f"{damaged} {what}" if damaged else f"none {what}" if against else "no damage"
        click.echo(f"{checked} entries checked, {readable(size)}: {result}")
    return _DAMAGED if damaged else 0


def _changes(source: str, saved: Opened, options: dict[str, Any]) -> Iterator[Finding]:
    """What has become of a directory since it was saved; it is scanned as it was scanned then."""
    from rofuse_formats.directory.comparing import compare

    now = open_to_read(source, options | {"saved": False} | saved.archive.scanned)
    now.tell(source, options)
    return compare(saved.archive, now.archive)


def _below(path: bytes, folder: bytes) -> bool:
    return not folder or path == folder or path.startswith(folder + b"/")


def _tell(finding: Finding, as_json: bool, source: str) -> None:
    path = os.fsdecode(finding.path)
    if as_json:
        line = {
            "path": path,
            "ok": not finding.error,
            "error": finding.error or None,
            "offset": finding.offset,
        }
        click.echo(json.dumps(line))
    elif finding.error:
        where = f" at byte {finding.offset}" if finding.offset is not None and path else ""
        click.echo(f"{outcome.show(path or source)}: {finding.error}{where}")
