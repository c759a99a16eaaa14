"""What is mounted: archives of a tree of real files, of real files up to a size, or of very many small ones."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path

SOURCES = ("/usr/share", "/usr/lib/python3", "/usr/include")
QUICK_SOURCES = ("/usr/share/doc", "/usr/lib/python3")
ENOUGH_ENTRIES, ENOUGH_BYTES = 60_000, 600 << 20
BLOCK = 512


class Workload:
    """A tree and its archives in a work directory, made on demand and kept there. ``files``: the paths of regular
    files in archive order; ``sizes``: their sizes in bytes."""

    def __init__(self, work: Path, *, quick: bool = False, entries: int = 0, megabytes: int = 0) -> None:
        """The tree (a small one if ``quick``), or ``entries`` generated files, or files of ``megabytes`` together."""
        name = (
            f"{entries}-entries"
            if entries
            else f"{megabytes}-MB"
            if megabytes
            else "quick"
            if quick
            else "tree"
        )
        self.folder = work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries = 0
        self.files: list[bytes] = []
        self.sizes: list[int] = []
        tar = self.archive("tar")
        if not tar.exists():
            with new(tar) as made:
                if entries:
                    _generate(made, entries)
                elif megabytes:
                    _fill(made, megabytes * 1_000_000)
                else:
                    _pack(made, self._tree(QUICK_SOURCES if quick else SOURCES, quick))
        self._list(tar)

    def _tree(self, sources: tuple[str, ...], quick: bool) -> Path:
        """Copies of what the machine has, more of it where that is not enough."""
        tree = self.folder / "files"
        further = () if quick else (sys.prefix, sys.base_prefix, "/opt", "/usr/lib")
        entries = size = 0
        for source in (*sources, *further):
            enough = entries >= ENOUGH_ENTRIES and size >= ENOUGH_BYTES
            target = tree / source.lstrip("/")
            if not os.path.isdir(source) or (enough and source not in sources):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                _copy(source, target)
            entries, size = _measure(tree)
        return tree

    def archive(self, kind: str) -> Path:
        """The archive of this kind: ``tar``, ``tar.zst`` (level 3, one frame), ``tar.gz``, ``squashfs`` (zstd),
        ``erofs`` (lz4), ``zip`` (deflated), ``stored.zip`` or ``rpack``, our own."""
        path = self.folder / f"workload.{kind}"
        if kind == "tar" or path.exists():
            return path
        tar = self.archive("tar")
        with new(path) as made:
            if kind == "tar.zst":
                subprocess.run(["zstd", "-q", "-3", "-T0", "--single-thread", tar, "-o", made], check=True)
            elif kind == "squashfs":
                options = ["-tar", "-comp", "zstd", "-quiet", "-no-progress"]
                with open(tar, "rb") as stream:
                    subprocess.run(["mksquashfs", "-", made, *options], stdin=stream, check=True)
            elif kind == "tar.gz":
                with open(made, "wb") as output:
                    subprocess.run(["gzip", "-c", tar], stdout=output, check=True)
            elif kind == "erofs":
                self._make_erofs(tar, made)
            elif kind == "rpack":
                # A name that ends otherwise is as good; the tool that makes it is the checkout's.
                subprocess.run(
                    [sys.executable, "-m", "rofuse_mount", "pack", "--quiet", tar, made], check=True
                )
            elif kind in ("zip", "stored.zip"):
                method = "zip:compression=" + ("deflate" if kind == "zip" else "store")
                subprocess.run(
                    ["bsdtar", "-c", "--format=zip", "--options", method, "-f", made, f"@{tar}"], check=True
                )
            else:
                raise ValueError(f"no such archive: {kind}")
        return path

    def _make_erofs(self, tar: Path, made: Path) -> None:
        tree = self.folder / "extracted"
        try:
            tree.mkdir()
            subprocess.run(["tar", "-x", "-f", tar, "-C", tree], check=True)
            subprocess.run(["mkfs.erofs", "-zlz4", made, tree], stdout=subprocess.DEVNULL, check=True)
        finally:
            shutil.rmtree(tree)

    def _list(self, tar: Path) -> None:
        command = ["tar", "-tv", "--numeric-owner", "--quoting-style=escape", "-f", str(tar)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as listing:
            for line in listing.stdout or ():
                self.entries += 1
                if found := _LISTED_FILE.match(line):
                    self.sizes.append(int(found[1]))
                    self.files.append(_unescape(found[2]))
        if listing.returncode:
            raise subprocess.CalledProcessError(listing.returncode, command)

    def sample(self, count: int, seed: int) -> list[bytes]:
        return random.Random(seed).sample(self.files, min(count, len(self.files)))

    def places(self, count: int, seed: int) -> list[tuple[bytes, int]]:
        """Random places, each a path and an offset, every byte of all files as likely as any other."""
        choose = random.Random(seed)
        ends = list(itertools.accumulate(self.sizes))
        found = []
        for _ in range(count):
            at = choose.randrange(ends[-1])
            file = bisect(ends, at)
            found.append((self.files[file], at - ends[file] + self.sizes[file]))
        return found

    def describe(self) -> dict[str, int]:
        archives = {path.name: path.stat().st_size for path in sorted(self.folder.glob("workload.*"))}
        return {"entries": self.entries, "bytes": sum(self.sizes), **archives}


_LISTED_FILE = re.compile(rb"-\S+ +\S+ +(\d+) \S+ \S+ (.*)\n")


def _unescape(name: bytes) -> bytes:
    return name.decode("unicode_escape").encode("latin-1")


class new:
    """A file in the making: gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(f"part.{path.name}")

    def __enter__(self) -> Path:
        self.part.unlink(missing_ok=True)
        return self.part

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self.part.rename(self.path)
        else:
            self.part.unlink(missing_ok=True)


