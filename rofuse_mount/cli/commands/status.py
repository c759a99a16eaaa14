"""``rofuse-mount status [MOUNTPOINT...]``"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from rofuse_mount.cli import live, outcome
from rofuse_mount.cli.declaring import Command, completes, option


@click.command("status", cls=Command, short_help="Show live mounts: who serves them, and how fast.")
@click.argument("mountpoints", nargs=-1, metavar="[MOUNTPOINT]...", shell_complete=completes("mountpoints"))
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def COMMAND(mountpoints: tuple[str, ...], as_json: bool) -> None:
    """Show the live mounts of this user (as root: of all), or those that are named."""
    mounts = [live.at(path) for path in mountpoints] if mountpoints else live.every()
    for number, mount in enumerate(mounts):
        status = mount.status()
        if as_json:
            outcome.put(
                json.dumps({key: status[key] for key in live.KEYS if key != "changed" or status[key]})
            )
        else:
            outcome.put(("\n" if number else "") + "\n".join(_lines(status)))


def _lines(status: dict[str, Any]) -> list[str]:
    lines = [
        f"{outcome.show(status['mountpoint'])}: {outcome.show(status['source'])}",
        f"  up {_span(time.time() - status['started'])}, supervisor {status['supervisor_pid']}, server "
        + (" ".join(map(str, status["worker_pids"])) or "unknown"),
        f"  restarts {status['restarts']}, take-overs {status['takeovers']}, memory {_size(status['rss'])}",
    ]
    cache = status["cache"]
    if cache["hits"] or cache["misses"]:
        hits = 100 * cache["hits"] // (cache["hits"] + cache["misses"])
        lines.append(f"  cache {_size(cache['bytes'])}, {hits} % hits")
    lines += (f"  has changed: {outcome.show(path)}" for path in status["changed"])
    pushed, spins = status["pushed"], status["spins"]
    if pushed["files"]:
        lines.append(f"  pushed {pushed['files']} files, {_size(pushed['bytes'])}, {pushed['unread']} unread")
    if spins["paid"] or spins["vain"]:
        lines.append(f"  spun for {spins['paid']} requests, {spins['vain']} times in vain")
    if status["requests"]:
        lines.append(f"  {'request':<12}{'count':>12}{'median µs':>12}{'p99 µs':>12}")
    for name, figures in sorted(status["requests"].items(), key=lambda item: -item[1]["count"]):
        lines.append(
            f"  {name:<12}{figures['count']:>12}{figures['median_us']:>12.1f}{figures['p99_us']:>12.1f}"
        )
    return lines


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    words = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in words if value][:2]
    return " ".join(shown) or "0 s"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
