"""The command through real mounts: what it shows, how it ends, what it says when it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.formats.test_conformance import SHOWN, expectation, names
from tests.mount.command import Rofuse, becomes, failed, rofuse
from tests.mount.conftest import shell
from tests.trees import difference, read_expected, snapshot

__all__ = ["rofuse"]

DATA = Path(__file__).parents[2] / "testdata"
SAMPLE = DATA / "sample.tar.zst"


@pytest.mark.parametrize("path", SHOWN, ids=names(SHOWN))
def test_a_mount_is_the_tree_that_another_tool_found(path: Path, rofuse: Rofuse, mountpoint: Path) -> None:
    options = ["--ignore-zeros"] if "ignore-zeros" in path.name else []
    assert rofuse("-q", *options, path, mountpoint).returncode == 0
    expected = read_expected(expectation(path))
    damaged = path.name.startswith("should-fail")
    found = snapshot(mountpoint, content=not damaged)
    assert difference(expected, found) == []
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_the_mount_table_and_df(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).stderr == ""
    (entry,) = rofuse.mounts()
    assert entry.source == os.fsencode(SAMPLE)
    assert entry.fstype == b"fuse.rofuse"
    assert {b"ro", b"nosuid", b"nodev"} <= entry.options
    df = (
        shell("df", "--output=pcent,used,iused", "--block-size=4096", mountpoint)
        .stdout.splitlines()[1]
        .split()
    )
    inodes = set(shell("find", mountpoint, "-printf", "%i\\n").stdout.split())
    sizes = shell("find", mountpoint, "-type", "f", "-links", "1", "-printf", "%s\\n").stdout.split()
    sizes += shell("find", mountpoint, "-type", "f", "-links", "2", "-printf", "%s\\n").stdout.split()[::2]
    assert df == ["100%", str(-(-sum(map(int, sizes)) // 4096)), str(len(inodes))]


def test_a_missing_mountpoint_is_made_and_removed(rofuse: Rofuse, folder: Path) -> None:
    new = folder / "new"
    assert rofuse(SAMPLE, new).returncode == 0
    assert len(list(new.iterdir())) == 1
    assert rofuse("umount", "--wait", new).returncode == 0
    assert not new.exists()


@pytest.mark.parametrize("way", ["umount", "fusermount3 -u", "rofuse-mount -u", "SIGTERM", "SIGINT"])
def test_every_way_to_end_is_clean(way: str, rofuse: Rofuse, mountpoint: Path) -> None:
    process = rofuse.start("-f", SAMPLE, mountpoint)
    assert becomes(lambda: bool(rofuse.mounts()))
    if way.startswith("SIG"):
        assert becomes(lambda: any(mountpoint.iterdir()))
        process.send_signal(getattr(signal, way))
    elif way.startswith("rofuse"):
        assert rofuse("-u", mountpoint).returncode == 0
    else:
        assert shell(*way.split(), mountpoint).returncode == 0
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert rofuse.mounts() == []


def test_umount_waits_for_the_server(rofuse: Rofuse, mountpoint: Path) -> None:
    runtime = rofuse.folder / "run"
    runtime.mkdir(mode=0o700)
    environment = {"XDG_RUNTIME_DIR": str(runtime)}
    assert rofuse(SAMPLE, mountpoint, environment=environment).returncode == 0
    (file,) = (runtime / "rofuse-mount").glob("*.json")
    facts = json.loads(file.read_text())
    assert (facts["source"], facts["mountpoint"]) == (str(SAMPLE), str(mountpoint))
    assert Path(f"/proc/{facts['supervisor_pid']}").exists()
    assert rofuse("umount", "--wait", mountpoint, environment=environment).returncode == 0
    assert becomes(lambda: _is_gone(facts["supervisor_pid"]))
    assert list((runtime / "rofuse-mount").iterdir()) == []


def _is_gone(pid: int) -> bool:
    """Ended; a process that nobody has waited for yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_index_is_kept_where_it_took_long(rofuse: Rofuse, mountpoint: Path) -> None:
    archive, count = rofuse.folder / "many.tar", 100_000  # three times a blink on a fast machine
    with tarfile.open(archive, "w") as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"d{number % 100}/f{number}"))
    first = rofuse("-v", archive, mountpoint)
    assert "there is none" in first.stderr
    assert len(rofuse.indexes()) == 1
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    second = rofuse("-v", archive, mountpoint)
    assert second.stderr == f"rofuse-mount: {archive}: index {rofuse.indexes()[0]}\n"
    listed = shell("find", mountpoint, "-name", "f*").stdout
    assert listed.count("\n") == count


