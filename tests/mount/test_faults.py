"""What a reader sees when what is beneath a mount fails: never a wrong byte, and an error that says what it was."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.command import COMMAND, SECONDS, Rofuse, becomes, failed, rofuse
from tests.mount.conftest import shell
from tests.mount.probes import ask
from tests.mount.test_supervised import is_gone

__all__ = ["rofuse"]

FILES, SIZE = 64, 48_000
SAMPLE = Path(__file__).parents[2] / "testdata" / "sample.tar.zst"

BAD_DISK = """
import os, stat, sys
from rofuse_mount import Attr, Entry, Filesystem, OpenResponse, mount

FILE, ORDER, MOUNTPOINT = sys.argv[1:]
SIZE = os.stat(FILE).st_size


class BadDisk(Filesystem):
    def getattr(self, ctx, ino, fh):
        if ino == 1:
            return Attr(1, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(2, stat.S_IFREG | 0o644, size=SIZE, mtime_ns=1_700_000_000 * 10**9)

    def lookup(self, ctx, parent, name):
        if name != os.path.basename(FILE).encode():
            raise FileNotFoundError
        return Entry(2, self.getattr(ctx, 2, None))

    def open(self, ctx, ino, flags):
        with open(ORDER) as order:  # of bytes that are missing the kernel makes zeros, unless it caches none
            return OpenResponse(direct_io=order.read().startswith("short"))

    def read(self, ctx, ino, fh, offset, size):
        with open(ORDER) as order:
            what, start = order.read().split()
        data = open(FILE, "rb").read()[offset : offset + size]
        if offset + size <= int(start):
            return data
        if what == "error":
            raise OSError(5, "a bad sector")
        return data[: max(0, int(start) - offset)]


mount(MOUNTPOINT, BadDisk()).serve()
"""


def noise(number: int) -> bytes:
    """What file ``number`` holds."""
    return hashlib.shake_128(str(number).encode()).digest(SIZE)


def archived(path: Path) -> Path:
    """``FILES`` files of noise, in the format and compression that the name asks for."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for number in range(FILES):
                zipped.writestr(f"f{number}", noise(number))
        return path
    plain = path.with_suffix(".tmp")
    with tarfile.open(plain, "w") as tar:
        for number in range(FILES):
            (path.parent / "member").write_bytes(noise(number))
            tar.add(path.parent / "member", f"f{number}")
    tool = {".tar": ["cat"], ".gz": ["gzip", "-n"], ".zst": ["zstd", "-q"], ".lzma": ["lzma", "-0"]}
    with plain.open("rb") as tarred, path.open("wb") as out:
        subprocess.run(tool[path.suffix], stdin=tarred, stdout=out, check=True, timeout=SECONDS)
    plain.unlink()
    return path


def read_all(mountpoint: Path) -> set[int]:
    """The files that can be read; whatever can must be right."""
    lines = shell("sha256sum", *(f"f{number}" for number in range(FILES)), cwd=mountpoint).stdout
    good = set()
    for line in lines.splitlines():
        digest, name = line.split()
        assert digest == hashlib.sha256(noise(int(name[1:]))).hexdigest(), name
        good.add(int(name[1:]))
    return good


def error_of(path: Path) -> str:
    """The name of the error that reading a file fails with."""
    return str(ask("reading", path))


def server_of(rofuse: Rofuse, mountpoint: Path) -> int:
    found = json.loads(rofuse("status", "--json", mountpoint).stdout)
    return int(found["server_pid"])


def forget_pages() -> None:
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("1")


# --- the source -----------------------------------------------------------------------------------------------


@pytest.fixture
def bad_disk(rofuse: Rofuse) -> Iterator[Callable[[str, str, int], Path]]:
    """``bad_disk(name, what, start)``: an archive on a disk that gives an ``error`` from byte ``start`` on, or is
    ``short`` of bytes there; called again, it changes its mind."""
    running: list[subprocess.Popen[bytes]] = []
    order, disk = rofuse.folder / "order", rofuse.folder / "disk"
    disk.mkdir()

    def start(name: str, what: str, begin: int) -> Path:
        order.write_text(f"{what} {begin}")
        if not running:
            archive = archived(rofuse.folder / name)
            running.append(
                subprocess.Popen([sys.executable, "-c", BAD_DISK, str(archive), str(order), str(disk)])
            )
            assert becomes(lambda: os.path.ismount(disk))
        return disk / name

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
    shell("umount", "-l", disk)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.zst", "a.zip"])
@pytest.mark.parametrize("what", ["error", "short"])
def test_a_disk_goes_bad_under_a_mount(
    rofuse: Rofuse, bad_disk: Callable[[str, str, int], Path], mountpoint: Path, what: str, name: str
) -> None:
    archive = bad_disk(name, what, 1 << 40)
    assert rofuse(archive, mountpoint).returncode == 0
    assert error_of(mountpoint / "f3") == ""
    bad_disk(name, what, 1_200_700)
    forget_pages()
    good = read_all(mountpoint)
    assert {3, 10} <= good and not {30, 60} & good
    assert error_of(mountpoint / "f60") == "EIO"
    bad_disk(name, what, 1 << 40)
    forget_pages()
    if (
        what == "error"
    ):  # of which nobody remembers anything; a disk that was short has said how large the file is
        assert len(read_all(mountpoint)) == FILES


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.zst", "a.zip"])
def test_an_archive_on_a_bad_disk(
    rofuse: Rofuse, bad_disk: Callable[[str, str, int], Path], name: str
) -> None:
    """It is refused, or listed as far as it goes, with a line that says so."""
    for what in ("error", "short"):
        result = rofuse("ls", bad_disk(name, what, 1_200_700))
        assert result.stderr.startswith("rofuse-mount: ") and "Traceback" not in result.stderr
        assert result.returncode in (0, 1, 11, 13)
        assert result.returncode or "damaged" in result.stderr or "may have been cut" in result.stderr


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_source_that_ends_within_a_page_is_no_zeros(rofuse: Rofuse, mountpoint: Path, name: str) -> None:
    """The kernel fills the page that a truncated file ends in with zeros."""
    archive = rofuse.folder / name
    with zipfile.ZipFile(archive, "w") as file, tarfile.open(rofuse.folder / "tar", "w") as tar:
        for number in range(40):
            (rofuse.folder / "x").write_bytes(noise(number)[:1000])
            file.write(rofuse.folder / "x", f"f{number}")
            tar.add(rofuse.folder / "x", f"f{number}")
    if name == "a.tar":
        (rofuse.folder / "tar").rename(archive)
    data = archive.read_bytes()
    starts = [data.index(noise(number)[:1000]) for number in range(40)]
    cut = next(number for number, at in enumerate(starts) if number > 8 and at % 4096 < 3000)
    assert rofuse(archive, mountpoint).returncode == 0
    os.truncate(archive, starts[cut] + 300)
    assert error_of(mountpoint / f"f{cut}") == "EIO"
    found = shell("sha256sum", mountpoint / f"f{cut - 1}").stdout.split()[0]
    assert found == hashlib.sha256(noise(cut - 1)[:1000]).hexdigest()


def test_a_source_that_is_replaced_stays_what_it_was(rofuse: Rofuse, mountpoint: Path) -> None:
    archive = archived(rofuse.folder / "a.tar.zst")
    assert rofuse(archive, mountpoint).returncode == 0
    with tarfile.open(rofuse.folder / "b.tar", "w") as tar:
        tar.add(SAMPLE, "other")
    (rofuse.folder / "b.tar").rename(archive)
    assert len(read_all(mountpoint)) == FILES
    os.kill(server_of(rofuse, mountpoint), signal.SIGKILL)  # the next one has the same descriptor
    forget_pages()
    assert len(read_all(mountpoint)) == FILES
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse("ls", archive).stdout == "other\n"


# --- the cache ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_cache(root: None, rofuse: Rofuse) -> Iterator[Path]:
    """A cache directory with room for next to nothing."""
    rofuse.cache.mkdir(exist_ok=True)
    done = shell("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", rofuse.cache)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield rofuse.cache
    assert becomes(lambda: shell("umount", rofuse.cache).returncode == 0)


def many(path: Path) -> Path:
    """An archive whose index has some hundred KiB."""
    with tarfile.open(path, "w:gz") as tar:
        for number in range(3000):
            tar.addfile(tarfile.TarInfo(f"f{number:0100}"))
    return path


def test_a_cache_that_is_full(rofuse: Rofuse, small_cache: Path, mountpoint: Path) -> None:
    archive = many(rofuse.folder / "a.tar.gz")
    said = failed(rofuse("index", archive), 1)
    assert "the index cannot be kept" in said and "No space left on device" in said
    assert not list(small_cache.glob("rofuse-mount/*"))  # nothing is left of it
    assert len(rofuse("ls", archive).stdout.splitlines()) == 3000
    assert rofuse("-q", archive, mountpoint).returncode == 0
    assert len(os.listdir(mountpoint)) == 3000
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_a_spool_without_room(rofuse: Rofuse, small_cache: Path) -> None:
    archive = rofuse.folder / "zeros.lzma"
    make = f"(echo; head -c 80M /dev/zero) | lzma -0 > {archive}"
    assert shell("sh", "-c", make).returncode == 0
    said = failed(rofuse("cat", archive, "zeros"), 1)
    assert "--spool-limit" in said and "--no-spool" in said
    found = rofuse("cat", "-q", "--no-spool", archive, "zeros")
    assert (found.returncode, len(found.stdout), found.stdout.strip("\0")) == (0, (80 << 20) + 1, "\n")


def test_a_cache_that_is_read_only(rofuse: Rofuse, small_cache: Path, mountpoint: Path) -> None:
    assert shell("mount", "-o", "remount,ro", small_cache).returncode == 0
    archive = many(rofuse.folder / "a.tar.gz")
    assert "Read-only file system" in failed(rofuse("index", archive), 1)
    assert rofuse("-q", archive, mountpoint).returncode == 0
    assert len(os.listdir(mountpoint)) == 3000
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


def test_two_that_index_at_once_tear_nothing(rofuse: Rofuse) -> None:
    archive = many(rofuse.folder / "a.tar.gz")
    assert rofuse("index", archive).returncode == 0
    writers = [rofuse.start("index", "-q", "--force", archive) for _ in range(4)]
    try:
        while any(writer.poll() is None for writer in writers):
            result = rofuse("info", "--json", archive)
            found = json.loads(result.stdout)
            assert (found["index"]["fresh"], found["entries"]) == (True, {"file": 3000}), result
    finally:
        for writer in writers:
            writer.communicate(timeout=SECONDS)
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(rofuse.indexes()) == 1


def test_a_clock_that_goes_backwards(rofuse: Rofuse) -> None:
    """What was made in the future is as good as any, and an archive's own time need only be what it was."""
    archive = many(rofuse.folder / "a.tar.gz")
    ahead = time.time() + 10 * 365 * 86400
    os.utime(archive, (ahead, ahead))
    assert rofuse("index", archive).returncode == 0
    (index,) = rofuse.indexes()
    os.utime(index, (ahead, ahead))
    assert json.loads(rofuse("info", "--json", archive).stdout)["index"]["fresh"]
    os.utime(archive, (5, 5))
    found = json.loads(rofuse("info", "--json", archive).stdout)
    assert not found["index"]["fresh"]
    assert rofuse("cache", "clear").returncode == 0
    assert rofuse.indexes() == []


def test_a_machine_that_sleeps(rofuse: Rofuse, mountpoint: Path) -> None:
    """All processes of a mount stand still for a while, with requests under way; then they go on where they were."""
    archive = archived(rofuse.folder / "a.tar.zst")
    assert rofuse(archive, mountpoint).returncode == 0
    found = json.loads(rofuse("status", "--json", mountpoint).stdout)
    pids = [found["supervisor_pid"], *found["worker_pids"]]
    forget_pages()
    command = ["sha256sum", *(f"f{number}" for number in range(FILES))]
    with subprocess.Popen(command, cwd=mountpoint, stdout=subprocess.PIPE, text=True) as reader:
        for _ in range(3):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(0.3)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        lines, _ = reader.communicate(timeout=SECONDS)
    sums = [hashlib.sha256(noise(number)).hexdigest() for number in range(FILES)]
    assert [line.split()[0] for line in lines.splitlines()] == sums
    again = json.loads(rofuse("status", "--json", mountpoint).stdout)
    assert (again["restarts"], again["worker_pids"]) == (0, found["worker_pids"])
    assert rofuse("umount", "--wait", mountpoint).returncode == 0


# --- what a process may have ----------------------------------------------------------------------------------


def limited(rofuse: Rofuse, limit: int, most: int, *words: object) -> subprocess.CompletedProcess[str]:
    """The command with a limit of setrlimit(2), set by itself."""
    code = f"import resource; resource.setrlimit({limit}, ({most}, {most})); import rofuse_mount.cli as cli; cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=rofuse.environment,
    )


