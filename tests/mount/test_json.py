"""What the inspection commands write for programs, held against a schema and against what another tool found."""

from __future__ import annotations

import base64
import os
import tarfile
import zipfile
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.formats.test_conformance import SHOWN, expectation, names
from tests.mount.command import Rofuse
from tests.mount.looking import DATA, SAMPLE, look, objects
from tests.trees import ROOT, read_expected

__all__ = ["look"]

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
    "ls --json {}": SCHEMA,
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
    found = {os.fsencode(one["path"]): one for one in objects(look("ls", "--json", "-q", *options, path))}
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


def test_json_without_a_path_is_all_there_is(look: Rofuse) -> None:
    def paths(*arguments: object) -> list[str]:
        return [one["path"] for one in objects(look("ls", "--json", *arguments))]

    everything = paths(SAMPLE)
    assert everything == paths("-R", SAMPLE) == paths("-R", SAMPLE, "/")
    assert len(everything) == 46
    assert paths(SAMPLE, "/") == ["orchard"]
    assert paths("-d", SAMPLE) == paths("-d", SAMPLE, "/") == ["/"]
    assert paths(SAMPLE, "orchard/lib") == ["orchard/lib/orchard.py"]


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


def test_sixty_thousand_entries_are_all_there(look: Rofuse, folder: Path) -> None:
    archive = folder / "many.tar"
    wanted = {f"d{number % 100}/f{number}": number % 7 for number in range(60_000)}
    with tarfile.open(archive, "w") as tar:
        for name, size in wanted.items():
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, BytesIO(bytes(size)))
    assert look("index", archive).returncode == 0
    found = objects(look("ls", "--json", archive))
    assert {one["path"]: one["size"] for one in found if one["type"] == "file"} == wanted
    assert len(found) == len(wanted) + 100


def test_formats_are_called_what_people_call_them(look: Rofuse) -> None:
    """Also where one reader reads several."""
    listed = {one["name"] for one in objects(look("formats", "--json")) if one["kind"] == "archive"}
    assert {"7z", "ar", "cab", "cpio", "iso", "rar", "tar", "zip"} <= listed
    for name, called in (
        ("la-rar5-stored.rar", "rar"),
        ("la-cpio-newc.cpio.zst", "cpio"),
        ("deb-xz.deb", "deb"),
    ):
        (one,) = objects(look("info", "--json", DATA / name))
        assert one["format"] == called
        assert called in listed
