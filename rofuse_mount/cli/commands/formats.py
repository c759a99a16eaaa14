"""``rofuse-mount formats``"""

from __future__ import annotations

import json

import click

from rofuse_formats.available import Support, supports
from rofuse_mount.cli.declaring import Command
from rofuse_mount.cli.members import json_option
from rofuse_mount.cli.screen import Screen


@click.command(
    "formats", cls=Command, short_help="List what can be read here, and what is missing for the rest."
)
@json_option
def COMMAND(as_json: bool) -> None:
    """List the archive formats and compressions that can be read here, and what is missing for the rest."""
    with Screen() as screen:
        if as_json:
            for support in supports():
                screen.line(json.dumps(_as_json(support)))
            return
        rows = [
            (
                support.name,
                support.kind,
                "yes" if support.available else "no",
                "random" if support.random_access else "in order",
                support.version or "",
                "; ".join(support.missing),
            )
            for support in supports()
        ]
        screen.table(rows, ("name", "kind", "reads", "access", "version", "missing"))


def _as_json(support: Support) -> dict[str, object]:
    return {
        "name": support.name,
        "kind": support.kind,
        "available": support.available,
        "random_access": support.random_access,
        "needs": support.needs,
        "version": support.version,
    }
