"""Archives looked into without a mount, through the installed command: in a pipe, on a terminal, for programs, and
where next to nothing is there. None of it needs FUSE."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import termios
import zipfile
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.formats.test_conformance import SHOWN, expectation, names
from tests.mount.command import COMMAND, SECONDS, Rofuse, failed
from tests.mount.conftest import shell
from tests.trees import ROOT, read_expected

DATA = Path(__file__).parents[2] / "testdata"
SAMPLE, BASIC = DATA / "sample.tar.zst", DATA / "basic-posix.tar"

Object = dict[str, Any]


@pytest.fixture
def look(folder: Path) -> Rofuse:
    """``rofuse`` without what mounting takes."""
    return Rofuse(folder)


@pytest.fixture
def evil(folder: Path) -> Path:
    """An archive whose names and owners are made to be sent to a terminal."""
    path = folder / "evil.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a\x1b[31mred", "b\nline", "c\u202ebidi", os.fsdecode(b"d\xff")):
            info = tarfile.TarInfo(name)
            info.uname, info.size = "r\x1b]0;x\x07t", 3
            tar.addfile(info, BytesIO(b"abc"))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "to\x1b[2J"
        tar.addfile(info)
    return path


def objects(result: subprocess.CompletedProcess[str], status: int = 0) -> list[Object]:
    assert result.returncode == status, result
    assert result.stdout.isascii()
    return [json.loads(line, parse_float=Decimal) for line in result.stdout.splitlines()]


# -- JSON --------------------------------------------------------------------------------------------------------------

NUMBER, TEXT, TEXT_OR_NULL = (int, Decimal), str, (str, type(None))
SCHEMA: dict[str, Any] = {
    "path": TEXT,
    "type": TEXT,
    "size": int,
    "mode": int,
    "uid": int,
    "gid": int,
    "uname": TEXT_OR_NULL,
    "gname": TEXT_OR_NULL,
    "mtime": NUMBER,
    "nlink": int,
    "ino": int,
    "target": TEXT_OR_NULL,
    "rdev": TEXT_OR_NULL,
    "stored": (int, type(None)),
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "ls --json -R {}": SCHEMA,
    "tree --json {}": SCHEMA,
    "find --json {}": SCHEMA,
    "stat --json {} *": SCHEMA | {"xattrs": dict},
    "info --json {}": {
        "source": TEXT,
        "format": TEXT,
        "compression": list,
        "frames": int,
        "seekable": bool,
        "entries": dict,
        "size": int,
        "stored": int,
        "ratio": Decimal,
        "skipped": list,
        "warnings": list,
        "index": dict,
        "largest": list,
    },
    "formats --json": {
        "name": TEXT,
        "kind": TEXT,
        "available": bool,
        "random_access": bool,
        "needs": list,
        "version": TEXT_OR_NULL,
    },
}


@pytest.mark.parametrize("command", SCHEMAS)
@pytest.mark.parametrize("name", ["sample.tar.zst", "devices-posix.tar", "hardlinks-posix.tar"])
def test_the_keys_of_json_are_these(command: str, name: str, look: Rofuse) -> None:
    schema = SCHEMAS[command]
    found = objects(look(*command.format(DATA / name).split()))
    assert found
    for one in found:
        assert list(one) == list(schema)
        assert [key for key, kinds in schema.items() if not isinstance(one[key], kinds)] == []


@pytest.mark.parametrize("path", SHOWN[::8], ids=names(SHOWN[::8]))
def test_json_is_the_tree_that_another_tool_found(path: Path, look: Rofuse) -> None:
    options = ["--ignore-zeros"] if "ignore-zeros" in path.name else []
    found = {
        os.fsencode(one["path"]): one for one in objects(look("ls", "--json", "-R", "-q", *options, path))
    }
    expected = {name: record for name, record in read_expected(expectation(path)).items() if name != ROOT}
    assert set(found) == set(expected)
    inodes: dict[bytes, int] = {}
    for name, record in expected.items():
        one = found[name]
        said = (one["type"], one["mode"], one["uid"], one["gid"], one["nlink"], one["target"])
        target = None if record.target is None else os.fsdecode(record.target)
        wanted = (record.kind, record.mode, record.uid, record.gid, record.nlink, target)
        assert all(b is None or a == b for a, b in zip(said, wanted, strict=True)), (name, said, wanted)
        assert record.size in (None, one["size"])
        if record.mtime_ns is not None:
            assert int(one["mtime"] * 10**9) == record.mtime_ns
        if record.rdev is not None:
            assert one["rdev"] == "{}:{}".format(*record.rdev)
        assert inodes.setdefault(record.first, one["ino"]) == one["ino"]


def test_names_and_attributes_that_are_no_text(folder: Path, look: Rofuse) -> None:
    path = folder / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(os.fsdecode(b"n\xff"))
        info.mtime, info.pax_headers = -1.25, {"SCHILY.xattr.user.x": "\x01é"}
        tar.addfile(info)
    (one,) = objects(look("stat", "--json", path, os.fsdecode(b"n\xff")))
    assert os.fsencode(one["path"]) == b"n\xff"
    assert one["mtime"] == Decimal("-1.25")
    assert {key: base64.b64decode(value) for key, value in one["xattrs"].items()} == {
        "user.x": "\x01é".encode()
    }


def test_what_is_stored_of_a_zip(folder: Path, look: Rofuse) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed", b"x" * 100_000)
        archive.writestr("plain", b"abc", zipfile.ZIP_STORED)
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    found = objects(look("ls", "--json", folder / "a.zip"))
    assert {one["path"]: one["stored"] for one in found} == sizes


def test_info_says_what_it_is(folder: Path, look: Rofuse) -> None:
    (one,) = objects(look("info", "--json", SAMPLE))
    assert (one["format"], one["compression"], one["frames"]) == ("tar", ["zstd"], 1)
    assert one["seekable"] is True
    assert one["stored"] == SAMPLE.stat().st_size
    assert one["entries"] == {"file": 36, "dir": 8, "symlink": 2}
    assert one["largest"][0]["path"].endswith("orchard.ppm")
    assert one["source"] == str(SAMPLE)
    assert look("index", SAMPLE).returncode == 0
    (again,) = objects(look("info", "--json", SAMPLE))
    (index,) = look.indexes()
    assert again["index"] == {"path": str(index), "size": index.stat().st_size, "fresh": True}


# -- what is listed ----------------------------------------------------------------------------------------------------


def lines(result: subprocess.CompletedProcess[str], status: int = 0) -> list[str]:
    assert result.returncode == status, result
    return result.stdout.splitlines()


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


# -- pipes, terminals, and bare environments ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["cat {} big", "find {}", "ls -R --json {}", "tree {}"])
def test_a_reader_that_goes_away(arguments: str, look: Rofuse, folder: Path) -> None:
    archive = folder / "many.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(5000):
            tar.addfile(tarfile.TarInfo(f"a-directory-with-a-name/and-a-file-{number}"))
        info = tarfile.TarInfo("big")
        info.size = 1 << 22
        tar.addfile(info, BytesIO(bytes(1 << 22)))
    with look.start(*arguments.format(archive).split()) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.buffer.read(10)  # type: ignore[attr-defined]  # a text file over a buffer
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(SECONDS) == 141


def test_output_that_cannot_be_written(look: Rofuse) -> None:
    for arguments in (["ls", "-R", SAMPLE], ["cat", SAMPLE, "*/README", "*/docs/*"]):
        with open("/dev/full", "wb") as full:
            command = [*COMMAND, *map(str, arguments)]
            result = subprocess.run(
                command,
                check=False,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=look.environment,
                timeout=SECONDS,
            )
        assert result.returncode == 1
        assert result.stderr == "rofuse-mount: standard output cannot be written: No space left on device\n"


def on_terminal(look: Rofuse, *arguments: object, columns: int = 80, **environment: str) -> str:
    """What the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {key: value for key, value in look.environment.items() if key not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables | {"TERM": "xterm-256color"} | environment,
    )
    os.close(theirs)
    output = b""
    try:
        while data := os.read(ours, 1 << 16):
            output += data
    except OSError:
        pass  # nobody has it open any more
    os.close(ours)
    assert process.wait(SECONDS) == 0, output
    return output.decode().replace("\r\n", "\n")