def test_no_index_is_kept_of_what_is_indexed_in_a_blink(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    assert rofuse.indexes() == []


def test_index_makes_one_and_says_where(rofuse: Rofuse) -> None:
    result = rofuse("index", SAMPLE)
    assert result.returncode == 0
    (index,) = rofuse.indexes()
    assert str(index) in result.stderr
    assert rofuse("index", SAMPLE).stderr == f"rofuse-mount: {SAMPLE}: index {index}\n"
    assert "refreshed" in rofuse("index", "--force", SAMPLE).stderr


def test_a_stale_or_damaged_index_is_made_again(rofuse: Rofuse) -> None:
    archive = rofuse.folder / "a.tar.zst"
    shutil.copy2(SAMPLE, archive)
    assert rofuse("index", "--index-here", archive).returncode == 0
    index = Path(f"{archive}.rofuse")
    assert "index" in rofuse("index", archive).stderr
    os.utime(archive, ns=(1, 1))
    assert "has changed" in rofuse("index", archive).stderr
    raw = bytearray(index.read_bytes())
    raw[raw.index(b"RFIMAGE") + 40] ^= 1
    index.write_bytes(raw)
    assert "damaged" in rofuse("index", archive).stderr
    index.chmod(0o666)
    assert "another user" in rofuse("index", archive).stderr


def test_dump(rofuse: Rofuse) -> None:
    lines = rofuse("dump", SAMPLE).stdout.splitlines()
    assert lines[0] == "# rofuse-dump 1"
    assert lines[1].startswith("/ 40755 ")
    assert len(lines) > 10


GARBAGE = bytes(range(256)) * 64


def broken(folder: Path, kind: str) -> Path:
    path = folder / "source"
    whole = (DATA / "basic-gnu.tar").read_bytes()
    match kind:
        case "garbage":
            path.write_bytes(GARBAGE)
        case "empty":
            path.touch()
        case "header":
            path.write_bytes(whole[:300])
        case "first block of zstd":
            path.write_bytes(SAMPLE.read_bytes()[:20])
        case "text":
            path.write_text("hello\n" * 500)
    return path


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("garbage", 12),
        ("empty", 12),
        ("text", 12),
        ("missing", 11),
        ("header", 12),
        ("first block of zstd", 13),
    ],
)
def test_sources_that_are_refused(kind: str, status: int, rofuse: Rofuse, folder: Path) -> None:
    source, new = broken(folder, kind), folder / "new"
    message = failed(rofuse(source, new), status)
    assert str(source) in message
    assert rofuse.mounts() == []
    assert not new.exists()
    assert rofuse.indexes() == []


def test_an_unreadable_source(rofuse: Rofuse, folder: Path, user: int) -> None:
    source = folder / "secret.tar"
    shutil.copy(DATA / "basic-gnu.tar", source)
    source.chmod(0)
    result = shell("setpriv", f"--reuid={user}", "--clear-groups", "cat", source)
    assert result.returncode
    code = f"import sys, os; os.setresuid({user},{user},{user}); from rofuse_mount.cli import main; main(sys.argv[1:])"
    import sys

    if not os.access(os.path.dirname(sys.prefix), os.X_OK):
        pytest.fail("the interpreter cannot be reached")
    imports = "import rofuse_mount.cli.commands.mount, rofuse_formats.indexing, json, traceback;"
    result = shell(sys.executable, "-c", imports + code, source, folder / "new")
    assert "Permission denied" in failed(result, 11)


@pytest.mark.parametrize("name", ["should-fail-cut-in-header.tar", "should-fail-cut-in-data.tar"])
def test_a_cut_archive_is_mounted_as_far_as_it_goes_or_refused(
    name: str, rofuse: Rofuse, mountpoint: Path
) -> None:
    assert "damaged" not in failed(rofuse("--strict", DATA / name, mountpoint), 13).split(": ", 2)[0]
    assert rofuse.mounts() == []
    result = rofuse(DATA / name, mountpoint)
    assert result.returncode == 0
    assert "damaged: " in result.stderr
    assert (mountpoint / "d" / "one").read_bytes()


