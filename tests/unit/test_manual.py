"""The manual and the options that there are, held against each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from rofuse_formats import Limits, parts, points_file, spool_file, streams
from rofuse_formats.limits import MIB
from rofuse_mount.cli import _root

MANUALS = sorted((Path(__file__).parents[2] / "man").iterdir())
MANUAL = Path(__file__).parents[2] / "man" / "rofuse-mount.1"
_CONTEXT = click.Context(_root)
COMMANDS = _root.list_commands(_CONTEXT)


def options_of(command: click.Command) -> set[str]:
    """All spellings of its options, and of those of its commands."""
    found = {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            found |= options_of(inner)
    return found


def explained() -> set[str]:
    """Every option that an item of the manual explains."""
    found = set()
    for line in re.findall(r"^\.It Fl (.*)", MANUAL.read_text(), re.MULTILINE):
        flags = re.split(r" (?:Ar|Ns|Oo|Op|Cm)\b", line)[0]
        found |= {"-" + word for word in re.split(r"[ ,]+", flags) if word and word != "Fl"}
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    command = _root.get_command(_CONTEXT, name)
    assert command is not None
    text = MANUAL.read_text()
    assert f"\n.Cm {name}\n" in text or name == "mount"
    missing = options_of(command) - explained()
    assert missing == set()


def test_every_option_that_is_explained_is_one() -> None:
    known = {"-h", "--help", "-V", "--version"}
    for name in COMMANDS:
        command = _root.get_command(_CONTEXT, name)
        assert command is not None
        known |= options_of(command)
    assert explained() - known == set()


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: str(path.name))
def test_the_manual_is_well_formed(manual: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc")
    result = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", manual],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: str(path.name))
def test_no_macro_is_taken_for_text(manual: Path) -> None:
    """By groff, which most have as man: of a line of many words it forgets the last."""
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    words = ["groff", "-mdoc", "-Tascii", "-P-cbou", str(manual)]
    text = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout
    assert re.findall(r".*(?<!\S)(?:Ns|Pa|Fl|Ar|Cm|Xr|Op|Pq|Ql|~\))(?!\S).*", text) == []


def test_what_an_archive_can_cost_is_what_the_code_allows() -> None:
    """The figures of SECURITY CONSIDERATIONS."""
    text = MANUAL.read_text().partition(".Sh SECURITY CONSIDERATIONS")[2]
    limits = Limits()
    for figure, said in (
        (limits.max_entries, "33,554,432"),
        (limits.max_path, "a path of 64 KiB"),
        (limits.max_depth, "a depth of 2,048"),
        (limits.max_xattrs, "attributes of 64 KiB"),
        (limits.max_index // MIB, "than 4,096 MiB"),
        (limits.max_ratio, "than 2,000,000 times"),
        (limits.max_window // MIB, "window of 128 MiB"),
        (limits.max_name, "names of 255 bytes"),
        (limits.max_target, "target of 4,095 bytes"),
        (streams.CACHE_BUDGET // MIB, "24 MiB for decoded blocks"),
        (streams.CURSOR_BUDGET // MIB, "each compression 40 MiB"),
        (streams.LARGE_CURSOR_BUDGET // MIB, "to 144 MiB"),
        (spool_file.RESERVE // MIB, "of which 256 MiB"),
        (points_file.LARGEST // MIB, "than 64 MiB"),
        (parts.MOST, "200 at most"),
    ):
        number = int(re.sub(r"\D", "", said))
        assert said in " ".join(text.split("\n"))
        assert figure == number * (1 << 10 if "KiB" in said else 1), said