INSPECTIONS = ["ls {}", "ls -l {}", "ls -lR {}", "tree {}", "find {}", "stat {} *", "info {}"]


@pytest.mark.parametrize("arguments", INSPECTIONS)
def test_no_byte_of_an_archive_reaches_a_terminal_raw(arguments: str, evil: Path, look: Rofuse) -> None:
    plain = on_terminal(look, *arguments.format(evil).split(), NO_COLOR="1")
    assert "".join(c for c in plain if not c.isprintable()).strip("\n") == ""
    assert "a\\x1b[31mred" in plain
    assert "\\xff" in plain


def test_in_a_pipe_names_are_what_they_are(evil: Path, look: Rofuse) -> None:
    assert "\x1b[31mred\n" in look("ls", evil).stdout
    assert look("find", "-print0", evil).stdout.split("\0")[1:4:2] == ["b\nline", os.fsdecode(b"d\xff")]


def test_colours_where_they_are_wanted(look: Rofuse) -> None:
    coloured = on_terminal(look, "ls", SAMPLE)
    assert "\x1b[1;34morchard\x1b[0m" in coloured
    assert "\x1b" not in on_terminal(look, "ls", SAMPLE, NO_COLOR="1")
    assert "\x1b" not in on_terminal(look, "ls", SAMPLE, TERM="dumb")
    assert "\x1b" not in look("ls", SAMPLE).stdout


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_it_fits_the_terminal(columns: int, look: Rofuse) -> None:
    for arguments in (
        ["ls", SAMPLE, "orchard/letters", "orchard"],
        ["ls", "-l", SAMPLE, "orchard/harvest"],
        ["tree", SAMPLE],
        ["formats"],
        ["stat", SAMPLE, "orchard/README"],
    ):
        shown = on_terminal(look, *arguments, columns=columns, NO_COLOR="1").splitlines()
        too_long = [line for line in shown if len(line) > columns and str(SAMPLE) not in line]
        assert too_long == []
    wide = on_terminal(look, "ls", SAMPLE, "orchard/letters", columns=200, NO_COLOR="1")
    assert wide.count("\n") == 2 or columns != 200


