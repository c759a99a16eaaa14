"""Where the archives of this folder are made: source trees, the archivers, the judges.

Rules
- Everything that an archive holds is fixed: content, owners, modes, times, the order of members. GNU tar runs in
  a PID namespace of its own, for it writes its process id into names.
- A judge extracts with the system's tools, as root, into an empty directory. What is written down is what
  lstat(2), readlink(2), listxattr(2) and SHA-256 then say, less what no extraction can know: a directory that
  the archive implies but does not hold has no owner and no time of its own.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.trees import ROOT, Record, Tree, snapshot, with_directory_links, write_expected

MTIME = 1_700_000_000
"""2023-11-14 22:13:20 UTC: the time of a source's first entry; each further one is a minute later."""

BLOCK = 512
KIB = 1024

Owner = tuple[int, int]
Xattrs = Sequence[tuple[str, bytes]]

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}

WORDS = """
apple bark basket blossom branch cellar cider clay crate crop dew dusk early field frost fruit garden gather
graft grass green grow harvest hedge hill keep ladder late leaf light mist moss north orchard pear picked
pip plum prune rain red ripe root row russet sap season seed shade slope soil south spring stone store
summer sun sweet tart tree valley warm wasp water weather west wind winter wood yellow yield
"""


def prose(seed: int, size: int) -> bytes:
    """``size`` bytes of sentences, the same for the same seed."""
    choose, words = random.Random(seed), WORDS.split()
    text = bytearray()
    while len(text) < size:
        sentence = " ".join(choose.choices(words, k=choose.randint(4, 14)))
        text += sentence.capitalize().encode() + choose.choice([b". ", b". ", b".\n"])
    return bytes(text[:size])


def noise(seed: int, size: int) -> bytes:
    """``size`` bytes that nothing compresses, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    statuses: Iterable[int] = (0,),
) -> bytes:
    """Runs a tool and returns its output; ends the script unless it ends with one of the statuses."""
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, input=stdin, capture_output=True, timeout=120, check=False
    )
    if done.returncode not in statuses:
        raise SystemExit(f"{shlex.join(map(str, command))}: {done.returncode}: {done.stderr.decode()}")
    return done.stdout


class Source:
    """A directory tree to be archived. A context: at its end owners, modes and times are set, children first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._settle: dict[bytes, tuple[Owner, int | None, int, Xattrs]] = {}
        root.mkdir()
        self._note(b".", 0o755, (0, 0), None)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        for path, (owner, mode, mtime_ns, xattrs) in reversed(self._settle.items()):
            full = self.path(path)
            os.lchown(full, *owner)
            if mode is not None:
                os.chmod(full, mode)
            for name, data in xattrs:
                os.setxattr(full, name, data, follow_symlinks=False)  # after chown, which drops capabilities
            os.utime(full, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def path(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.root), path)

    def _note(
        self, path: bytes, mode: int | None, owner: Owner, mtime_ns: int | None, xattrs: Xattrs = ()
    ) -> None:
        if mtime_ns is None:
            mtime_ns = (MTIME + 60 * len(self._settle)) * 10**9
        self._settle[path] = (owner, mode, mtime_ns, xattrs)

    def directory(
        self, path: bytes, *, mode: int = 0o755, owner: Owner = (0, 0), mtime_ns: int | None = None
    ) -> None:
        os.mkdir(self.path(path))
        self._note(path, mode, owner, mtime_ns)

    def file(
        self,
        path: bytes,
        data: bytes = b"",
        *,
        mode: int = 0o644,
        owner: Owner = (0, 0),
        mtime_ns: int | None = None,
        xattrs: Xattrs = (),
    ) -> None:
        with open(self.path(path), "wb") as file:
            file.write(data)
        self._note(path, mode, owner, mtime_ns, xattrs)

    def sparse(self, path: bytes, size: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        """A file of ``size`` bytes that is a hole but for the pieces (offset, bytes)."""
        self.file(path)
        with open(self.path(path), "r+b") as file:
            file.truncate(size)
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)

    def symlink(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self.path(path))
        self._note(path, None, (0, 0), None)

    def hardlink(self, path: bytes, target: bytes) -> None:
        os.link(self.path(target), self.path(path), follow_symlinks=False)

    def node(self, path: bytes, kind: int, device: tuple[int, int] = (0, 0)) -> None:
        """A device or fifo; ``kind`` is stat.S_IFCHR, S_IFBLK or S_IFIFO."""
        os.mknod(self.path(path), kind | 0o600, os.makedev(*device))
        self._note(path, 0o640, (0, 6), None)


GNU_TAR = (
    "tar", "--extract", "--same-permissions", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"
)  # fmt: skip

