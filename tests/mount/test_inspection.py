"""Archives looked into without a mount, through the installed command: what is listed, and what is said where that
cannot be. None of it needs FUSE."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mount.command import Rofuse, failed
from tests.mount.looking import BASIC, DATA, SAMPLE, lines, look

__all__ = ["look"]


def test_ls(look: Rofuse) -> None:
    assert lines(look("ls", SAMPLE)) == ["orchard"]
    assert lines(look("ls", SAMPLE, "/orchard/docs/"))[:2] == ["README", "grafting.txt"]
    assert lines(look("ls", "-d", SAMPLE, "/", "orchard/s*")) == ["/", "orchard/seeds"]
    assert lines(look("ls", SAMPLE, "*/harvest/202[12].csv")) == [
        "orchard/harvest/2021.csv",
        "orchard/harvest/2022.csv",
    ]
    assert lines(look("ls", SAMPLE, "orchard/README", "orchard/lib")) == [
        "orchard/README",
        "",
        "orchard/lib:",
        "orchard.py",
    ]
    everything = lines(look("ls", "-R", SAMPLE))
    assert everything[:4] == ["/:", "orchard", "", "orchard:"]
    (link,) = lines(look("ls", "-l", SAMPLE, "orchard/harvest/latest.csv"))
    assert link.startswith("lrwxrwxrwx 1 ")
    assert link.endswith(" orchard/harvest/latest.csv -> 2023.csv")
    (large,) = lines(look("ls", "-lh", SAMPLE, "orchard/docs/orchard.ppm"))
    assert " 152K " in large


def test_find(look: Rofuse) -> None:
    everything = lines(look("find", SAMPLE))
    assert len(everything) == 46
    assert lines(look("find", SAMPLE, "-name", "*.csv", "-type", "l")) == ["orchard/harvest/latest.csv"]
    assert lines(look("find", SAMPLE, "orchard/lib")) == ["orchard/lib", "orchard/lib/orchard.py"]
    assert lines(look("find", SAMPLE, "--path", "*/docs/*ing.txt", "-size", "+5k")) == [
        "orchard/docs/storing.txt"
    ]
    assert lines(look("find", SAMPLE, "-size", "-10", "-type", "f,d")) == []
    assert len(lines(look("find", SAMPLE, "-type", "d", "-type", "dir"))) == 8
    zeros = look("find", SAMPLE, "-name", "[a-b]*", "-name", "*.ppm", "-print0").stdout
    assert zeros == "orchard/bin\0orchard/docs/orchard.ppm\0"
    assert lines(look("find", SAMPLE, "-newer", "@1699999999.5")) == everything
    assert lines(look("find", SAMPLE, "-newer", "2030-01-01")) == []
    recent = lines(look("find", SAMPLE, "-newer", SAMPLE))
    assert recent == [] or SAMPLE.stat().st_mtime < 1_700_010_000
    assert "neither a file nor a time" in failed(look("find", SAMPLE, "-newer", "soon"), 2)
    assert "no type" in failed(look("find", SAMPLE, "-type", "x"), 2)
    assert "no size" in failed(look("find", SAMPLE, "-size", "+"), 2)
    assert "no size" in failed(look("find", SAMPLE, "-size", "+1\n2"), 2)


def test_tree_and_stat(look: Rofuse) -> None:
    drawn = lines(look("tree", DATA / "hardlinks-posix.tar", "a"))
    assert drawn == ["a", "├── file", "└── symlink -> file", "", "0 directories, 2 files"]
    assert lines(look("tree", "-L", "1", "-q", SAMPLE)) == [str(SAMPLE), "└── orchard"]
    said = lines(look("stat", BASIC, "deep/link"))
    assert {"path:     deep/link", "type:     symlink", "target:   er/script"} < set(said)
    assert "path:     deep/er/script" in lines(look("stat", "-L", BASIC, "deep/link"))


def test_cat(look: Rofuse, folder: Path) -> None:
    csv = "orchard/harvest/2023.csv"
    once = look("cat", SAMPLE, csv).stdout
    assert once.count("\n") > 100
    assert look("cat", SAMPLE, csv, "orchard/harvest/latest.csv").stdout == 2 * once
    assert look("cat", SAMPLE, "orchard/harvest/2*.csv").stdout.endswith(once)
    result = look("cat", SAMPLE, "no", "orchard", csv)
    assert (result.returncode, result.stdout) == (1, once)
    assert result.stderr.count("\n") == 2
    assert "No such file" in result.stderr
    assert "Is a directory" in result.stderr


def test_what_is_missing_is_said_and_the_rest_is_shown(look: Rofuse) -> None:
    for command in ("ls", "stat", "find", "tree"):
        result = look(command, SAMPLE, "no/such", "orchard/bin")
        assert result.returncode == 1
        assert "orchard" in result.stdout
        assert result.stderr == (
            f"rofuse-mount: {SAMPLE}: No such file or directory in the archive: no/such\n"
        )


@pytest.mark.parametrize("command", ["ls", "tree", "stat", "find", "info", "cat", "extract"])
def test_sources_that_cannot_be_opened(command: str, look: Rofuse, folder: Path) -> None:
    more = ["x"] if command in ("cat", "extract") else []
    assert "No such file" in failed(look(command, folder / "no.tar", *more), 11)
    (folder / "text").write_text("hello\n" * 100)
    assert "no archive" in failed(look(command, folder / "text", *more), 12)
    assert not (folder / "x").exists()


def test_damage_has_its_status(look: Rofuse, folder: Path) -> None:
    cut = DATA / "should-fail-cut-in-data.tar"
    assert "three" in look("ls", cut).stdout
    result = look("cat", "-q", cut, "three", "d/one")
    assert result.returncode == 13
    assert "three: " in result.stderr
    assert result.stdout
    result = look("extract", "-q", cut, folder / "dest")
    assert result.returncode == 13
    assert not (folder / "dest" / "three").exists()
    assert (folder / "dest" / "d" / "one").exists()