def test_what_is_cut_off_reads_as_an_error_and_never_as_zeros(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse("-q", DATA / "should-fail-cut-in-data.tar", mountpoint).returncode == 0
    result = shell("cat", mountpoint / "three")
    assert result.returncode == 1
    assert "Input/output error" in result.stderr
    assert "\0" not in result.stdout


def test_mountpoints_that_are_refused(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    assert "does not exist" in failed(rofuse(SAMPLE, folder / "no" / "where"), 10)
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    assert "not empty" in failed(rofuse(SAMPLE, folder / "full"), 10)
    assert rofuse("-o", "nonempty", SAMPLE, folder / "full").returncode == 0
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    assert "busy" in failed(rofuse(SAMPLE, mountpoint), 10)
    assert len(rofuse.mounts()) == 2
    assert "not a mountpoint" in failed(rofuse("umount", folder), 10)


def test_a_busy_mount_is_not_taken_off(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    with subprocess.Popen(["sleep", "60"], cwd=mountpoint) as user:
        assert "busy" in failed(rofuse("umount", mountpoint), 10)
        user.kill()
    assert rofuse("umount", mountpoint).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "ro,no_such_option"], "'-o no_such_option'"),
        (["-o", "uid=abc"], "'-o uid'"),
        (["-o", "umask=999"], "octal"),
        (["-o", "allow_other=1"], "takes no value"),
        (["-o", "uid"], "needs a value"),
        (["--no-such-option"], "--no-such-option"),
        (["--max-window", "many"], "size"),
    ],
)
def test_options_that_are_refused(arguments: list[str], words: str, rofuse: Rofuse, folder: Path) -> None:
    assert words in failed(rofuse(*arguments, SAMPLE, folder / "new"), 2)
    assert not (folder / "new").exists()


def test_words_that_are_missing(rofuse: Rofuse) -> None:
    assert "MOUNTPOINT" in failed(rofuse(SAMPLE), 2)
    assert "MOUNTPOINT" in failed(rofuse("umount"), 2)


