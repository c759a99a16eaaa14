"""Reads from mounts for a long time while everything goes wrong: ``python tests/soak/run.py [--minutes N] [--seed N]``

Strategy
One known tree lies in archives of several kinds, each mounted by the installed command; one of them on a disk (a FUSE
file system of this package) that can be made to fail. Eight processes read what they like, at once, and compare every
byte and every listing with what they know. This one does to the mounts what can be done to them, one thing after the
other, and never touches them itself.

Rules
- A reader that finds a wrong byte says so, whatever is going on. An error is expected only where a fault was under way
  that gives errors (the disk fails, descriptors are gone, the mount is off) at any time between the beginning and the
  end of what was asked.
- A reader that does not get on for ``PATIENCE`` seconds says where it is (faulthandler), and is a failure.
- At the start, in the middle and at the end descriptors and memory (PSS) of all servers are printed.

Exit status: 0 where nothing was wrong, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.soak.reading import READERS, Fault, Reader, Shared, content, tree

PATIENCE = 90
_COMMAND = (sys.executable, "-m", "rofuse_mount")
_CACHE_MIB = 640  # of which 256 stay free
_CALM = (0.5, 3.0)  # seconds between two faults
_FAULT = 2.0  # seconds of those that last


def make(folder: Path) -> dict[str, Path]:
    """The tree, and archives of it."""
    top = folder / "tree"
    for path, size in tree().items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content(path, size))
    names = sorted(os.listdir(top))
    made = {name: folder / f"a.{name}" for name in ("tar.zst", "zip", "7z", "rpack", "tar.lzma", "tar.gz")}
    tar = ["tar", "-C", str(top), "-cf"]
    commands = {
        "tar.zst": [*tar, str(made["tar.zst"]), "--zstd", *names],
        "tar.gz": [*tar, str(made["tar.gz"]), "--gzip", *names],
        "tar.lzma": [*tar, str(made["tar.lzma"]), "--use-compress-program=xz --format=lzma -0", *names],
        "zip": ["zip", "-qr", str(made["zip"]), *names],
        "7z": ["7z", "a", "-bd", "-mx=1", str(made["7z"]), *names],
        "rpack": [*_COMMAND, "pack", "-q", str(top), str(made["rpack"])],
    }
    for command in commands.values():
        subprocess.run(command, cwd=top, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return made | {"directory": top}


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.log, self.order, self.disk = folder / "log", folder / "order", folder / "disk"
        self.cache = folder / "cache"
        run_folder = folder / "run"
        for path in (self.disk, self.cache, run_folder):
            path.mkdir(mode=0o700)
        self.environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_RUNTIME_DIR": str(run_folder),
        }
        self.has_small_cache = False
        self.disk_server: subprocess.Popen[bytes] | None = None
        self.sources: list[Path] = []
        self.mounts: list[Path] = []
        self.done: Counter[str] = Counter()

    def begin(self) -> None:
        """Makes everything and mounts it."""
        self.has_small_cache = not os.geteuid() and not self.quietly(
            "mount", "-t", "tmpfs", "-o", f"size={_CACHE_MIB}m", "tmpfs", str(self.cache)
        )
        archives = make(self.folder)
        self.on_disk = self.start_disk(archives.pop("tar.gz"))
        self.sources = [*archives.values(), self.on_disk]
        self.mounts = [self.folder / "mnt" / source.name for source in self.sources]
        self.shared = Shared(len(self.mounts))
        for number in range(len(self.mounts)):
            self.mounts[number].mkdir(parents=True)
            self.mount(number)

    def start_disk(self, archive: Path) -> Path:
        words = [
            sys.executable,
            str(Path(__file__).with_name("disk.py")),
            str(archive),
            str(self.order),
            str(self.disk),
        ]
        self.disk_server = subprocess.Popen(words, start_new_session=True)
        while not os.path.ismount(self.disk):
            time.sleep(0.05)
        return self.disk / archive.name

    # each runs to its end

    def quietly(self, *words: str) -> int:
        return subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE).returncode

    def command(self, *words: object) -> str:
        done = subprocess.run(
            [*_COMMAND, *map(str, words)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self.environment,
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def mount(self, number: int) -> None:
        self.command(
            "-q", "--log-file", self.folder / "server.log", self.sources[number], self.mounts[number]
        )

    def processes(self, number: int) -> tuple[list[int], list[int]]:
        """Supervisor and servers of a mount, and what these have started."""
        return self.all_processes([self.mounts[number]])[self.mounts[number]]

    def all_processes(self, mounts: list[Path]) -> dict[Path, tuple[list[int], list[int]]]:
        lines = self.command("status", "--json", *mounts).splitlines()
        return {Path(facts["mountpoint"]): self.of_facts(facts) for facts in map(json.loads, lines)}

    @staticmethod
    def of_facts(facts: dict[str, Any]) -> tuple[list[int], list[int]]:
        servers = [int(pid) for pid in facts["worker_pids"]]
        helpers = [child for server in servers for child in children(server)]
        return [int(facts["supervisor_pid"]), *servers], helpers

    # faults that nobody notices

    def kill_server(self, number: int) -> None:
        signalled(self.processes(number)[0][1:], self.chance.choice((signal.SIGKILL, signal.SIGSEGV)))

    def kill_helper(self, number: int) -> None:
        signalled(self.processes(number)[1], signal.SIGKILL)

    def clear_cache(self, number: int) -> None:
        self.command("cache", "clear")

    def take_over(self, number: int) -> None:
        self.command("takeover", "--threads", self.chance.randrange(1, 6), self.mounts[number])

    def suspend(self, number: int) -> None:
        servers = self.processes(number)[0][1:]
        signalled(servers, signal.SIGSTOP)
        time.sleep(_FAULT)
        signalled(servers, signal.SIGCONT)

    def starve(self, number: int) -> None:
        """Takes all memory from a server that it does not have yet."""
        for pid in self.processes(number)[0][1:]:
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
                size = pages * resource.getpagesize()
                resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
            except (FileNotFoundError, ProcessLookupError):
                continue

    def fill_cache(self, number: int) -> None:
        if self.has_small_cache:
            filling = self.cache / "filling"
            try:
                with filling.open("wb", buffering=0) as file:
                    while file.write(bytes(1 << 20)):
                        pass
            except OSError:
                pass
            time.sleep(_FAULT)
            filling.unlink()

    def drop_caches(self, number: int) -> None:
        if not os.geteuid():
            Path("/proc/sys/vm/drop_caches").write_text("3")

    # faults that give errors

    def lose_descriptors(self, number: int) -> None:
        servers = self.processes(number)[0][1:]
        before = [(pid, resource.prlimit(pid, resource.RLIMIT_NOFILE)) for pid in servers]
        with Fault(self.shared, number):
            for pid, (_soft, hard) in before:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, hard))
            time.sleep(_FAULT)
            for pid, limits in before:
                try:
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                except ProcessLookupError:
                    continue

    def remount(self, number: int) -> None:
        with Fault(self.shared, number):
            self.quietly("umount", "-l", str(self.mounts[number]))
            self.mount(number)

    def fail_disk(self, number: int) -> None:
        number = self.sources.index(self.on_disk)
        with Fault(self.shared, number):
            self.order.touch()
            self.drop_caches(number)
            time.sleep(_FAULT)
            self.order.unlink()

    # the whole

    def run(self, seconds: float, seed: int) -> int:
        readers = [
            multiprocessing.Process(target=Reader(number, seed, self.mounts, self.shared, self.log).run)
            for number in range(READERS)
        ]
        for number, reader in enumerate(readers):
            self.shared.alive[number] = time.monotonic()
            reader.start()
        begin = time.monotonic()
        try:
            hung = self.strike(begin, seconds, readers)
            self.tell("at the end")
        finally:
            self.shared.stop.value = True
            for reader in readers:
                reader.join(PATIENCE)
        dead = sum(reader.exitcode != 0 for reader in readers)
        return self.report(time.monotonic() - begin, hung, dead, self.leave())

    def strike(self, begin: float, seconds: float, readers: list[multiprocessing.Process]) -> int:
        """One fault after the other; how many readers did not live to see the end."""
        faults: list[Callable[[int], None]] = [
            self.kill_server, self.kill_helper, self.clear_cache, self.take_over, self.suspend, self.starve,
            self.fill_cache, self.drop_caches, self.lose_descriptors, self.remount, self.fail_disk,
        ]  # fmt: skip
        moments = [begin + seconds * share for share in (0.05, 0.5)]
        hung = 0
        while time.monotonic() < begin + seconds and not hung:
            if moments and time.monotonic() > moments[0]:
                moments.pop(0)
                self.tell(f"after {time.monotonic() - begin:.0f} s")
            fault = self.chance.choice(faults)
            fault(self.chance.randrange(len(self.mounts)))
            self.done[fault.__name__] += 1
            time.sleep(self.chance.uniform(*_CALM))
            hung = self.stuck(readers)
        return hung

    def stuck(self, readers: list[multiprocessing.Process]) -> int:
        late = [
            reader
            for reader, when in zip(readers, self.shared.alive[:], strict=True)
            if time.monotonic() - when > PATIENCE or not reader.is_alive()
        ]
        for reader in late:
            if reader.pid is not None and reader.is_alive():
                os.kill(reader.pid, signal.SIGUSR1)
        if late:
            self.show_threads()
        return len(late)

    def show_threads(self) -> None:
        """Where every thread of every server waits, as far as the kernel says it."""
        for number, source in enumerate(self.sources):
            for pid in self.processes(number)[0]:
                for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
                    where = [(task / name).read_text().strip() for name in ("comm", "wchan", "syscall")]
                    print(f"{source.name} {pid} thread {task.name}: {' '.join(where)}")

    def tell(self, when: str) -> None:
        found = self.all_processes(self.mounts)
        for mount, source in zip(self.mounts, self.sources, strict=True):
            pids, helpers = found[mount]
            rows = [(descriptors(pid), pss(pid)) for pid in pids]
            count, size = sum(row[0] for row in rows), sum(row[1] for row in rows)
            line = f"{when:>16}  {source.name:<10} {count:>4} descriptors {size / 1024:>7.1f} MiB"
            of_helpers = f"{len(helpers)} helpers {sum(map(pss, helpers)) / 1024:.1f} MiB"
            print(f"{line}  {of_helpers}", flush=True)

    def leave(self) -> list[str]:
        """Unmounts everything; what is left all the same."""
        pids = [pid for found, _helpers in self.all_processes(self.mounts).values() for pid in found]
        self.command("umount", "--wait", *self.mounts)
        end = time.monotonic() + 10
        while (left := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < end:
            time.sleep(0.1)
        return [f"process {pid}" for pid in left]

    def report(self, seconds: float, hung: int, dead: int, left: list[str]) -> int:
        reads, size, expected, unexpected, wrong = self.shared.counts[:]
        print(f"{seconds:.0f} s, {READERS} readers: {reads:,} reads, {size / 2**30:,.1f} GiB compared")
        print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.done.items())))
        print(f"wrong: {wrong}, unexpected errors: {unexpected}, errors while something failed: {expected}")
        print(f"readers that hung: {hung}, that died: {dead}; left behind: {', '.join(left) or 'nothing'}")
        if self.log.exists():
            print(self.log.read_text()[:8192])
        server_log = self.folder / "server.log"
        if server_log.exists() and "Traceback" in (told := server_log.read_text(errors="replace")):
            print(told[max(0, told.index("Traceback") - 200) :][:4096])
            return 1
        return 1 if wrong or unexpected or hung or dead or left else 0

    def close(self) -> None:
        """Whatever happened: leaves no mount and no process."""
        for mount in [*self.mounts, self.disk]:
            self.quietly("umount", "-l", str(mount))
        if self.disk_server is not None:
            self.disk_server.terminate()
            self.disk_server.wait(PATIENCE)
        if self.has_small_cache:
            self.quietly("umount", "-l", str(self.cache))


def signalled(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def children(pid: int) -> list[int]:
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except FileNotFoundError:
        pass
    return found


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0


def pss(pid: int) -> int:
    """Its share of memory, in KiB (proc_pid_smaps(5))."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="rofuse-soak-"))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leaves nothing then either
    soak = Soak(folder, arguments.seed)
    try:
        soak.begin()
        status = soak.run(arguments.minutes * 60, arguments.seed)
    finally:
        soak.close()
    if status:
        print(f"logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