BSDTAR = ("bsdtar", "-x", "-p", "--numeric-owner")


class Judge(NamedTuple):
    """How the expected tree of an archive is found."""

    command: tuple[str, ...] = GNU_TAR
    """``--file ARCHIVE`` and ``--directory DIRECTORY`` follow."""
    again: tuple[str, ...] | None = None
    """A second command, over what the first made."""
    statuses: tuple[int, ...] = (0,)
    """How the tool may end: 2 where it refuses members that we refuse, too."""
    damaged: bool = False
    """A file that the archive does not hold to its end is put in as its header has it, its content unstated."""
    notes: tuple[str, ...] = ()
    """Where our rule is not the tool's, and why: goes into the file."""

    def tree(self, archive: Path, scratch: Path) -> Tree:
        root = scratch / "judged"
        root.mkdir()
        where = ["--file", str(archive), "--directory", str(root)]
        try:
            run([*self.command, *where], statuses=self.statuses)
            if self.again is not None:
                run([*self.again, *where], statuses=self.statuses)
            tree = with_directory_links(snapshot(root))
        finally:
            shutil.rmtree(root)
        if self.damaged:
            tree.update(cut(archive))
        implied = tree.keys() - held(archive)
        for path, record in tree.items():
            if record.kind == "dir" and path in implied:
                tree[path] = record._replace(mode=0o755, uid=None, gid=None, mtime_ns=None)
        return tree

    def write(self, archive: Path, scratch: Path, expected: Path, shown: str) -> None:
        version = run([self.command[0], "--version"]).decode().splitlines()[0]
        commands = [
            [*command, "--file", shown] for command in (self.command, self.again) if command is not None
        ]
        made = f"{version}: " + " && ".join(map(shlex.join, commands))
        write_expected(expected, self.tree(archive, scratch), [made, *self.notes])


def held(archive: Path) -> set[bytes]:
    """The paths that an archive holds, by GNU tar's word."""
    listing = run(["tar", "--list", "--quoting-style=escape", "--file", archive], statuses=(0, 2))
    names = (line.decode("unicode_escape").encode("latin-1") for line in listing.splitlines())
    return {os.path.normpath(name.lstrip(b"/") or ROOT) for name in names}


def cut(archive: Path) -> Tree:
    """The files whose data an archive does not hold to the end, as their headers have them, by the word of the
    standard library."""
    tree: Tree = {}
    with tarfile.open(archive, "r:") as tar:
        try:
            while (m := tar.next()) is not None:
                if m.isreg() and m.sparse is None and m.offset_data + m.size > archive.stat().st_size:
                    path = os.path.normpath(m.name).encode()
                    tree[path] = Record("file", m.mode, m.uid, m.gid, m.size, int(m.mtime) * 10**9, 1, path)
        except tarfile.ReadError:
            pass  # the end of a truncated archive
    return tree


class Shop:
    """The making of one archive: its name, a scratch directory, and the tools."""

    def __init__(self, name: str, scratch: Path, out: Path) -> None:
        self.name, self.scratch, self.out = name, scratch, out
        self.archive = scratch / f"{name}.tar"
        """The uncompressed archive: what is judged."""

    def source(self, name: str = "source") -> Source:
        return Source(self.scratch / name)

    def gnu_tar(
        self, *arguments: str | Path, mode: str = "--create", source: str = "source", stdin: bytes = b""
    ) -> None:
        """GNU tar, in the source directory, on the archive (which a ``--file`` in ``arguments`` changes)."""
        options = ("--sort=name", "--numeric-owner", "--file", self.archive)
        command = ("unshare", "--pid", "--fork", "tar", mode, *options, *arguments)
        run(command, cwd=self.scratch / source, stdin=stdin)

    def bsdtar(self, *options: str) -> None:
        """Writes the archive anew in a format of libarchive's. (It would take ctime from files on disk.)"""
        made = self.archive.rename(self.scratch / "first.tar")
        run(["bsdtar", "-c", *options, "-f", self.archive, f"@{made}"])

    def zstd(self, variant: str = "", *options: str, streamed: bool = False) -> bytes:
        """Keeps the archive as zstd(1) compresses it; ``streamed``: from a pipe, where the size is not known."""
        if streamed:
            data = run(["zstd", "-qc", *options], stdin=self.archive.read_bytes())
        else:
            data = run(["zstd", "-qc", *options, self.archive])
        self.keep(f".{variant}.tar.zst" if variant else ".tar.zst", data)
        return data

    def keep(self, suffix: str = ".tar", data: bytes | bytearray | None = None) -> None:
        """Puts the archive, or ``data`` in its place, into the folder."""
        (self.out / f"{self.name}{suffix}").write_bytes(self.archive.read_bytes() if data is None else data)
