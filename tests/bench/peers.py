"""Who is measured: one class for each program that can mount one of the workload's archives.

Strategy
A mount is a context: ``with peer.mounted(...) as mount``. It starts the program, waits until the mountpoint answers,
and at the end unmounts and sees to it that no process is left, whatever happened inside. The processes of a mount are
known by a mark in their environment, which children inherit: programs go into the background in ways of their own.

A new peer is a new class here with a name and a command, and a line in ``PEERS`` for each archive that it is measured
on.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

MARK = "ROFUSE_BENCH_MOUNT"
POLL = 0.002  # seconds


class MountError(Exception):
    """A peer did not mount."""


class TooSlowError(MountError):
    """It did not in time."""


class Mount(NamedTuple):
    path: Path
    seconds: float
    """From the start of the program until the mountpoint answered."""
    mark: str
    launcher_peak: int
    """Peak memory in bytes of the program that was started, where it ended before the mount was ready."""

    def peak(self) -> int:
        """Peak resident memory in bytes of the largest process that has to do with the mount."""
        return max([self.launcher_peak, *(_high_water(pid) for pid in marked(self.mark))])


class Peer:
    """One program on one archive of the workload, the one of that kind."""

    name: ClassVar[str]
    tool: ClassVar[str]
    """The program, looked for beside this Python, on PATH, and in the peers' own virtual environment."""
    pip: ClassVar[str | None] = None
    apt: ClassVar[str | None] = None
    """The package that has it."""
    in_kernel: ClassVar[bool] = False
    """No process serves it."""

    def __init__(self, work: Path, archive: str = "tar.zst") -> None:
        self.work, self.archive = work, archive
        self.program = self._find()
        self.kept.mkdir(parents=True, exist_ok=True)

    @property
    def title(self) -> str:
        return f"{self.name}, {self.archive}"

    @property
    def kept(self) -> Path:
        """Its own directory for what it keeps of archives it has seen."""
        return self.work / "kept" / f"{self.name}-{self.archive}"

    def forget(self) -> None:
        """Removes what it keeps of archives it has seen."""
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir(parents=True)

    def _find(self) -> str | None:
        beside = [Path(sys.executable).parent, self.work / "peers/bin"]
        return shutil.which(self.tool, path=os.pathsep.join([*map(str, beside), os.environ["PATH"]]))

    def install(self) -> None:
        """Installs the program, Python ones into a virtual environment of their own. May raise."""
        if self.pip is not None:
            subprocess.run([sys.executable, "-m", "venv", self.work / "peers"], check=True)
            subprocess.run([self.work / "peers/bin/pip", "install", "--quiet", self.pip], check=True)
        elif self.apt is not None:
            subprocess.run(["apt-get", "install", "-y", "-qq", self.apt], check=True, stdout=sys.stderr)
        self.program = self._find()

    def version(self) -> str:
        """The line with a number of what it says of itself."""
        done = subprocess.run(
            [self.program or self.tool, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
        lines = (done.stdout + done.stderr).splitlines()
        return next((line.strip() for line in lines if re.search(r"\d\.\d", line)), "")

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return [self.program or self.tool, str(archive), str(mountpoint)]

    def environment(self) -> dict[str, str]:
        return {}

    def unmount(self, mountpoint: Path) -> None:
        """Takes the mount off, in its own way where it has one."""
        unmount(mountpoint)

    @contextmanager
    def mounted(self, archive: Path, timeout: float, mark: str = "") -> Iterator[Mount]:
        """``mark``: of its processes, for who wants to know them from the start."""
        mountpoint = self.work / "mnt"
        mountpoint.mkdir(exist_ok=True)
        mark = mark or uuid.uuid4().hex
        started = time.perf_counter()
        log = self.work / f"{self.kept.name}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                self.command(archive, mountpoint),
                env={**_installed(), **self.environment(), MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            launcher_peak = self._wait(process, mountpoint, started + timeout)
            subprocess.run(["stat", mountpoint], stdout=subprocess.DEVNULL, timeout=timeout, check=True)
            yield Mount(mountpoint, time.perf_counter() - started, mark, launcher_peak)
        except (MountError, subprocess.SubprocessError) as error:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            slow = isinstance(error, TooSlowError | subprocess.TimeoutExpired)
            kind = TooSlowError if slow else MountError
            raise kind(f"{self.title}: {error} {' '.join(last)}") from error
        finally:
            self.unmount(mountpoint)
            end(mark, process)

    def _wait(self, process: subprocess.Popen[bytes], mountpoint: Path, deadline: float) -> int:
        """Until it is mounted and the program has gone to the background. Returns the program's peak memory."""
        while time.perf_counter() < deadline:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode:
                    raise MountError(f"exit status {process.returncode}")
                if is_mounted(mountpoint):
                    return usage.ru_maxrss * 1024
                raise MountError("ended without a mount")
            time.sleep(POLL)
        raise TooSlowError("not mounted in time")


class Ours(Peer):
    name = "rofuse-mount"
    tool = "rofuse-mount"

    def environment(self) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(self.kept)}


class Ratarmount(Peer):
    name = "ratarmount"
    tool = "ratarmount"
    pip = "ratarmount"

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return [*super().command(archive, mountpoint), f"--index-folders={self.kept}"]


class FuseZip(Peer):
    name = "fuse-zip"
    tool = "fuse-zip"
    apt = "fuse-zip"

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return [self.program or self.tool, "-r", str(archive), str(mountpoint)]


class SquashfuseLowLevel(Peer):
    name = "squashfuse_ll"
    tool = "squashfuse_ll"
    apt = "squashfuse"


class Archivemount(Peer):
    name = "archivemount"
    tool = "archivemount"
    apt = "archivemount"

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return [self.program or self.tool, "-o", "readonly", str(archive), str(mountpoint)]


class KernelSquashfs(Peer):
    name = "kernel squashfs"
    kind: ClassVar[str] = "squashfs"
    tool = "mount"
    in_kernel = True

    def _find(self) -> str | None:
        return super()._find() if os.geteuid() == 0 and _has_filesystem(self.kind) else None

    def version(self) -> str:
        return f"Linux {os.uname().release}"

    def command(self, archive: Path, mountpoint: Path) -> list[str]:
        return ["mount", "-t", self.kind, "-o", "loop,ro", str(archive), str(mountpoint)]


class KernelErofs(KernelSquashfs):
    name = "kernel erofs"
    kind = "erofs"


def _has_filesystem(kind: str) -> bool:
    return kind in Path("/proc/filesystems").read_text().split() or shutil.which("modprobe") is not None


PEERS: list[tuple[type[Peer], str]] = [
    *((Ours, kind) for kind in ("tar", "tar.zst", "tar.gz", "stored.zip", "zip", "rpack")),
    (SquashfuseLowLevel, "squashfs"),
    (KernelSquashfs, "squashfs"),
    (KernelErofs, "erofs"),
    *((Ratarmount, kind) for kind in ("tar", "tar.zst", "tar.gz", "zip")),
    *((FuseZip, kind) for kind in ("stored.zip", "zip")),
    (Archivemount, "tar.gz"),
]
ZIP_PEERS: list[type[Peer]] = [Ours, Ratarmount, FuseZip]


def is_mounted(mountpoint: Path) -> bool:
    """Without touching it: a server that hangs must not hang us."""
    name = os.fsencode(mountpoint)
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split(b" ")[4] == name for line in file)


def unmount(mountpoint: Path, patience: float = 30) -> None:
    """Unmounts; where it stays busy, lazily."""
    commands = [["umount"], ["fusermount3", "-u"]] if os.geteuid() == 0 else [["fusermount3", "-u"]]
    deadline = time.monotonic() + patience
    while is_mounted(mountpoint):
        late = time.monotonic() > deadline
        for command in commands:
            lazy = [("-z" if command[0] == "fusermount3" else "-l")] if late else []
            subprocess.run([*command, *lazy, mountpoint], capture_output=True, timeout=60, check=False)
        if is_mounted(mountpoint):
            if late:
                raise MountError(f"{mountpoint} cannot be unmounted")
            time.sleep(0.05)


def _installed() -> dict[str, str]:
    """The environment in which programs are as they are when they are installed: Python ones have their bytecode, and
    need not be compiled at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def marked(mark: str) -> list[int]:
    """The processes whose environment has the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue  # ended, or not ours
    return found


def end(mark: str, process: subprocess.Popen[bytes], patience: float = 20) -> None:
    """Waits for a mount's processes, which end by themselves after it; kills what does not."""
    deadline = time.monotonic() + patience
    while True:
        if process.returncode is None:
            process.poll()
        left = marked(mark)
        if not left:
            return
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _high_water(pid: int) -> int:
    return memory(pid).get("VmHWM", 0)


def memory(pid: int) -> dict[str, int]:
    """What /proc says of a process's memory, in bytes, by the kernel's names; nothing where it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file if line.endswith(" kB\n")]
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