def test_descriptors_are_exhausted(rofuse: Rofuse, mountpoint: Path) -> None:
    """Of a directory, whose files are opened one by one; a server keeps what it has."""
    tree = rofuse.folder / "tree"
    tree.mkdir()
    for number in range(8):
        (tree / f"f{number}").write_bytes(noise(number))
    assert rofuse(tree, mountpoint).returncode == 0
    server = server_of(rofuse, mountpoint)
    taken = set(map(int, os.listdir(f"/proc/{server}/fd")))
    used = next(number for number in range(1 << 20) if number not in taken)
    before = resource.prlimit(server, resource.RLIMIT_NOFILE, (used, used + 100))
    assert error_of(mountpoint / "f1") == "EMFILE"
    resource.prlimit(server, resource.RLIMIT_NOFILE, (used + 100, used + 100))
    assert before and shell("cmp", tree / "f1", mountpoint / "f1").returncode == 0
    assert server_of(rofuse, mountpoint) == server


@pytest.mark.parametrize("most", [8, 12, 16])
def test_a_command_with_few_descriptors(rofuse: Rofuse, most: int) -> None:
    archive = archived(rofuse.folder / "a.tar.gz")
    result = limited(rofuse, resource.RLIMIT_NOFILE, most, "ls", archive)
    if result.returncode:
        assert result.returncode == 1 and "Too many open files" in result.stderr
        assert result.stderr.count("\n") == 1
    else:
        assert len(result.stdout.split()) == FILES


