"""What the command promises, the second half of it: terminals, programs, the index, messages and exit statuses. See
``test_contract``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.mount.command import Rofuse, failed
from tests.mount.looking import BASIC, DATA, INSTALLED, SAMPLE, Object, bare, kept, objects, on_terminal
from tests.mount.test_zip import ENCRYPTED

__all__ = ["bare", "kept"]


# -- conventions: terminals --------------------------------------------------------------------------------------------


@pytest.fixture
def many(folder: Path) -> Path:
    """An archive whose verification says more than a terminal holds that nobody reads from."""
    path = folder / "many.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(2000):
            info = tarfile.TarInfo(f"a-directory-of-many-files/file-number-{number}")
            info.size = 10
            tar.addfile(info, BytesIO(bytes(10)))
    return path


def test_a_bar_on_a_terminal_after_a_second_and_nowhere_else(bare: Rofuse, many: Path) -> None:
    slow = on_terminal(bare, "verify", "--json", many, wait=1.5, columns=50)
    assert "verifying many" in slow
    assert "\x1b[3" in slow or "\x1b[38" in slow
    plain = on_terminal(bare, "verify", "--json", many, wait=1.5, NO_COLOR="1")
    assert "verifying many" in plain
    assert not re.search(r"\x1b\[[0-9;]*m", plain.replace("\x1b[0m", ""))
    assert "verifying" not in on_terminal(bare, "verify", "--json", many)
    result = bare("verify", "--json", many)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_password_is_no_argument(bare: Rofuse, folder: Path) -> None:
    """Where it is asked for, ``test_zip`` shows."""
    (folder / "it.zip").write_bytes(ENCRYPTED)
    assert "not take a value" in failed(bare("cat", "--password=secret", folder / "it.zip", "first"), 2)
    assert "--password-file" in failed(bare("cat", "-q", folder / "it.zip", "first"), 14)


# -- conventions: for programs -----------------------------------------------------------------------------------------

KEYS = {
    "verify --json {0}": "path ok error offset",
    "extract --json {0} {1}/dest": "path ok error",
    "cache --json": "path kind source size last_used",
    "formats --json": "name kind available random_access needs version",
    "find --json {0}": "path type size mode uid gid uname gname mtime nlink ino target rdev stored",
}


@pytest.mark.parametrize("arguments", KEYS)
def test_the_keys_of_json(arguments: str, kept: Rofuse, folder: Path) -> None:
    assert kept("index", SAMPLE).returncode == 0
    found = objects(kept(*arguments.format(SAMPLE, folder).split()))
    if "summary" in found[-1]:
        words = ["checked", "damaged", "bytes"] if "verify" in arguments else ["extracted", "failed", "bytes"]
        assert list(found.pop()["summary"]) == words
    assert found
    assert {" ".join(one) for one in found} == {KEYS[arguments]}


def test_names_that_are_no_text(bare: Rofuse, folder: Path) -> None:
    """The same whatever the locale is."""
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"n\xff\xc3\xa9")))
    for locale in ("", "C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"):
        for arguments in (["ls"], ["verify"], ["extract"]):
            dest = [folder / f"dest{locale}"] if arguments == ["extract"] else []
            result = bare(*arguments, "--json", folder / "a.tar", *dest, environment={"LC_ALL": locale})
            one: Object = objects(result)[0]
            assert one["path"] == "n\udcffé"


# -- conventions: the index --------------------------------------------------------------------------------------------


def test_where_the_index_is(kept: Rofuse, folder: Path) -> None:
    archive = folder / "a.tar.zst"
    shutil.copy(SAMPLE, archive)

    def used(*options: str) -> Object:
        (one,) = objects(kept("info", "--json", *options, archive))
        found: Object = one["index"]
        return found

    assert used()["path"] is None  # made in a blink
    assert kept("index", archive).returncode == 0
    (file,) = kept.indexes()
    assert used() == {"path": str(file), "size": file.stat().st_size, "fresh": True}
    assert used("--no-index")["path"] is None
    assert kept("index", "--index-here", archive).returncode == 0
    assert used()["path"] == f"{archive}.rofuse"
    assert sorted(os.listdir(folder)) == ["a.tar.zst", "a.tar.zst.rofuse", "cache"]


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(10240))


def touched(path: Path) -> None:
    os.utime(path, (5, 5))


def rewritten(path: Path) -> None:
    before, data = path.stat(), bytearray(path.read_bytes())
    data[0] ^= 1  # in the name of the first member, and its checksum with it
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [grown, touched, rewritten])
def test_a_stale_index_is_not_believed(change: Callable[[Path], None], kept: Rofuse, folder: Path) -> None:
    archive = folder / "a.tar"
    shutil.copy(BASIC, archive)
    assert kept("index", archive).returncode == 0
    change(archive)
    result = kept("ls", "-v", "--json", archive)
    assert result.returncode == 0
    assert "the archive has changed" in result.stderr


@pytest.mark.parametrize("place", [[], ["--index-here"]])
@pytest.mark.parametrize("change", [touched, None])
def test_an_index_that_was_made_is_made_anew(
    place: list[str], change: Callable[[Path], None] | None, kept: Rofuse, folder: Path
) -> None:
    """Though it takes but a blink: somebody wanted it to be there. One that is not there is not made."""
    shutil.copy(BASIC, folder / "a.tar")
    assert kept("index", *place, "a.tar").returncode == 0
    index = folder / "a.tar.rofuse" if place else kept.indexes()[0]
    if change is None:
        index.write_bytes(index.read_bytes()[:-1000])
    else:
        change(folder / "a.tar")
    before = index.read_bytes()
    assert kept("ls", "a.tar").returncode == 0
    assert index.read_bytes() != before
    (facts,) = objects(kept("info", "--json", "a.tar"))
    assert facts["index"] == {"path": str(index), "size": index.stat().st_size, "fresh": True}
    index.unlink()
    assert kept("ls", "a.tar").returncode == 0
    assert not index.exists()


# -- conventions: messages and exit statuses ---------------------------------------------------------------------------

FAILURES = {
    "cat {sample} no": 1,
    "cat {sample}": 2,
    "ls --nonsense {sample}": 2,
    "{sample}": 2,
    "{sample} {folder}/no/where": 10,
    "{sample} {folder}": 10,
    "umount {folder}": 10,
    "status {folder}": 10,
    "ls {folder}/no.tar": 11,
    "{folder}/no.tar {folder}/new": 11,
    "ls {folder}/text": 12,
    "{folder}/text {folder}/new": 12,
    "cat {cut} three": 13,
    "--strict {cut} {folder}/new": 13,
    "cat --password-file {folder}/text {folder}/it.zip first": 14,
    "--password-file {folder}/text {folder}/it.zip {folder}/new": 14,
    "run {sample} -- no-such-command": 127,
}


@pytest.mark.parametrize("arguments", FAILURES)
def test_exit_statuses(arguments: str, bare: Rofuse, folder: Path) -> None:
    (folder / "text").write_text("no archive\n" * 100)
    (folder / "it.zip").write_bytes(ENCRYPTED)
    cut = DATA / "should-fail-cut-in-data.tar"
    words = arguments.format(sample=SAMPLE, folder=folder, cut=cut).split()
    result = bare(*words[:1], *(["-q"] if str(cut) in words and "cat" in words else []), *words[1:])
    assert result.returncode == FAILURES[arguments], result
    assert result.stderr.startswith("rofuse-mount: ")
    assert result.stderr.count("\n") == 1
    assert not (folder / "new").exists()
    assert bare.mounts() == []


def test_who_may_not_mount(bare: Rofuse, root: None, folder: Path, mountpoint: Path) -> None:
    """Without a capability, and without the helper: the package is named, and the way that needs neither."""
    words = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
        INSTALLED,
        str(SAMPLE),
        str(mountpoint),
    ]
    (folder / "bin").mkdir()
    (folder / "bin/setpriv").symlink_to(shutil.which("setpriv") or pytest.skip("needs setpriv"))
    for path, status, said in (
        ("/usr/bin:/bin", 15, "not permitted"),
        (f"{folder}/bin", 16, "package fuse3"),
    ):
        result = subprocess.run(
            words, check=False, capture_output=True, text=True, env={"PATH": path}, timeout=30
        )
        assert result.returncode == status, result
        assert "rofuse-mount run SOURCE -- COMMAND" in result.stderr
        assert said in result.stderr
        assert result.stderr.count("\n") == 1


def test_verify_lists_all_damage_and_exits_with_13(bare: Rofuse) -> None:
    result = bare("verify", "--json", DATA / "should-fail-cut-in-data.tar")
    found = objects(result, status=13)
    assert [one["ok"] for one in found[:-1]] == [False, True, True, False]
    assert found[-1]["summary"]["damaged"] == 2
    assert json.loads(result.stdout.splitlines()[0])["offset"] == 3048
