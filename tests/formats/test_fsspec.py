"""Archives through fsspec: by URL and by the names of its own interface; nothing can be written."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from errno import EROFS
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

SAMPLE = Path(__file__).parents[2] / "testdata" / "sample.tar.zst"
CSV = "orchard/harvest/2021.csv"


@pytest.fixture
def sample() -> Any:
    return fsspec.filesystem("rofuse", fo=str(SAMPLE))


@pytest.mark.parametrize(
    "url",
    [
        f"rofuse://{CSV}::file://{SAMPLE}",
        f"rofuse:///{CSV}::{SAMPLE}",
        f"rofuse://{CSV}::simplecache::file://{SAMPLE}",
    ],
)
def test_members_are_read_by_url(url: str, sample: Any) -> None:
    with fsspec.open(url, "rt", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 100
    assert len({len(row) for row in rows}) == 1
    assert sample.cat(CSV) == fsspec.open(url).open().read()


def test_names(sample: Any) -> None:
    assert sample.ls("", detail=False) == ["orchard"]
    assert sample.ls("/orchard/lib/", detail=False) == ["orchard/lib/orchard.py"]
    assert sample.ls(CSV, detail=False) == [CSV]
    assert sample.glob("orchard/harvest/202[12].csv") == [CSV, CSV.replace("2021", "2022")]
    assert [sample.exists(path) for path in ("", "orchard", CSV, "no", CSV + "/x")] == [True] * 3 + [
        False
    ] * 2
    assert (sample.isdir("orchard"), sample.isfile("orchard"), sample.isfile(CSV)) == (True, False, True)
    assert sample.size(CSV) == len(sample.cat(CSV)) == sample.du(CSV)
    assert len(sample.find("", withdirs=True)) == 46
    with pytest.raises(FileNotFoundError):
        sample.ls("no")
    with pytest.raises(IsADirectoryError):
        sample.open("orchard")


def test_what_is_said_of_a_file(sample: Any) -> None:
    found = sample.info(CSV)
    assert (found["type"], found["islink"], found["mode"] & 0o400) == ("file", False, 0o400)
    assert sample.modified(CSV) == datetime.fromtimestamp(found["mtime"], UTC)
    link = sample.info("orchard/harvest/latest.csv")
    assert (link["type"], link["islink"], link["destination"]) == ("file", True, "2023.csv")
    assert link["size"] == sample.size("orchard/harvest/2023.csv")


def test_links_that_lead_up_or_nowhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, target in (("up", "."), ("gone", "nowhere"), ("d/file", "")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            tar.addfile(info)
    found = fsspec.filesystem("rofuse", fo=tmp_path / "a.tar")
    assert sorted(found.find("")) == ["d/file", "gone", "up"]
    assert {one["name"]: one["type"] for one in found.ls("")} == {
        "up": "link",
        "gone": "link",
        "d": "directory",
    }
    assert found.isdir("up")
    assert found.ls("up/up/d", detail=False) == ["up/up/d/file"]


def test_bytes(sample: Any) -> None:
    whole = sample.cat(CSV)
    for start, end in ((None, None), (10, 20), (-20, None), (-20, -5), (5, -5), (10**9, None), (20, 10)):
        assert sample.cat_file(CSV, start, end) == whole[start:end]
    assert sample.read_block(CSV, 100, 50) == whole[100:150]
    assert sample.cat_ranges([CSV, CSV], [0, 5], [5, 9]) == [whole[:5], whole[5:9]]
    with sample.open(CSV) as file:
        file.seek(-7, 2)
        assert file.read() == whole[-7:]


def test_it_goes_to_another_process(sample: Any) -> None:
    assert pickle.loads(pickle.dumps(sample)).cat(CSV) == sample.cat(CSV)


def test_copies_come_out(sample: Any, tmp_path: Path) -> None:
    sample.get("orchard/lib", str(tmp_path / "lib"), recursive=True)
    assert (tmp_path / "lib" / "orchard.py").read_bytes() == sample.cat("orchard/lib/orchard.py")


@pytest.mark.parametrize(
    "call",
    [
        ("mkdir", "d"),
        ("makedirs", "d"),
        ("mkdirs", "d"),
        ("rmdir", "orchard"),
        ("rm", CSV),
        ("rm_file", CSV),
        ("delete", CSV),
        ("touch", "new"),
        ("pipe", "new", b"x"),
        ("pipe_file", "new", b"x"),
        ("mv", CSV, "new"),
        ("copy", CSV, "new"),
        ("put", str(SAMPLE), "new"),
        ("open", "new", "wb"),
        ("open", CSV, "ab"),
        ("open", CSV, "w"),
    ],
)
def test_nothing_can_be_written(call: tuple[Any, ...], sample: Any) -> None:
    with pytest.raises(OSError, match="Read-only") as raised:
        getattr(sample, call[0])(*call[1:])
    assert raised.value.errno == EROFS


def test_archives_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No such file"):
        fsspec.filesystem("rofuse", fo=str(tmp_path / "no.tar"))
    with pytest.raises(ValueError, match="must be given"):
        fsspec.filesystem("rofuse")
    memory = fsspec.filesystem("memory")
    memory.pipe("/a.tar", SAMPLE.read_bytes())
    with pytest.raises(ValueError, match="simplecache"):
        fsspec.filesystem("rofuse", fo="/a.tar", target_protocol="memory")
    with fsspec.open(f"rofuse://{CSV}::simplecache::memory://a.tar") as file:
        assert file.read(4) == fsspec.filesystem("rofuse", fo=str(SAMPLE)).cat(CSV)[:4]


def test_zip_members(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("d/x", b"abc" * 1000)
    with fsspec.open(f"rofuse://d/x::{tmp_path}/a.zip") as file:
        assert BytesIO(file.read()).getvalue() == b"abc" * 1000


def test_the_library_does_not_import_it() -> None:
    code = (
        "import sys, rofuse_formats; archive = rofuse_formats.open(sys.argv[1], keep=False); list(archive.walk());"
        "sys.exit('fsspec' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, SAMPLE], check=False).returncode == 0