def _copy(source: str, target: Path) -> None:
    # cp complains of what vanishes or cannot be read meanwhile; what it could copy is good enough
    subprocess.run(["cp", "-a", "--one-file-system", source, target], stderr=subprocess.DEVNULL, check=False)


def _measure(tree: Path) -> tuple[int, int]:
    entries = size = 0
    for folder, folders, files in os.walk(tree):
        entries += len(folders) + len(files)
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return entries, size


def _pack(tar: Path, tree: Path) -> None:
    options = ["--sort=name", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--xattrs"]
    subprocess.run(["tar", "-c", "-f", tar, *options, "-C", tree, *sorted(os.listdir(tree))], check=True)
    shutil.rmtree(tree)


def _fill(tar: Path, size: int) -> None:
    """Files of the machine, in further copies where one is not enough."""
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as archive:
        for copy in itertools.count():
            for source in SOURCES:
                for folder, folders, files in os.walk(source):
                    folders.sort()
                    for path in (os.path.join(folder, name) for name in sorted(files)):
                        if archive.offset >= size:
                            return
                        if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                            _add(archive, path, f"{copy}{path}")


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    member = archive.gettarinfo(path, name)
    member.type, member.linkname = tarfile.REGTYPE, ""  # of hard links, too, the bytes
    member.size = os.path.getsize(path)
    with open(path, "rb") as file:
        archive.addfile(member, file)


def _generate(tar: Path, entries: int) -> None:
    """Files of 100 bytes, a thousand in a directory, as GNU tar would write them."""
    with open(tar, "wb", buffering=1 << 20) as file:
        file.writelines(_blocks(entries))
        file.write(bytes(2 * BLOCK))


def _blocks(entries: int) -> Iterator[bytes]:
    data = b"a small file's bytes".ljust(100, b".").ljust(BLOCK, b"\0")
    made = 0
    for folder in itertools.count():
        if made >= entries:
            return
        yield _header(b"d%06d/" % folder, b"5", 0o755, 0)
        made += 1
        for number in range(min(1_000, entries - made)):
            yield _header(b"d%06d/f%03d" % (folder, number), b"0", 0o644, 100)
            yield data
            made += 1


def _header(name: bytes, kind: bytes, mode: int, size: int) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 1_700_000_000)
    rest = kind + bytes(100) + b"ustar\0" + b"00" + bytes(247)
    head = name.ljust(100, b"\0") + numbers
    checksum = sum(head) + sum(rest) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + rest
