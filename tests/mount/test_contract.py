"""What the command promises its users, sentence by sentence, where there is next to nothing: no HOME, no locale, a
cache directory that cannot be written, no controlling terminal.

It is the installed command that is called. What other modules here show of a sentence is not shown again: the tree and
its attributes by ``test_command``, live mounts by ``test_live``, mount(8) and containers by ``test_system``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.mount.command import Rofuse, becomes, failed
from tests.mount.conftest import NOBODY, shell
from tests.mount.looking import BASIC, DATA, SAMPLE, bare, kept, objects

__all__ = ["bare", "kept"]

CSV = "orchard/harvest/2023.csv"


# -- the commands ------------------------------------------------------------------------------------------------------


def test_it_returns_when_the_mount_is_ready_and_serves_in_the_background(
    bare: Rofuse, mountpoint: Path
) -> None:
    result = bare(SAMPLE, mountpoint)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert shell("ls", mountpoint).stdout == "orchard\n"


def test_umount_takes_several(bare: Rofuse, folder: Path) -> None:
    for name in ("one", "two"):
        assert bare(SAMPLE, folder / name).returncode == 0
    assert bare("umount", "--wait", folder / "one", folder / "two").returncode == 0
    assert bare.mounts() == []


def test_run(bare: Rofuse) -> None:
    script = 'test "$PWD" = "$ROFUSE_MOUNTPOINT" && ls && rofuse_left="$PWD" && echo $rofuse_left && exit 9'
    result = bare("run", SAMPLE, "--", "sh", "-c", script)
    assert (result.returncode, result.stderr) == (9, "")
    name, place = result.stdout.splitlines()
    assert name == "orchard"
    assert not Path(place).exists()
    result = bare("run", SAMPLE, "--at", bare.folder / "at", "--", "sh", "-c", "pwd; ls at")
    assert result.stdout == f"{bare.folder}\norchard\n"
    assert os.listdir(bare.folder) == []


INSPECTIONS = {
    "ls {}": "orchard\n",
    "ls {} orchard/l*": "orchard.py",
    "ls -lh {} orchard": " README\n",
    "ls -R {}": "\norchard/harvest:\n2018.csv\n",
    "tree {}": "└── orchard\n",
    "tree {} orchard/lib": "└── orchard.py\n",
    "stat {}": "path:     /\n",
    "stat {} orchard/lib": "type:     dir\n",
    "find {}": CSV,
    "find {} orchard/lib -name *.py": "orchard/lib/orchard.py\n",
    "cat {} orchard/lib/orchard.py": "def ",
    "info {}": "zstd (1 frame)",
    "info {} orchard/lib": "1 file, 1 directory",
    "verify {}": "46 entries checked",
    "verify {} orchard/lib": "2 entries checked",
    "dump {}": "# rofuse-dump 1\n",
    "formats": "zstd",
    "--version": "rofuse-mount ",
    "--help": "rofuse-mount umount /mnt/b",
}


@pytest.mark.parametrize("arguments", INSPECTIONS)
def test_an_archive_is_looked_into(arguments: str, bare: Rofuse) -> None:
    result = bare(*arguments.format(SAMPLE).split())
    assert (result.returncode, result.stderr) == (0, "")
    assert INSPECTIONS[arguments] in result.stdout


def test_what_is_written(kept: Rofuse, folder: Path) -> None:
    assert kept("extract", "-q", SAMPLE, folder / "dest", "orchard/lib").stdout == ""
    assert (folder / "dest/orchard/lib/orchard.py").read_bytes().startswith(b'"""')
    assert "index " in kept("index", SAMPLE).stderr
    assert str(SAMPLE) in kept("cache").stdout
    assert "freed" in kept("cache", "clear").stdout
    assert kept("pack", "-q", SAMPLE, folder / "a.rpack").returncode == 0
    assert kept("dump", folder / "a.rpack").stdout.count("\n") == kept("dump", SAMPLE).stdout.count("\n")


def test_a_cache_that_cannot_be_written_costs_the_index_and_no_more(bare: Rofuse) -> None:
    assert "cannot be kept" in failed(bare("index", SAMPLE), 1)
    assert (bare("cache").returncode, bare("cache", "--json").stdout) == (0, "")


def test_status_and_takeover(bare: Rofuse, mountpoint: Path) -> None:
    assert bare(SAMPLE, mountpoint).returncode == 0
    (before,) = objects(bare("status", "--json", mountpoint))
    assert bare("takeover", mountpoint).returncode == 0
    (after,) = objects(bare("status", "--json", mountpoint))
    assert (before["takeovers"], after["takeovers"]) == (0, 1)
    assert str(mountpoint) in bare("status").stdout


def test_the_first_word(bare: Rofuse, folder: Path, mountpoint: Path) -> None:
    shutil.copy(SAMPLE, folder / "ls")
    for words in (["./ls"], ["mount", "ls"], ["mount", SAMPLE]):
        assert bare(*words, mountpoint).returncode == 0
        assert bare("umount", "--wait", mountpoint).returncode == 0
    assert "orchard" in bare("ls", "ls").stdout


# -- conventions: options ----------------------------------------------------------------------------------------------

ALL_NAMES = (
    "ro,nodev,nosuid,noauto,nofail,user,_netdev,x-systemd.automount,x-a.b=c,allow_other,allow_root,nonempty,"
    "default_permissions,uid=1000,gid=1001,umask=022,fmask=0133,dmask=027,fsname=name,subtype=kind,entry_timeout=1.5,"
    "attr_timeout=2,max_read=65536,max_readahead=65536,max_background=4,auto_unmount,subdir=orchard,workers=2"
)