def test_a_command_with_little_memory(rofuse: Rofuse) -> None:
    archive = many(rofuse.folder / "a.tar.gz")
    for most in (28, 64, 96, 128, 192):
        result = limited(rofuse, resource.RLIMIT_AS, most << 20, "ls", archive)
        if not result.returncode:
            assert len(result.stdout.split()) == 3000
            return
        assert result.returncode == 1 and "memory" in result.stderr, result
        assert result.stderr.count("\n") == 1
    pytest.fail("192 MiB are too little")


def test_a_terminal_is_closed(rofuse: Rofuse, mountpoint: Path) -> None:
    """Who mounts in a terminal, and closes it: the kernel hangs up on all that was started there."""
    keeper, terminal = pty.openpty()
    line = f"{' '.join(COMMAND)} {SAMPLE} {mountpoint}; echo mounted; sleep 60"
    process = subprocess.Popen(
        ["setsid", "--ctty", "sh", "-c", line],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=rofuse.environment,
    )
    os.close(terminal)
    try:
        said = b""
        while b"mounted" not in said:
            said += os.read(keeper, 1 << 12)
        server = server_of(rofuse, mountpoint)
        os.close(keeper)
        assert process.wait(SECONDS) == -signal.SIGHUP
    finally:
        process.kill()
        process.wait()
    assert shell("cat", mountpoint / "orchard" / "README").returncode == 0
    assert not is_gone(server)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