@pytest.mark.parametrize(
    "arguments",
    ["ls {0}", "ls --json {0}", "info {0}", "find {0}", "tree {0}", "stat {0} orchard", "formats"],
)
def test_a_bare_environment(arguments: str, folder: Path) -> None:
    """No HOME, no locale, nowhere to write, no terminal, and nothing imported that would draw or decode."""
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], *arguments.format(SAMPLE).split()]
    result = subprocess.run(
        command,
        check=False,
        env={"PATH": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        start_new_session=True,
        cwd="/",
    )
    assert result.returncode == 0, result.stderr
    assert b"orchard" in result.stdout or arguments == "formats"
    imported = {line.split(b"|")[-1].strip().decode() for line in result.stderr.splitlines()}
    assert not imported & {"rich", "rich.console", "rofuse_mount.wire", "rofuse_mount.mounting"}


def test_listing_an_indexed_archive_imports_next_to_nothing(look: Rofuse) -> None:
    assert look("index", SAMPLE).returncode == 0
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "ls", "--json", "-d", str(SAMPLE), "/"],
        check=False,
        capture_output=True,
        env=look.environment,
        timeout=SECONDS,
    )
    imported = {line.split(b"|")[-1].strip().decode() for line in result.stderr.splitlines()}
    assert json.loads(result.stdout)["type"] == "dir"
    assert "rofuse_formats.index" in imported
    heavy = {"rich", "zstandard", "logging", "socket", "shutil", "rofuse_formats.streams"}
    assert not imported & heavy