def test_every_name_behind_o(bare: Rofuse, mountpoint: Path) -> None:
    (mountpoint / "hidden").touch()
    half = ALL_NAMES.index("allow_root")
    result = bare(SAMPLE, mountpoint, "-o", ALL_NAMES[: half - 1], "-o", ALL_NAMES[half:])
    assert (result.returncode, result.stderr) == (0, "")
    (entry,) = bare.mounts()
    assert (entry.source, entry.fstype) == (b"name", b"fuse.kind")
    assert {b"allow_other", b"default_permissions", b"max_read=65536"} <= entry.super_options
    said = shell("stat", "-c", "%u %g %a", mountpoint / "README", mountpoint / "lib").stdout
    assert said == "1000 1001 644\n1000 1001 750\n"
    assert len(objects(bare("status", "--json", mountpoint))[0]["worker_pids"]) == 2


def test_long_options_behind_o(kept: Rofuse, mountpoint: Path, folder: Path) -> None:
    names = (
        f"strict,max-window=64M,max_entries=1000,threads=2,no_spool,index-here,quiet,log_file={folder}/log"
    )
    assert kept("-o", names, BASIC, mountpoint).returncode == 0
    assert (folder / "log").exists()
    assert "damaged" not in failed(kept("-o", "strict", DATA / "should-fail-cut-in-data.tar", mountpoint), 10)
    assert kept("umount", "--wait", mountpoint).returncode == 0
    failed(kept("-o", "strict", DATA / "should-fail-cut-in-data.tar", mountpoint), 13)


def test_an_unknown_name_is_told_before_anything_is_touched(bare: Rofuse, folder: Path) -> None:
    assert "'-o sparkling'" in failed(bare(folder / "no.tar", folder / "new", "-o", "ro,sparkling"), 2)
    assert not (folder / "new").exists()


def test_in_the_foreground(bare: Rofuse, mountpoint: Path) -> None:
    for flags, logs in (["-f"], False), (["-f", "-s"], False), (["-d"], True):
        process = bare.start(*flags, SAMPLE, mountpoint)
        assert becomes(lambda: bool(bare.mounts()))
        assert shell("ls", mountpoint).stdout == "orchard\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, bool(err)) == (0, "", logs)
    lines = err.splitlines()
    assert any("INIT" in line for line in lines) and any("READDIR" in line for line in lines)


def test_quiet_and_verbose(bare: Rofuse, mountpoint: Path) -> None:
    cut = DATA / "should-fail-cut-in-data.tar"
    for flags, said in (["-q"], []), ([], ["damaged: "]), (["-v"], ["damaged: ", "indexed in"]):
        result = bare(*flags, cut, mountpoint)
        assert result.returncode == 0
        assert result.stderr.count("\n") >= len(said)
        assert all(word in result.stderr for word in said) and (said or not result.stderr)
        assert bare("umount", "--wait", mountpoint).returncode == 0


COMMANDS = """cache cat dump extract find formats index info ls mount pack run stat status takeover tree umount
    verify""".split()


def test_help(bare: Rofuse) -> None:
    text = bare("-h").stdout
    assert set(re.findall(r"^  ([a-z]+)  ", text, re.M)) == set(COMMANDS)
    for command in COMMANDS:
        result = bare(command, "--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: rofuse-mount {command}")
        assert max(map(len, result.stdout.splitlines())) <= 100


# -- conventions: what is shown ----------------------------------------------------------------------------------------


def test_attributes(bare: Rofuse, folder: Path, mountpoint: Path) -> None:
    archive = folder / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link, data in (
            ("made/by/nobody", tarfile.REGTYPE, "", b"1"),
            ("file", tarfile.REGTYPE, "", b"first"),
            ("hard", tarfile.LNKTYPE, "file", b""),
            ("soft", tarfile.SYMTYPE, "made/by", b""),
            ("twice", tarfile.REGTYPE, "", b"first"),
            ("twice", tarfile.REGTYPE, "", b"second"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode, info.mtime = kind, link, len(data), 0o640, 1.25
            tar.addfile(info, BytesIO(data))
    os.utime(archive, (77, 77))
    assert bare(archive, mountpoint).returncode == 0
    words = shell(
        "sh", "-c", f"cd {mountpoint}; stat -c '%n %a %h %s %Y' * made/by; cat twice"
    ).stdout.splitlines()
    assert {"made 755 3 0 77", "made/by 755 2 0 77", "soft 640 1 7 1", "file 640 2 5 1", "second"} <= set(
        words
    )
    times = shell("stat", "-c", "%.9Y %i", mountpoint / "file", mountpoint / "hard").stdout.splitlines()
    assert times[0] == times[1]
    assert times[0].startswith("1.250000000 ")


def test_others_see_it_only_where_they_are_let_in(
    bare: Rofuse, root: None, folder: Path, mountpoint: Path
) -> None:
    assert bare(BASIC, mountpoint).returncode == 0
    assert shell("ls", mountpoint, uid=NOBODY).returncode != 0
    assert bare("umount", "--wait", mountpoint).returncode == 0
    assert bare("-o", "allow_other", BASIC, mountpoint).returncode == 0
    assert shell("ls", mountpoint, uid=NOBODY).returncode == 0
    secret = next(path for path in mountpoint.rglob("secret"))
    assert not stat.S_IMODE(secret.stat().st_mode) & 0o004
    assert "Permission denied" in shell("cat", secret, uid=NOBODY).stderr