def test_fstab_options(rofuse: Rofuse, mountpoint: Path) -> None:
    options = (
        "ro,dev,suid,noauto,nofail,user,_netdev,x-systemd.automount,allow_other,uid=1234,gid=77,umask=027"
    )
    assert rofuse(SAMPLE, mountpoint, "-o", options).returncode == 0
    for path in mountpoint.rglob("*"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (1234, 77)
        assert path.is_symlink() or not status.st_mode & 0o027
    (entry,) = rofuse.mounts()
    assert {b"allow_other", b"default_permissions"} <= entry.super_options


def test_a_subdirectory_as_the_root(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse("-o", "subdir=orchard", SAMPLE, mountpoint).returncode == 0
    assert (mountpoint / "README").is_file()
    assert mountpoint.stat().st_ino == 1
    bad = failed(rofuse("-o", "subdir=orchard/README", SAMPLE, rofuse.folder / "new"), 1)
    assert "no directory" in bad


def test_the_source_and_type_that_the_table_shows(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse("-o", r"fsname=one\,two,subtype=other", SAMPLE, mountpoint).returncode == 0
    (entry,) = rofuse.mounts()
    assert (entry.source, entry.fstype) == (b"one,two", b"fuse.other")
    assert rofuse("umount", mountpoint).returncode == 0


def test_debug_logs_a_line_for_each_request(rofuse: Rofuse, mountpoint: Path) -> None:
    process = rofuse.start("--debug=json", SAMPLE, mountpoint)
    assert becomes(lambda: bool(rofuse.mounts()))
    assert shell("ls", mountpoint / "orchard").returncode == 0
    assert shell("umount", mountpoint).returncode == 0
    _out, err = process.communicate(timeout=30)
    records = [json.loads(line) for line in err.splitlines()]
    assert {"INIT", "LOOKUP", "READDIRPLUS"} <= {record["op"] for record in records}


def test_only_what_is_needed_is_asked(rofuse: Rofuse, mountpoint: Path) -> None:
    """No OPEN, OPENDIR, FLUSH, ACCESS or attribute traffic, and nothing twice."""
    process = rofuse.start("--debug=json", SAMPLE, mountpoint)
    assert becomes(lambda: bool(rofuse.mounts()))
    for _round in range(3):
        assert shell("ls", "-lR", mountpoint).returncode == 0
        assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
        assert shell("ls", mountpoint / "missing").returncode == 2
    assert shell("umount", mountpoint).returncode == 0
    _out, err = process.communicate(timeout=30)
    counts: dict[str, int] = {}
    for line in err.splitlines():
        name = json.loads(line)["op"]
        counts[name] = counts.get(name, 0) + 1
    directories = 40
    assert counts.get("OPENDIR", 0) <= 1
    assert counts.get("OPEN", 0) <= 1
    assert counts.get("FLUSH", 0) <= 1
    assert counts.get("ACCESS", 0) <= 1
    assert counts.get("GETXATTR", 0) <= 2
    assert counts["READDIRPLUS"] <= 2 * directories
    assert counts["READ"] == 1


def test_a_log_file(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    log = folder / "log"
    assert rofuse("-q", "--log-file", log, DATA / "should-fail-cut-in-data.tar", mountpoint).returncode == 0
    assert shell("cat", mountpoint / "three").returncode == 1
    assert becomes(lambda: "three: byte" in log.read_text())
    assert log.read_text().count("three") == 1


def test_the_archive_is_truncated_and_deleted_while_it_is_read(
    rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    archive = folder / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(40):
            info = tarfile.TarInfo(f"f{number}")
            info.size = 1 << 20
            with open("/dev/urandom", "rb") as noise:
                tar.addfile(info, noise)
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        sums = {name: hashlib.sha256(file.read()).hexdigest() for name, file in files.items() if file}
    assert rofuse(archive, mountpoint).returncode == 0
    assert _sums(mountpoint, ["f0"]) == {"f0": sums["f0"]}
    os.truncate(archive, 20 << 20)
    found = _sums(mountpoint, list(sums))
    assert all(digest == sums[name] for name, digest in found.items())
    assert {f"f{number}" for number in range(19)} <= found.keys()
    assert "f30" not in found
    archive.unlink()
    assert _sums(mountpoint, ["f3", "f18"]) == {"f3": sums["f3"], "f18": sums["f18"]}
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def _sums(folder: Path, files: list[str]) -> dict[str, str]:
    lines = shell("sha256sum", "--", *files, cwd=folder).stdout.splitlines()
    return {line[66:]: line[:64] for line in lines}


def test_files_can_be_mapped_and_executed(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    with tarfile.open(folder / "a.tar.gz".replace(".gz", ""), "w") as tar:
        tar.add(os.path.realpath("/bin/true"), "true")
    assert rofuse(folder / "a.tar", mountpoint).returncode == 0
    assert shell(mountpoint / "true").returncode == 0


def test_nothing_can_be_written(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    for command in (
        f"echo x > {mountpoint}/new",
        f"echo x >> {mountpoint}/orchard/README",
        f"rm {mountpoint}/orchard/README",
        f"mkdir {mountpoint}/d",
        f"mv {mountpoint}/orchard {mountpoint}/other",
        f"chmod 777 {mountpoint}/orchard/README",
        f"touch {mountpoint}/orchard/README",
    ):
        result = shell("sh", "-c", command)
        assert result.returncode and "Read-only file system" in result.stderr, command


def test_a_background_mount_survives_the_terminal(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    runtime_pids = [
        int(pid) for pid in os.listdir("/proc") if pid.isdigit() and str(mountpoint) in _arguments(int(pid))
    ]
    assert len(runtime_pids) == 2  # the supervisor and a server
    for pid in runtime_pids:
        os.kill(pid, signal.SIGHUP)
        assert os.getsid(pid) == pid
        assert shell("ls", mountpoint).returncode == 0
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
        assert links == ["/dev/null"] * 3


def _arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_handles_outlive_the_kernel_s_cache(rofuse: Rofuse, mountpoint: Path) -> None:
    """Bind mounts and reading after drop_caches: nodeids are the archive's, not the server's."""
    assert rofuse(SAMPLE, mountpoint).returncode == 0
    before = shell("ls", "-liR", mountpoint).stdout
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("2")
    assert shell("ls", "-liR", mountpoint).stdout == before


def test_device_nodes_are_shown_and_cannot_be_opened(rofuse: Rofuse, mountpoint: Path) -> None:
    assert rofuse("-q", DATA / "devices-gnu.tar", mountpoint).returncode == 0
    devices = [path for path in mountpoint.rglob("*") if stat.S_ISCHR(path.lstat().st_mode)]
    assert devices
    assert "Permission denied" in shell("cat", devices[0]).stderr
