"""``extract``, through the installed command. What it must never do is in tests/formats/test_extraction.py."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from tests.mount.command import Rofuse, failed
from tests.mount.conftest import shell
from tests.mount.looking import DATA, SAMPLE, evil, look, objects, on_terminal

__all__ = ["evil", "look"]


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
        "import rofuse_mount.cli.progress, rofuse_mount.memory, ctypes, resource, rofuse_formats.archives as a\n"
        "a.formats()\n"
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