def test_sixty_thousand_entries_are_all_there(look: Rofuse, folder: Path) -> None:
    archive = folder / "many.tar"
    wanted = {f"d{number % 100}/f{number}": number % 7 for number in range(60_000)}
    with tarfile.open(archive, "w") as tar:
        for name, size in wanted.items():
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, BytesIO(bytes(size)))
    assert look("index", archive).returncode == 0
    found = objects(look("ls", "--json", "-R", archive))
    assert {one["path"]: one["size"] for one in found if one["type"] == "file"} == wanted
    assert len(found) == len(wanted) + 100


# -- extract -----------------------------------------------------------------------------------------------------------


def test_extract(look: Rofuse, folder: Path) -> None:
    dest = folder / "dest"
    result = look("extract", SAMPLE, dest, "orchard/lib", "*/README")
    assert (result.returncode, result.stderr) == (0, "")
    assert "4 entries extracted" in result.stdout
    assert sorted(os.listdir(dest / "orchard")) == ["README", "lib"]
    again = look("extract", "-q", SAMPLE, dest, "orchard/README")
    assert again.returncode == 1
    assert again.stderr == (
        f"rofuse-mount: {SAMPLE}: orchard/README: exists already; --overwrite replaces it\n"
    )
    assert look("extract", "-q", "--overwrite", SAMPLE, dest, "orchard/README").returncode == 0
    assert "orchard/bin\n" in look("extract", "-v", SAMPLE, folder / "all").stdout
    assert "No such file" in failed(look("extract", SAMPLE, folder / "third", "no"), 1)
    assert not (folder / "third").exists()
    (folder / "file").touch()
    failed(look("extract", SAMPLE, folder / "file"), 1)


def test_extract_for_programs(look: Rofuse, folder: Path) -> None:
    found = objects(look("extract", "--json", SAMPLE, folder / "dest", "orchard/lib"))
    assert [list(one) for one in found[:-1]] == [["path", "ok", "error"]] * 3
    assert found[-1] == {"summary": {"extracted": 3, "failed": 0, "bytes": found[-1]["summary"]["bytes"]}}
    again = objects(look("extract", "--json", SAMPLE, folder / "dest", "orchard/lib"), status=1)
    assert {one["path"]: one["ok"] for one in again[:-1]}["orchard/lib/orchard.py"] is False


def test_extract_by_an_ordinary_user(user: int, look: Rofuse, folder: Path) -> None:
    """Neither owners, nor setuid, nor devices: each is told, or left out as tar leaves it out."""
    home = folder / "home"
    home.mkdir()
    os.chown(home, user, user)
    code = (
        "from rofuse_mount.cli import main; import os, sys; os.setresuid({0}, {0}, {0}); main(sys.argv[1:])"
    )
    imports = (
        "import rofuse_mount.cli.commands.extract, rofuse_formats.indexing, rofuse_formats.contents, "
        "rofuse_formats.extraction, rofuse_formats.archives.tar.scanner, json, socket, traceback, gc\n"
        "import rofuse_mount.cli.progress, rofuse_mount.memory, ctypes, rofuse_formats.archives as a; a.formats()\n"
    )
    for name in ("basic-posix.tar", "devices-posix.tar"):
        shutil.copy(DATA / name, home / name)
    result = shell(
        sys.executable, "-c", imports + code.format(user), "extract", home / "basic-posix.tar", home / "b"
    )
    assert result.returncode == 0, result.stderr
    for path in [home / "b" / "deep" / "set-uid", home / "b" / "deep" / "er"]:
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o7000) == (user, 0)
    result = shell(
        sys.executable, "-c", imports + code.format(user), "extract", home / "devices-posix.tar", home / "d"
    )
    assert result.returncode == 1
    assert "only root can make devices" in result.stderr
    kinds = {stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) for entry in os.scandir(home / "d")}
    assert kinds <= {stat.S_IFIFO, stat.S_IFDIR}


def test_extract_on_a_terminal(look: Rofuse, folder: Path, evil: Path) -> None:
    assert "46 entries extracted" in on_terminal(look, "extract", SAMPLE, folder / "dest")
    shown = on_terminal(look, "extract", "-v", evil, folder / "evil", NO_COLOR="1")
    assert "a\\x1b[31mred\n" in shown
    assert "\x1b" not in shown
